#include "arch/x86_64/dev/clock.h"

#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/dev/console.h"
#include "arch/x86_64/dev/lapic.h"
#include "arch/x86_64/dev/reference_timer.h"
#include "kernel/lib/log.h"
#include "kernel/lib/panic.h"

#include <algorithm>

namespace arch {

namespace x86 {

namespace {

constexpr u64 measure_ns = 5'000'000;
constexpr u64 billion = 1'000'000'000;

u64 timer_ticks_a_ns; // 32.32 fixed point

// One moment on all three clocks.
struct moment {
    u64 reference, cycles;
    u32 timer_left;
};

// Reading the reference may take long (a device emulated, a CPU stolen): of a few tries the quickest counts.
moment read_moment() {
    moment best{};
    u64 best_gap = ~u64{0};
    for (int i = 0; i < 4; i++) {
        const u64 before = clock::cycles();
        const u64 reference = reference_ticks();
        const u64 after = clock::cycles();
        if (after - before >= best_gap) continue;
        best_gap = after - before;
        best = {reference, before + best_gap / 2, lapic_timer_left()};
    }
    return best;
}

void spin(u64 rounds) {
    while (rounds--)
        asm volatile("" : : : "memory");
}

u64 per_second(u64 count, u64 ns) {
    return multiply_divide(count, billion, ns);
}

void arm_hardware(u64 deadline_ns) {
    const u64 now = clock::now_ns();
    const u64 left_ns = deadline_ns > now ? deadline_ns - now : 0;
    const auto ticks = static_cast<unsigned __int128>(left_ns) * timer_ticks_a_ns >> 32;
    // A deadline beyond the counter's width is approached in steps: the handler arms anew.
    start_lapic_timer(static_cast<u32>(std::min<unsigned __int128>(ticks + 1, 0xffff'ffff)));
}

} // namespace

void start_clock() {
    const char* name = start_reference_timer();
    start_lapic_timer(0xffff'ffff);
    const moment start = read_moment();
    moment end;
    u64 ns = 0;
    // Spinning without looking, ever longer: looking is slow where the machine is emulated, and costs
    // a whole simulated instruction stream under -icount.
    for (u64 rounds = 1 << 16; ns < measure_ns; rounds *= 2) {
        spin(rounds);
        end = read_moment();
        ns = reference_ns_since(start.reference, end.reference);
        if (rounds > u64{1} << 36) k::panic("clock: {} stands still", name);
    }
    start_lapic_timer(0);

    const u64 hz = per_second(end.cycles - start.cycles, ns);
    const u64 timer_hz = per_second(start.timer_left - end.timer_left, ns);
    if (hz < 1'000'000 || timer_hz < 100'000) k::panic("clock: strange rates: TSC {} Hz, timer {} Hz", hz, timer_hz);
    clock::set_rate(hz);
    timer_ticks_a_ns = (static_cast<u64>(timer_hz) << 32) / billion;
    k::log("clock: TSC {} kHz{}, timer {} kHz, by {}\n", hz / 1000, features.invariant_tsc ? " (invariant)" : "",
           timer_hz / 1000, name);
    start_cpu_clock();
}

void start_cpu_clock() {
    this_cpu().deadline_ns = no_deadline;
    start_lapic_timer(0);
}

void timer_interrupt() {
    poll_console_input();
    cpu_data& cpu = this_cpu();
    if (cpu.deadline_ns == no_deadline) return;
    if (clock::now_ns() < cpu.deadline_ns) return arm_hardware(cpu.deadline_ns);
    cpu.deadline_ns = no_deadline;
    cpu.pending.fetch_or(event_timer, std::memory_order_relaxed);
}

} // namespace x86

void clock::arm(std::uint64_t deadline_ns) noexcept {
    const bool enabled = cpu::interrupts_disable(); // the handler reads the deadline, too
    x86::this_cpu().deadline_ns = deadline_ns;
    x86::arm_hardware(deadline_ns);
    cpu::interrupts_restore(enabled);
}

void clock::disarm() noexcept {
    const bool enabled = cpu::interrupts_disable();
    x86::this_cpu().deadline_ns = x86::no_deadline;
    x86::start_lapic_timer(0);
    cpu::interrupts_restore(enabled);
}

} // namespace arch
