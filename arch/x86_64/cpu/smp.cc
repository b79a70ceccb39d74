#include "arch/x86_64/cpu/smp.h"

#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/dev/acpi.h"
#include "arch/x86_64/dev/clock.h"
#include "arch/x86_64/dev/lapic.h"
#include "arch/x86_64/mm/address_space.h"
#include "arch/x86_64/mm/layout.h"
#include "arch/x86_64/mm/page_table.h"
#include "arch/x86_64/mm/physical.h"
#include "kernel/lib/log.h"

#include <algorithm>
#include <cstring>

extern "C" const char arch_trampoline[], arch_trampoline_block[], arch_trampoline_end[];

namespace arch {

namespace x86 {

constinit cpu_data cpus[max_cpus]{};

namespace {

constexpr u64 fault_stack_bytes = 2 * page_size;
constexpr u64 after_init_ns = 100'000;       // the CPU needs a moment to reset
constexpr u64 after_startup_ns = 10'000'000; // then it is told a second time
constexpr u64 patience_ns = 3'000'000'000;   // a host may be slow to run it

// Ends boot/trampoline.S.
struct trampoline_block {
    u64 stack, entry;
    u32 cr3, efer, id;
};

unsigned cpus_found = 1;
trampoline_block* block;      // null: no other CPU can be started
bool roughly_aligned = false; // a counter could only be set, not shifted

// How the boot CPU and one that starts compare their time-stamp counters: the new one's is read between two
// readings of the boot CPU's.
enum class step : u32 { none, arrived, first_read, middle_read, last_read, done };

struct {
    std::atomic<step> at;
    u64 first, middle, last;
} meeting;

void say(step next) {
    meeting.at.store(next, std::memory_order_release);
}

bool wait_for(step wanted, u64 patience) {
    const u64 until = clock::now_ns() + patience;
    while (meeting.at.load(std::memory_order_acquire) != wanted) {
        if (clock::now_ns() > until) return false;
        cpu::relax();
    }
    return true;
}

void wait_ns(u64 ns) {
    const u64 until = clock::now_ns() + ns;
    while (clock::now_ns() < until)
        cpu::relax();
}

// A top table like the kernel's, that maps the low page at its own address too.
paddr make_trampoline_tables() {
    const paddr top = take_table();
    std::memcpy(early_address(top), early_address(kernel_top), page_size);
    paddr table = top;
    for (unsigned level = top_level; level > 0; level--) {
        const paddr below = take_table();
        static_cast<table_entry*>(early_address(table))[index_of(low_frame, level)] =
            below | pte::present | pte::writable;
        table = below;
    }
    // Writable and executable, in tables that nobody but a CPU on its first steps loads.
    static_cast<table_entry*>(early_address(table))[index_of(low_frame, 0)] = low_frame | pte::present | pte::writable;
    return top;
}

// A hypervisor keeps its CPUs' counters together, and comparing them there would measure its scheduler: each step
// waits for two virtual CPUs to be given a real one.
bool must_compare_time_stamps() {
    return !features.hypervisor;
}

// Moves this CPU's counter if it is provably off: not between the boot CPU's two readings.
void align_time_stamps(u32 id) {
    say(step::arrived);
    while (meeting.at.load(std::memory_order_acquire) != step::first_read)
        cpu::relax();
    meeting.middle = clock::cycles();
    say(step::middle_read);
    while (meeting.at.load(std::memory_order_acquire) != step::last_read)
        cpu::relax();
    if (meeting.first <= meeting.middle && meeting.middle <= meeting.last) return;
    const u64 behind = meeting.first + (meeting.last - meeting.first) / 2 - meeting.middle;
    if (features.tsc_adjust) {
        write_msr(msr::tsc_adjust, read_msr(msr::tsc_adjust) + behind);
    } else {
        write_msr(msr::tsc, clock::cycles() + behind);
        roughly_aligned = true;
    }
    k::log("cpu {}: time-stamp counter moved by {} cycles\n", id, static_cast<k::i64>(behind));
}

// The boot CPU's side.
bool compare_time_stamps() {
    if (!wait_for(step::arrived, patience_ns)) return false;
    meeting.first = clock::cycles();
    say(step::first_read);
    if (!wait_for(step::middle_read, patience_ns)) return false;
    meeting.last = clock::cycles();
    say(step::last_read);
    return true;
}

// The new CPU's first C++.
[[noreturn]] void start_here(u32 id) {
    enter_cpu_data(id);
    enable_protections();
    write_cr3(kernel_top);
    load_descriptors(cpus[id]);
    enable_lapic();
    start_cpu_clock();
    if (must_compare_time_stamps()) align_time_stamps(id);
    cpus[id].started.store(true, std::memory_order_release);
    say(step::done);
    asm volatile("sti");
    upcall::boot_secondary();
}

// True once the CPU has taken the stack that the block offers.
bool summon(cpu_data& cpu) {
    std::atomic_ref<u64> offered(block->stack);
    auto taken_within = [&](u64 ns) {
        const u64 until = clock::now_ns() + ns;
        while (offered.load(std::memory_order_acquire)) {
            if (clock::now_ns() > until) return false;
            cpu::relax();
        }
        return true;
    };
    const u8 page = static_cast<u8>(low_frame >> page_shift);
    send_init(cpu.apic_id);
    wait_ns(after_init_ns);
    send_startup(cpu.apic_id, page);
    if (taken_within(after_startup_ns)) return true;
    send_startup(cpu.apic_id, page);
    // Taken back in one step: either it gets the stack or it never will.
    return taken_within(patience_ns) || offered.exchange(0, std::memory_order_acq_rel) == 0;
}

} // namespace

bool time_stamps_agree() {
    return (features.invariant_tsc || features.hypervisor) && !roughly_aligned;
}

void set_cpu_count(unsigned count) {
    cpus_found = count;
}

void enter_cpu_data(unsigned id) {
    cpu_data& cpu = cpus[id];
    cpu.self = &cpu;
    cpu.id = id;
    cpu.critical = 1;
    cpu.deadline_ns = no_deadline;
    write_msr(msr::gs_base, reinterpret_cast<u64>(&cpu));
    write_msr(msr::kernel_gs_base, 0);
}

void prepare_cpus() {
    const u32 boot_apic = lapic_id();
    cpus[0].apic_id = boot_apic;
    cpus[0].started = true;
    unsigned count = 1;
    for (unsigned i = 0; i < acpi.cpu_count && count < max_cpus; i++)
        if (acpi.apic_ids[i] != boot_apic) cpus[count++].apic_id = acpi.apic_ids[i];
    if (count > 1 && !low_frame) {
        k::log("cpu: no memory below 1 MiB to start the other CPUs from\n");
        count = 1;
    }
    set_cpu_count(count);
    for (unsigned id = 0; id < count; id++)
        for (u64& top : cpus[id].fault_stacks)
            top = make_stack(fault_stack_bytes);
    load_descriptors(cpus[0]); // once more, now with stacks that have guard pages
    if (count == 1) return;

    char* page = static_cast<char*>(memory::direct(low_frame));
    std::memcpy(page, arch_trampoline, static_cast<std::size_t>(arch_trampoline_end - arch_trampoline));
    block = reinterpret_cast<trampoline_block*>(page + (arch_trampoline_block - arch_trampoline));
    block->cr3 = static_cast<u32>(make_trampoline_tables());
    block->efer = 0x100 | (features.no_execute ? 0x800 : 0);
    block->entry = reinterpret_cast<u64>(&start_here);
}

} // namespace x86

unsigned cpu::count() noexcept {
    return x86::cpus_found;
}

bool cpu::start(unsigned id, vaddr stack_top) {
    using namespace x86;
    if (id == 0 || id >= cpus_found || !block || cpus[id].started) return false;
    say(step::none);
    block->id = id;
    std::atomic_ref(block->stack).store(k::align_down<u64>(stack_top, 16), std::memory_order_release);
    if (!summon(cpus[id]) || (must_compare_time_stamps() && !compare_time_stamps())) return false;
    return wait_for(step::done, patience_ns);
}

void cpu::send_ipi(unsigned id) noexcept {
    x86::send_interrupt(x86::cpus[id].apic_id, x86::vector_ipi);
}

void cpu::wait_for_event() noexcept {
    asm volatile("cli" : : : "memory");
    // sti lets interrupts in only after the next instruction: none can slip in between the look and the halt.
    if (x86::this_cpu().pending.load(std::memory_order_relaxed) == 0)
        asm volatile("sti; hlt" : : : "memory");
    else
        asm volatile("sti" : : : "memory");
}

std::string_view cpu::model() noexcept {
    return x86::cpu_model();
}

bool cpu::has_crc32c() noexcept {
    return x86::features.crc32c;
}

} // namespace arch
