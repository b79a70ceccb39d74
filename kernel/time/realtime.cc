#include "kernel/time/realtime.h"

namespace ktime {

namespace {

// Without a clock in the machine the time of day begins in 1970 with the boot, which no program takes for a real date.
ns realtime_of_boot() noexcept {
    const ns wall = static_cast<ns>(arch::clock::wall_seconds()) * second;
    const ns up = now();
    return wall > up ? wall - up : 0;
}

constexpr ns unknown = forever;
std::atomic<ns> offset = unknown;

} // namespace

ns realtime_offset() noexcept {
    ns known = offset.load(std::memory_order_relaxed);
    if (known != unknown) [[likely]]
        return known;
    // Two CPUs may both ask the machine; the first answer counts.
    const ns asked = realtime_of_boot();
    return offset.compare_exchange_strong(known, asked) ? asked : known;
}

ns realtime_now() noexcept {
    return now() + realtime_offset();
}

void set_realtime_offset(ns to) noexcept {
    offset.store(to, std::memory_order_relaxed);
}

ns monotonic_of(ns realtime) noexcept {
    const ns shift = realtime_offset();
    return realtime > shift ? realtime - shift : 0;
}

} // namespace ktime
