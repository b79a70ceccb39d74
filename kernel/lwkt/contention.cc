#include "kernel/lwkt/contention.h"

#include "kernel/lwkt/critical.h"
#include "kernel/lwkt/spinlock.h"

#include <array>
#include <atomic>

namespace lwkt {

namespace {

per_cpu<std::array<std::atomic<k::u64>, 3>> waits; // by waited_for

} // namespace

void note_wait(waited_for what) noexcept {
    critical section;
    waits.local()[static_cast<unsigned>(what)].fetch_add(1, std::memory_order_relaxed);
}

contention_counters contention_statistics(unsigned cpu) noexcept {
    const auto& of = waits.of(cpu);
    const auto read = [&](waited_for what) { return of[static_cast<unsigned>(what)].load(std::memory_order_relaxed); };
    return {read(waited_for::token), read(waited_for::spinlock), read(waited_for::sleep_lock)};
}

void spinlock::spin() noexcept {
    note_wait(waited_for::spinlock);
    do {
        while (taken_.load(std::memory_order_relaxed))
            arch::cpu::relax();
    } while (taken_.exchange(true, std::memory_order_acquire));
}

} // namespace lwkt
