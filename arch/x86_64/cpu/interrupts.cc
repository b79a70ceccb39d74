#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/traps.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/dev/clock.h"
#include "arch/x86_64/dev/console.h"
#include "arch/x86_64/dev/lapic.h"
#include "arch/x86_64/mm/tlb.h"

namespace arch::x86 {

namespace {

constexpr u64 message_base = 0xfee0'0000;
constexpr u32 highest_message_id = 0xff; // of a CPU, in a message's address

// Latches a device's interrupt; false if the vector is not one of theirs.
bool device_interrupt(u64 vector) {
    const u64 number = vector - vector_first_device;
    if (number >= device_interrupts) return false;
    cpu_data& cpu = this_cpu();
    cpu.devices.fetch_or(u64{1} << number, std::memory_order_relaxed);
    cpu.pending.fetch_or(event_device, std::memory_order_relaxed);
    return true;
}

} // namespace

void handle_interrupt(u64 vector) {
    switch (vector) {
    case vector_ipi: this_cpu().pending.fetch_or(event_ipi, std::memory_order_relaxed); break;
    case vector_timer: timer_interrupt(); break;
    case vector_console: console_interrupt(); break;
    case vector_flush: serve_flush(); break;
    case vector_spurious: return; // not a real one: no acknowledgement
    default:
        if (device_interrupt(vector)) break;
        if (vector <= vector_last_legacy) return; // a spurious one of an 8259
        break;                                    // nobody's: acknowledged and forgotten
    }
    // Before events are delivered: this thread may be switched away from and come back much later.
    end_of_interrupt();

    const cpu_data& cpu = this_cpu();
    if (cpu.critical == 0 && cpu.pending.load(std::memory_order_relaxed)) upcall::deliver_events();
}

} // namespace arch::x86

namespace arch {

interrupt_message interrupts::message(unsigned cpu, unsigned number) noexcept {
    const std::uint32_t id = x86::cpus[cpu].apic_id;
    if (id > x86::highest_message_id) return {};
    return {x86::message_base | id << 12, x86::vector_first_device + number}; // fixed, edge
}

std::uint64_t interrupts::take() noexcept {
    return cpu::local().devices.exchange(0, std::memory_order_relaxed);
}

void interrupts::raise(unsigned cpu, unsigned number) noexcept {
    x86::send_interrupt(x86::cpus[cpu].apic_id, static_cast<k::u8>(x86::vector_first_device + number));
}

} // namespace arch

extern "C" void arch_trap(arch::x86::trap_frame* frame) {
    if (frame->vector < 32)
        arch::x86::handle_exception(*frame);
    else
        arch::x86::handle_interrupt(frame->vector);
}
