// arch::user_context: a thread's life in user mode, and the part of arch::context that follows it from thread to
// thread.
//
// Rules. User code's registers are plain memory while the kernel runs. Its floating-point registers and FS base stay in
// the CPU until another thread gets it: switch_to() keeps the one that leaves, run() brings back what is not there.
// Between that look and user mode interrupts are off, so that no switch comes in between.
#include "arch/machine.h"
#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/die.h"
#include "arch/x86_64/cpu/float_state.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/cpu/traps.h"
#include "arch/x86_64/cpu/user_entry.h"
#include "arch/x86_64/cpu/vectors.h"
#include "kernel/lib/panic.h"

#include <algorithm>
#include <bit>
#include <cstring>

extern "C" {
arch::user_exit arch_enter_user_iret(arch::user_context*);
arch::user_exit arch_enter_user_sysret(arch::user_context*);
extern char arch_syscall_entry[];
}

namespace arch {

namespace x86 {

namespace {

// cpu/user_entry.S knows these places.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
static_assert(offsetof(cpu_data, tables) + offsetof(descriptor_tables, task) + offsetof(tss, rsp) == 64 + 64 + 4);
static_assert(offsetof(cpu_data, user_stack) == 64 + 176);
#pragma GCC diagnostic pop

constexpr unsigned no_cpu = ~0u;

constexpr u64 flag_carry = 1u << 0, flag_one = 1u << 1, flag_parity = 1u << 2, flag_adjust = 1u << 4;
constexpr u64 flag_zero = 1u << 6, flag_sign = 1u << 7, flag_trap = 1u << 8, flag_interrupts = 1u << 9;
constexpr u64 flag_direction = 1u << 10, flag_overflow = 1u << 11, flags_privilege = 3u << 12;
constexpr u64 flag_nested = 1u << 14, flag_resume = 1u << 16, flag_alignment = 1u << 18, flag_identity = 1u << 21;

constexpr u64 flags_always = flag_one | flag_interrupts;
// What user code may have at all.
constexpr u64 flags_arithmetic = flag_carry | flag_parity | flag_adjust | flag_zero | flag_sign | flag_direction |
                                 flag_overflow | flag_alignment | flag_identity;
constexpr u64 flags_of_user = flags_arithmetic | flag_trap | flag_resume;

constexpr u64 syscall_mask =
    flag_trap | flag_interrupts | flag_direction | flags_privilege | flag_nested | flag_resume | flag_alignment;
constexpr u64 efer_syscall = 1u << 0;

constexpr u8 vector_general_protection = 13;

constexpr u64 fault_write = 1u << 1, fault_reserved = 1u << 3, fault_fetch = 1u << 4;

void interrupts_on() {
    asm volatile("sti" : : : "memory");
}

bool events_wait() {
    bool some;
    asm volatile("cmpl $0, %%gs:%c1" : "=@ccnz"(some) : "i"(offsetof(cpu_local, pending)));
    return some;
}

bool is_canonical(u64 address) {
    return static_cast<k::i64>(address << 16) >> 16 == static_cast<k::i64>(address);
}

u8 access_tried(u64 error_code) {
    if (error_code & fault_fetch) return user_execute;
    return error_code & fault_write ? user_write : user_read;
}

} // namespace

void enable_syscall() {
    // Kernel code and, 8 behind it, data; for sysret 16 behind is user code and 8 behind user data.
    constexpr u64 selectors = u64{(user_data - 8) | 3} << 48 | u64{kernel_code} << 32;
    write_msr(msr::star, selectors);
    write_msr(msr::lstar, reinterpret_cast<u64>(arch_syscall_entry));
    write_msr(msr::syscall_mask, syscall_mask);
    write_msr(msr::efer, read_msr(msr::efer) | efer_syscall);
}

} // namespace x86

using namespace x86;

std::size_t user_context::memory_needed() noexcept {
    return floats.bytes + 63;
}

void user_context::attach(std::span<std::byte> memory) noexcept {
    kassert(memory.size() >= memory_needed());
    float_image_ = reinterpret_cast<std::byte*>(k::align_up<u64>(reinterpret_cast<u64>(memory.data()), 64));
    std::memset(float_image_, 0, floats.bytes); // the gaps too: they get to user code with the rest
    in_registers_ = false;
    float_cpu_ = no_cpu;
    reset(0, 0);
}

void user_context::reset(std::uint64_t entry, std::uint64_t stack) noexcept {
    registers_ = {};
    registers_.rip = entry;
    registers_.rsp = stack;
    registers_.rflags = flags_always;
    registers_.cs = user_code;
    registers_.ss = user_data;
    forget_registers();
    reset_float(float_image_);
    thread_pointer_ = 0;
}

void user_context::copy(const user_context& other) noexcept {
    registers_ = other.registers_;
    thread_pointer_ = other.thread_pointer_;
    cpu::critical_enter();
    forget_registers();
    if (other.in_registers_)
        x86::save_float(float_image_);
    else
        std::memcpy(float_image_, other.float_image_, floats.bytes);
    cpu::critical_exit();
}

// Interrupts off.
[[gnu::noinline]] void user_context::enter_registers() noexcept {
    cpu_data& cpu = this_cpu();
    if (cpu.float_owner != this || float_cpu_ != cpu.id) {
        restore_float(float_image_);
        cpu.float_owner = this;
        float_cpu_ = cpu.id;
    }
    write_msr(msr::fs_base, thread_pointer_);
    in_registers_ = true;
}

void user_context::leave_registers() noexcept {
    if (!in_registers_) return;
    keep_float(float_image_);
    in_registers_ = false;
}

// What the registers hold is not this context's any more: its image has changed, or will.
void user_context::forget_registers() noexcept {
    in_registers_ = false;
    float_cpu_ = no_cpu;
}

void user_context::set_thread_pointer(std::uint64_t address) noexcept {
    kassert(address < user_end);
    cpu::critical_enter();
    thread_pointer_ = address;
    if (in_registers_) write_msr(msr::fs_base, address);
    cpu::critical_exit();
}

std::span<const std::byte> user_context::save_float() noexcept {
    cpu::critical_enter();
    if (in_registers_)
        x86::save_float(float_image_);
    else
        complete_float(float_image_); // a switch left out what is at its initial value
    cpu::critical_exit();
    return {float_image_, floats.bytes};
}

bool user_context::load_float(std::span<const std::byte> image) noexcept {
    const bool legacy = image.size() == float_legacy_bytes;
    if (!legacy && image.size() < float_least_bytes) return false;
    u32 mxcsr;
    std::memcpy(&mxcsr, image.data() + float_mxcsr_at, sizeof(mxcsr));
    if (mxcsr & ~floats.mxcsr_mask) return false;

    float_header header{.in_use = 3, .compacted = 0, .reserved = {}};
    if (!legacy) std::memcpy(&header, image.data() + float_legacy_bytes, sizeof(header));
    if (header.in_use & ~floats.features || header.compacted) return false;
    for (u64 word : header.reserved)
        if (word) return false;
    std::size_t bytes = legacy ? float_legacy_bytes : float_least_bytes;
    for (u64 left = header.in_use; left; left &= left - 1) {
        const float_component c = float_component_of(static_cast<unsigned>(std::countr_zero(left)));
        bytes = std::max(bytes, c.at + c.bytes);
    }
    if (bytes > image.size() || bytes > floats.bytes) return false;

    cpu::critical_enter();
    forget_registers();
    std::memcpy(float_image_, image.data(), bytes);
    std::memcpy(float_image_ + float_legacy_bytes, &header, sizeof(header));
    cpu::critical_exit();
    return true;
}

std::uint64_t user_context::float_features() noexcept {
    return floats.features;
}

// A system call whose registers are still as `syscall` left them, where they matter.
inline bool user_context::may_sysret() const noexcept {
    static_assert(flags_plain_ == (flags_arithmetic | flags_always));
    const user_registers& r = registers_;
    return r.vector == vector_syscall && r.rcx == r.rip && r.r11 == r.rflags && r.rip < user_end &&
           (r.rflags & flags_always) == flags_always && !(r.rflags & ~flags_plain_);
}

// For iretq. A stack pointer may be anything: it is only loaded. False: there is no such instruction pointer.
bool user_context::put_right() noexcept {
    user_registers& r = registers_;
    r.cs = user_code;
    r.ss = user_data;
    r.rflags = (r.rflags & flags_of_user) | flags_always;
    return is_canonical(r.rip);
}

user_exit user_context::run() noexcept {
    cpu::interrupts_off();
    if (events_wait()) [[unlikely]] {
        upcall::deliver_events();
        interrupts_on();
        return {.kind = user_exit_kind::interrupt, .access = 0, .vector = 0, .address = 0};
    }
    if (!in_registers_) [[unlikely]]
        enter_registers();
    // Tail calls: what comes back from user mode returns to our caller.
    if (may_sysret()) [[likely]]
        return arch_enter_user_sysret(this);
    if (put_right()) return arch_enter_user_iret(this);
    interrupts_on();
    registers_.vector = vector_general_protection;
    registers_.error_code = 0;
    return {.kind = user_exit_kind::exception, .access = 0, .vector = vector_general_protection, .address = 0};
}

} // namespace arch

