// A timer of timer_create.
#pragma once

#include "kernel/proc/timers.h"

namespace proc {

struct posix_timer : timer {
    posix_timer(process_timers& owner, int number, const timer_plan& what) noexcept;

    static void expired(timer& t) noexcept;
    // Queues the signal for so many expiries. False: nobody wants it at the moment, or it is still pending.
    bool send(k::u64 times) noexcept;
    bool on_cpu_clock() const noexcept {
        return plan.clock == clock_kind::process_cpu || plan.clock == clock_kind::thread_cpu;
    }
    // The present of its own time: of a CPU clock what was charged since it was made.
    ktime::ns now() const noexcept { return on_cpu_clock() ? charged : ktime::now(); }
    bool uses_callout() const noexcept { return !on_cpu_clock() && plan.notice != timer_notice::nothing; }

    process_timers& of;
    const int id;
    const timer_plan plan;
    const int maker; // the thread that made it: whose time clock_thread_cpu is

    // Guarded by the token of `of`.
    posix_timer* next_timer = nullptr;
    ktime::ns charged = 0;
    int last_overrun = 0;

    lwkt::spinlock lock;
    expiry when GUARDED_BY(lock);
    k::u64 overruns GUARDED_BY(lock) = 0;  // expiries beyond the first since the signal was queued
    bool delayed GUARDED_BY(lock) = false; // the callout looks at the next expiry later than it is

    queued_signal entry; // guarded by the process's signals
};

} // namespace proc
