// How often somebody had to wait for another: what scales is a matter of counting. Counted where waiting begins, so
// that whoever does not wait pays nothing.
#pragma once

#include "kernel/lib/types.h"

namespace lwkt {

enum class waited_for : k::u8 { token, spinlock, sleep_lock };

// By the CPU that waited.
struct contention_counters {
    k::u64 tokens, spinlocks, sleep_locks;

    k::u64 all() const noexcept { return tokens + spinlocks + sleep_locks; }
};

// This CPU waits. Any context.
void note_wait(waited_for what) noexcept;

// What was counted on a CPU since it started. Any context; nobody is asked, so the figures may be a moment old.
contention_counters contention_statistics(unsigned cpu) noexcept;

} // namespace lwkt
