// The clocks that programs read. Monotonic time is ktime's; the time of day is that plus an offset, which the machine's
// clock gives at boot and root may set.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/time/realtime.h"

#include <optional>

namespace proc {

class process;
class thread;

// Linux's clockid_t.
enum clock_id : k::i32 {
    clock_realtime = 0,
    clock_monotonic = 1,
    clock_process_cpu = 2,
    clock_thread_cpu = 3,
    clock_monotonic_raw = 4,
    clock_realtime_coarse = 5,
    clock_monotonic_coarse = 6,
    clock_boottime = 7,
    clock_realtime_alarm = 8,
    clock_boottime_alarm = 9,
    clock_tai = 11,
};

// struct timespec and struct timeval.
struct time_spec {
    k::i64 seconds, nanoseconds;

    static constexpr time_spec of(ktime::ns t) noexcept {
        return {static_cast<k::i64>(t / ktime::second), static_cast<k::i64>(t % ktime::second)};
    }
    // Nanoseconds, at most the largest number that is not `forever`. EINVAL: negative, or no proper fraction.
    k::result<ktime::ns> to_ns() const noexcept {
        if (seconds < 0 || nanoseconds < 0 || nanoseconds >= k::i64{1'000'000'000}) return k::error::inval;
        if (static_cast<k::u64>(seconds) >= (ktime::forever - 1) / ktime::second) return ktime::forever - 1;
        return static_cast<k::u64>(seconds) * ktime::second + static_cast<k::u64>(nanoseconds);
    }
};
struct time_value {
    k::i64 seconds, microseconds;

    static constexpr time_value of(ktime::ns t) noexcept {
        return {static_cast<k::i64>(t / ktime::second), static_cast<k::i64>(t % ktime::second / ktime::microsecond)};
    }
    k::result<ktime::ns> to_ns() const noexcept {
        if (microseconds < 0 || microseconds >= k::i64{1'000'000}) return k::error::inval;
        return time_spec{seconds, microseconds * 1000}.to_ns();
    }
};

using ktime::monotonic_of;
using ktime::realtime_now;
// For programs that read the clock by themselves, too, at the same moment. ENOMEM: it is as it was. Thread context.
k::status set_realtime(ktime::ns to) noexcept;

// The reading of a clock, for the running thread: also one that names another thread's or process's CPU time. EINVAL.
k::result<ktime::ns> read_clock(k::i32 clock) noexcept;
// Is it one that deadlines can be given of, and is it the time of day?
enum class clock_kind : k::u8 { monotonic, realtime, process_cpu, thread_cpu, none };
clock_kind kind_of(k::i32 clock) noexcept;

} // namespace proc