// Any trap from user mode but a system call. Interrupts are off.
extern "C" arch::user_exit arch_user_trapped(arch::user_context* context) {
    using namespace arch;
    const user_registers& r = context->registers();
    const u64 vector = r.vector;
    if (vector >= 32) {
        kassert(cpu::local().critical == 0); // or its events would never be delivered
        handle_interrupt(vector);
        interrupts_on();
        return {.kind = user_exit_kind::interrupt, .access = 0, .vector = 0, .address = 0};
    }
    const u64 address = read_cr2(); // before another fault can change it
    interrupts_on();
    const auto number = static_cast<u8>(vector);
    if (vector != vector_page_fault)
        return {.kind = user_exit_kind::exception, .access = 0, .vector = number, .address = 0};
    if (r.error_code & fault_reserved) k::panic("reserved bits in a page table entry for {:x}", address);
    return {
        .kind = user_exit_kind::page_fault, .access = access_tried(r.error_code), .vector = number, .address = address};
}

namespace arch {

void context::leave_user(user_context& user, leaving how) noexcept {
    if (how == leaving::for_now) user.leave_registers();
}

void context::set_user(user_map* map, user_context* user) noexcept {
    if (user_ && user_ != user) user_->leave_registers();
    user_ = user;
    if (map)
        map->activate();
    else if (map_)
        user_map::deactivate();
    map_ = map;
}

} // namespace arch
