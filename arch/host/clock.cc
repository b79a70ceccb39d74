// Time: CLOCK_MONOTONIC since the machine was made, the time-stamp counter for cycles, and the timer.
//
// Each CPU keeps its own deadline. It looks at it itself while it waits or relaxes; for a CPU that is busy
// one helper pthread, "the timer device", sleeps till the nearest deadline and latches the event. Whoever takes
// the deadline away by compare-and-exchange latches, so an armed deadline fires once.
#include "arch/host/host_priv.h"

#include <algorithm>
#include <sys/prctl.h>
#include <time.h>

namespace arch {

std::uint64_t host::boot_time_ns;

namespace {

std::uint64_t boot_cycles;
std::atomic<std::uint64_t> measured_cycles_hz;

std::uint64_t monotonic_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// The timer sleeps till `next_wake` unless `doorbell` changes. While it looks for the nearest deadline, next_wake is
// `never`: "I may have missed yours, ring". An arm() that finds a later next_wake rings too. All of it is
// sequentially consistent: an arm() that read the next_wake of before the search stored its deadline before it.
std::atomic<std::uint32_t> doorbell;
std::atomic<std::uint64_t> next_wake;

void* timer_device(void*) {
    prctl(PR_SET_TIMERSLACK, 1000);
    for (;;) {
        std::uint32_t heard = doorbell.load();
        next_wake.store(host::never);
        std::uint64_t now = clock::now_ns();
        std::uint64_t nearest = host::never;
        for (host::cpu_state& each : host::cpu_states) {
            if (!each.running.load(std::memory_order_acquire)) continue;
            host::fire_if_due(each, now);
            nearest = std::min(nearest, each.deadline_ns.load());
        }
        next_wake.store(nearest);
        host::futex_wait(doorbell, heard, nearest);
    }
}

} // namespace

void host::make_clock() {
    boot_time_ns = monotonic_ns();
    boot_cycles = clock::cycles();
}

void host::start_timer() {
    start_helper(timer_device);
}

void host::fire_if_due(cpu_state& whom, std::uint64_t now_ns) noexcept {
    std::uint64_t deadline = whom.deadline_ns.load(std::memory_order_seq_cst);
    if (deadline <= now_ns && whom.deadline_ns.compare_exchange_strong(deadline, never)) latch(whom, event_timer);
}

std::uint64_t clock::wall_seconds() noexcept {
    timespec now;
    ::clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

std::uint64_t clock::now_ns() noexcept {
    return monotonic_ns() - host::boot_time_ns;
}

std::uint64_t clock::cycles_hz() noexcept {
    std::uint64_t hz = measured_cycles_hz.load(std::memory_order_relaxed);
    if (hz != 0) return hz;
    // Measured over the time since boot, which must be long enough for the error of the clock's resolution to vanish.
    constexpr std::uint64_t least_ns = 20'000'000;
    std::uint64_t elapsed_ns = now_ns();
    while (elapsed_ns < least_ns) {
        timespec rest = {0, static_cast<long>(least_ns - elapsed_ns)};
        nanosleep(&rest, nullptr);
        elapsed_ns = now_ns();
    }
    auto ticks = static_cast<unsigned __int128>(cycles() - boot_cycles);
    hz = static_cast<std::uint64_t>(ticks * 1'000'000'000 / elapsed_ns);
    measured_cycles_hz.store(hz, std::memory_order_relaxed);
    return hz;
}

void clock::arm(std::uint64_t deadline_ns) noexcept {
    host::this_cpu()->deadline_ns.store(deadline_ns);
    if (deadline_ns < next_wake.load()) {
        doorbell.fetch_add(1);
        host::futex_wake(doorbell);
    }
}

void clock::disarm() noexcept {
    host::this_cpu()->deadline_ns.store(host::never);
}

} // namespace arch
