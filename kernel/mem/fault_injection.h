// Fault injection: makes the n-th allocation from now fail (pages, blocks, slab objects, kernel
// virtual space alike), to show that every caller survives without memory. Costs one test of a flag when off.
#pragma once

#include "kernel/lib/types.h"

#include <atomic>

namespace mem::fault_injection {

// 0: off. n: the n-th allocation from now on, on any CPU, fails, and then it is off again.
void fail_nth(k::u64 n) noexcept;

// Has the failure asked for happened?
bool fired() noexcept;

namespace detail {
extern std::atomic<bool> armed;
bool count_down() noexcept;
} // namespace detail

// Is a failure still to come? For fast paths, which leave the counting to their slow ones.
inline bool armed() noexcept {
    return detail::armed.load(std::memory_order_relaxed);
}
// Called by every allocator, once an allocation: must this one fail?
inline bool should_fail() noexcept {
    return armed() && detail::count_down();
}

} // namespace mem::fault_injection
