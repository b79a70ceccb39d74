// The end: one CPU stops all others by NMI, then prints why, and registers and backtrace of each.
//
// Rule: nothing here may wait for ever or believe a pointer. Only the first CPU to die reports; a second
// death of that CPU ends the machine at once.
#include "arch/x86_64/cpu/die.h"

#include "arch/x86_64/cpu/backtrace.h"
#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/dev/console.h"
#include "arch/x86_64/dev/lapic.h"
#include "kernel/lib/log.h"

namespace arch {

namespace x86 {

namespace {

constexpr unsigned nobody = ~0u;
constexpr u64 patience_cycles = 500'000'000; // for the others to stop: they may have to be scheduled by a host

std::atomic<unsigned> dying_cpu{nobody};

void end_as_failed() {
    flush_console();
    cpu::power_off(exit_status::failure);
}

// Returns only on the one CPU that is to report, the first time.
void claim_death() {
    asm volatile("cli");
    const unsigned me = cpu::id();
    unsigned first = nobody;
    if (dying_cpu.compare_exchange_strong(first, me)) return;
    if (first != me) halt_for_ever(); // the first one's NMI finds this CPU here
    k::log("died again while dying\n");
    end_as_failed();
}

void stop_others() {
    const unsigned me = cpu::id();
    for (unsigned id = 0; id < cpu::count(); id++)
        if (id != me && cpus[id].started) send_nmi(cpus[id].apic_id);
    const u64 start = clock::cycles();
    for (unsigned id = 0; id < cpu::count(); id++) {
        if (id == me || !cpus[id].started) continue;
        while (!std::atomic_ref(cpus[id].stopped_at).load(std::memory_order_acquire) &&
               clock::cycles() - start < patience_cycles)
            cpu::relax();
    }
}

void print_registers(const trap_frame& f) {
    k::log("  rip {:016X} rsp {:016X} rbp {:016X} rflags {:08X}\n", f.rip, f.rsp, f.rbp, f.rflags);
    k::log("  rax {:016X} rbx {:016X} rcx {:016X} rdx {:016X}\n", f.rax, f.rbx, f.rcx, f.rdx);
    k::log("  rsi {:016X} rdi {:016X} r8  {:016X} r9  {:016X}\n", f.rsi, f.rdi, f.r8, f.r9);
    k::log("  r10 {:016X} r11 {:016X} r12 {:016X} r13 {:016X}\n", f.r10, f.r11, f.r12, f.r13);
    k::log("  r14 {:016X} r15 {:016X} cs {:X} ss {:X}\n", f.r14, f.r15, f.cs, f.ss);
}

void print_others() {
    for (unsigned id = 0; id < cpu::count(); id++) {
        if (id == cpu::id() || !cpus[id].started) continue;
        const trap_frame* frame = std::atomic_ref(cpus[id].stopped_at).load(std::memory_order_acquire);
        if (!frame) {
            k::log("cpu {} did not stop\n", id);
            continue;
        }
        k::log("cpu {} was at:\n", id);
        print_registers(*frame);
        print_backtrace(frame->rip, frame->rbp);
    }
}

void begin_report(std::string_view why) {
    claim_death();
    k::log_without_lock();
    stop_others();
    flush_console();
    k::log("\npanic on cpu {}: {}\n", cpu::id(), why);
}

[[noreturn]] void finish_report() {
    print_others();
    end_as_failed();
    halt_for_ever();
}

} // namespace

bool machine_is_dying() {
    return dying_cpu.load(std::memory_order_acquire) != nobody;
}

void stop_this_cpu(const trap_frame& frame) {
    std::atomic_ref(this_cpu().stopped_at).store(&frame, std::memory_order_release);
    halt_for_ever();
}

void die_at(std::string_view why, const trap_frame& frame) {
    begin_report(why);
    print_registers(frame);
    k::log("  cr0 {:X} cr2 {:X} cr3 {:X} cr4 {:X}\n", read_cr0(), read_cr2(), read_cr3(), read_cr4());
    print_backtrace(frame.rip, frame.rbp);
    finish_report();
}

} // namespace x86

void cpu::die(std::string_view why) {
    x86::begin_report(why);
    // This function's own frame: its caller is the first to be named.
    x86::print_backtrace(reinterpret_cast<vaddr>(&cpu::die), reinterpret_cast<vaddr>(__builtin_frame_address(0)));
    x86::finish_report();
}

} // namespace arch
