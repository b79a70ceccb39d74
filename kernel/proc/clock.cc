#include "kernel/proc/clock.h"

#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/proc/vdso.h"

namespace proc {

namespace {

// A clock that names a process or a thread: the number inverted, then three bits.
struct named_clock {
    explicit named_clock(k::i32 clock) : number(~(clock >> 3)), of_thread(clock & 4), what(clock & 3) {}
    int number; // 0: the running one
    bool of_thread;
    int what; // 2: CPU time; 0 and 1 are parts of it, 3 is not a CPU clock
};

ktime::ns total(const cpu_time& t) {
    return t.user_ns + t.system_ns;
}

k::result<ktime::ns> read_named_clock(k::i32 clock) noexcept {
    const named_clock named(clock);
    if (named.what == 3) return k::error::inval;
    lwkt::token_hold hold(tree);
    if (named.of_thread) {
        thread* t = named.number ? find_thread(named.number) : &current();
        if (!t || &t->owner != &current_process()) return k::error::inval;
        return total(cpu_time_of(*t));
    }
    process* p = named.number ? find_process(named.number) : &current_process();
    if (!p) return k::error::inval;
    const usage used = p->used();
    return used.user_ns + used.system_ns;
}

} // namespace

k::status set_realtime(ktime::ns to) noexcept {
    const ktime::ns now = ktime::now();
    return change_realtime_offset(to > now ? to - now : 0);
}

clock_kind kind_of(k::i32 clock) noexcept {
    switch (clock) {
    case clock_realtime:
    case clock_realtime_coarse:
    case clock_realtime_alarm:
    case clock_tai: return clock_kind::realtime;
    case clock_monotonic:
    case clock_monotonic_raw:
    case clock_monotonic_coarse:
    case clock_boottime:
    case clock_boottime_alarm: return clock_kind::monotonic;
    case clock_process_cpu: return clock_kind::process_cpu;
    case clock_thread_cpu: return clock_kind::thread_cpu;
    default: return clock_kind::none;
    }
}

k::result<ktime::ns> read_clock(k::i32 clock) noexcept {
    switch (kind_of(clock)) {
    case clock_kind::realtime: return realtime_now();
    case clock_kind::monotonic: return ktime::now();
    case clock_kind::thread_cpu: return total(cpu_time_of(current()));
    case clock_kind::process_cpu: {
        const usage used = current_process().used();
        return used.user_ns + used.system_ns;
    }
    case clock_kind::none: break;
    }
    if (clock >= 0) return k::error::inval;
    return read_named_clock(clock);
}

} // namespace proc
