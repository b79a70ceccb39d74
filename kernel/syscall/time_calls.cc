// System calls about time: clocks, sleeping, and the timers that send signals.
#include "kernel/proc/clock.h"
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/syscall/calls.h"

namespace syscalls {

namespace {

using proc::clock_kind;
using proc::current;
using proc::current_process;
using proc::current_space;
using proc::thread;
using proc::time_spec;
using proc::time_value;
using proc::timer_setting;
using vm::user_pointer;

template <class T> using in = user_pointer<const T>;
template <class T> using out = user_pointer<T>;

constexpr int absolute_flag = 1; // TIMER_ABSTIME

// --- Clocks.

k::result<k::u64> sys_clock_gettime(int clock, out<time_spec> to) {
    TRY(to.write(current_space(), time_spec::of(TRY(proc::read_clock(clock)))));
    return 0;
}

k::result<k::u64> sys_clock_getres(int clock, out<time_spec> to) {
    (void)TRY(proc::read_clock(clock));
    if (to) TRY(to.write(current_space(), time_spec{0, 1}));
    return 0;
}

k::status set_time_of_day(ktime::ns to) {
    if (!current_process().who.privileged()) return k::error::perm;
    return proc::set_realtime(to);
}

k::result<k::u64> sys_clock_settime(int clock, in<time_spec> from) {
    if (clock != proc::clock_realtime) return k::error::inval;
    const time_spec given = TRY(from.read(current_space()));
    TRY(set_time_of_day(TRY(given.to_ns())));
    return 0;
}

struct time_zone {
    k::i32 minutes_west, summer_time;
};

k::result<k::u64> sys_gettimeofday(out<time_value> to, out<time_zone> zone) {
    if (to) TRY(to.write(current_space(), time_value::of(proc::realtime_now())));
    if (zone) TRY(zone.write(current_space(), time_zone{}));
    return 0;
}

k::result<k::u64> sys_settimeofday(in<time_value> from, in<time_zone> zone) {
    if (zone) (void)TRY(zone.read(current_space()));
    if (!from) return 0;
    const time_value given = TRY(from.read(current_space()));
    TRY(set_time_of_day(TRY(given.to_ns())));
    return 0;
}

k::result<k::u64> sys_time(out<k::i64> to) {
    const k::i64 now = time_spec::of(proc::realtime_now()).seconds;
    if (to) TRY(to.write(current_space(), now));
    return static_cast<k::u64>(now);
}

// struct timex. Nobody disciplines the clock here: it can be looked at.
struct clock_discipline {
    k::u32 modes, pad0;
    k::i64 offset, frequency, most_error, estimated_error;
    k::i32 status, pad1;
    k::i64 time_constant, precision, tolerance;
    time_value now;
    k::i64 tick_us;
    k::i64 pulse[2];
    k::i32 pulse_shift, pad2;
    k::i64 pulse_counts[5];
    k::i32 tai, pad3[11];
};
static_assert(sizeof(clock_discipline) == 208);

k::result<k::u64> sys_clock_adjtime(int clock, out<clock_discipline> at) {
    constexpr k::u32 only_read = 0xa001; // ADJ_OFFSET_SS_READ
    constexpr k::i32 unsynchronised = 0x40;
    constexpr k::u64 time_error = 5; // what Linux answers of such a clock
    if (clock != proc::clock_realtime) return k::error::opnotsupp;
    const clock_discipline given = TRY(at.read(current_space()));
    if (given.modes && given.modes != only_read) return k::error::perm;
    clock_discipline answer{};
    answer.modes = given.modes;
    answer.status = unsynchronised;
    answer.most_error = answer.estimated_error = 16'000'000;
    answer.time_constant = 2;
    answer.precision = 1;
    answer.tolerance = 32'768'000;
    answer.now = time_value::of(proc::realtime_now());
    answer.tick_us = 10'000;
    TRY(at.write(current_space(), answer));
    return time_error;
}

k::result<k::u64> sys_adjtimex(out<clock_discipline> at) {
    return sys_clock_adjtime(proc::clock_realtime, at);
}

// --- Sleeping.

// Sleeps until the deadline, or EINTR.
k::status sleep_until(ktime::ns deadline) {
    lwkt::wait_queue nobody;
    const k::status slept = proc::sleep(
        nobody, [] { return false; }, deadline);
    if (slept || slept.error() == k::error::timedout || ktime::now() >= deadline) return {};
    return slept.error();
}

k::result<k::u64> sleep_for(ktime::ns duration, out<time_spec> left) {
    thread& t = current();
    const ktime::ns deadline = deadline_of_call(t, ktime::after(duration));
    const k::status slept = sleep_until(deadline);
    if (slept) return 0;
    t.restart_deadline = deadline;
    const ktime::ns now = ktime::now();
    if (left) TRY(left.write(current_space(), time_spec::of(deadline > now ? deadline - now : 0)));
    return slept.error();
}

k::result<k::u64> sys_nanosleep(in<time_spec> duration, out<time_spec> left) {
    const time_spec given = TRY(duration.read(current_space()));
    return sleep_for(TRY(given.to_ns()), left);
}

k::result<k::u64> sys_clock_nanosleep(int clock, int flags, in<time_spec> when, out<time_spec> left) {
    const clock_kind kind = proc::kind_of(clock);
    if (kind == clock_kind::none || kind == clock_kind::thread_cpu) return k::error::inval;
    if (kind == clock_kind::process_cpu || clock == proc::clock_monotonic_raw ||
        clock == proc::clock_monotonic_coarse || clock == proc::clock_realtime_coarse)
        return k::error::opnotsupp;
    const time_spec given = TRY(when.read(current_space()));
    const ktime::ns time = TRY(given.to_ns());
    if (!(flags & absolute_flag)) return sleep_for(time, left);
    TRY(sleep_until(kind == clock_kind::realtime ? proc::monotonic_of(time) : time));
    return 0;
}

// --- setitimer.

struct interval_value {
    time_value interval, value;

    static interval_value of(const timer_setting& s) {
        // What is less than a microsecond is not nothing.
        auto up = [](ktime::ns t) { return time_value::of(t + (t ? ktime::microsecond - 1 : 0)); };
        return {up(s.interval), up(s.value)};
    }
    k::result<timer_setting> setting() const {
        return timer_setting{.value = TRY(value.to_ns()), .interval = TRY(interval.to_ns())};
    }
};

k::result<proc::interval_timer> which_timer(int which) {
    if (which < 0 || which > 2) return k::error::inval;
    return static_cast<proc::interval_timer>(which);
}

k::result<k::u64> sys_getitimer(int which, out<interval_value> to) {
    const auto timer = TRY(which_timer(which));
    TRY(to.write(current_space(), interval_value::of(current_process().timers.get(timer))));
    return 0;
}

k::result<k::u64> sys_setitimer(int which, in<interval_value> from, out<interval_value> old) {
    const auto timer = TRY(which_timer(which));
    timer_setting wanted;
    if (from) wanted = TRY(TRY(from.read(current_space())).setting());
    const timer_setting before = current_process().timers.set(timer, wanted);
    if (old) TRY(old.write(current_space(), interval_value::of(before)));
    return 0;
}

k::result<k::u64> sys_alarm(k::u32 seconds) {
    const timer_setting before =
        current_process().timers.set(proc::interval_timer::real, {.value = seconds * ktime::second});
    const k::u64 rounded = (before.value + ktime::second / 2) / ktime::second;
    return before.value && !rounded ? 1 : rounded;
}

// --- timer_create.

// struct sigevent.
struct signal_event {
    static constexpr k::i32 by_signal = 0, none = 1, by_thread = 2, to_thread = 4;

    k::u64 value;
    k::i32 signal, notice;
    k::i32 thread_id;
    k::i32 rest[11];
};
static_assert(sizeof(signal_event) == 64);

k::result<proc::timer_plan> plan_of(int clock, in<signal_event> from) {
    proc::timer_plan plan{.clock = proc::kind_of(clock),
                          .notice = proc::timer_notice::to_process,
                          .signal = proc::sig_alrm,
                          .thread_id = 0,
                          .value = 0,
                          .value_is_id = !from};
    if (plan.clock == clock_kind::none || clock == proc::clock_monotonic_raw || clock == proc::clock_monotonic_coarse ||
        clock == proc::clock_realtime_coarse)
        return k::error::inval;
    if (!from) return plan;
    const signal_event event = TRY(from.read(current_space()));
    plan.value = event.value;
    plan.signal = event.signal;
    switch (event.notice) {
    case signal_event::none: plan.notice = proc::timer_notice::nothing; return plan;
    case signal_event::by_signal:
    case signal_event::by_thread: break; // the libc's own thread gets the signal
    case signal_event::to_thread: {
        plan.notice = proc::timer_notice::to_thread;
        plan.thread_id = event.thread_id;
        lwkt::token_hold hold(proc::tree);
        thread* t = proc::find_thread(event.thread_id);
        if (!t || &t->owner != &current_process()) return k::error::inval;
        break;
    }
    default: return k::error::inval;
    }
    if (!proc::is_signal(event.signal)) return k::error::inval;
    return plan;
}

k::result<k::u64> sys_timer_create(int clock, in<signal_event> event, out<k::i32> id) {
    const proc::timer_plan plan = TRY(plan_of(clock, event));
    proc::process_timers& timers = current_process().timers;
    const int made = TRY(timers.create(plan));
    const k::status written = id.write(current_space(), made);
    if (!written) {
        (void)timers.remove(made);
        return written.error();
    }
    return 0;
}

struct interval_spec {
    time_spec interval, value;

    static interval_spec of(const timer_setting& s) { return {time_spec::of(s.interval), time_spec::of(s.value)}; }
    k::result<timer_setting> setting() const {
        return timer_setting{.value = TRY(value.to_ns()), .interval = TRY(interval.to_ns())};
    }
};

k::result<k::u64> sys_timer_settime(int id, int flags, in<interval_spec> from, out<interval_spec> old) {
    if (!from) return k::error::inval;
    const timer_setting wanted = TRY(TRY(from.read(current_space())).setting());
    const timer_setting before = TRY(current_process().timers.settime(id, wanted, flags & absolute_flag));
    if (old) TRY(old.write(current_space(), interval_spec::of(before)));
    return 0;
}

k::result<k::u64> sys_timer_gettime(int id, out<interval_spec> to) {
    TRY(to.write(current_space(), interval_spec::of(TRY(current_process().timers.gettime(id)))));
    return 0;
}

k::result<k::u64> sys_timer_getoverrun(int id) {
    return static_cast<k::u64>(TRY(current_process().timers.overrun(id)));
}

k::result<k::u64> sys_timer_delete(int id) {
    TRY(current_process().timers.remove(id));
    return 0;
}

constexpr entry entries[] = {
    call<sys_nanosleep>(35, "nanosleep"),
    call<sys_getitimer>(36, "getitimer"),
    call<sys_alarm>(37, "alarm"),
    call<sys_setitimer>(38, "setitimer", ends, "timers of CPU time are looked at every 10 ms"),
    call<sys_gettimeofday>(96, "gettimeofday"),
    call<sys_adjtimex>(159, "adjtimex", ends, "reads only"),
    call<sys_settimeofday>(164, "settimeofday", ends, "the time zone is ignored"),
    call<sys_time>(201, "time"),
    call<sys_timer_create>(222, "timer_create", ends, "timers of CPU time are looked at every 10 ms"),
    call<sys_timer_settime>(223, "timer_settime", ends, "setting the clock does not move timers that are armed"),
    call<sys_timer_gettime>(224, "timer_gettime"),
    call<sys_timer_getoverrun>(225, "timer_getoverrun"),
    call<sys_timer_delete>(226, "timer_delete"),
    call<sys_clock_settime>(227, "clock_settime"),
    call<sys_clock_gettime>(228, "clock_gettime"),
    call<sys_clock_getres>(229, "clock_getres"),
    call<sys_clock_nanosleep>(230, "clock_nanosleep", ends, "not on CPU time"),
    call<sys_clock_adjtime>(305, "clock_adjtime", ends, "reads only"),
};

} // namespace

constinit const std::span<const entry> time_calls = entries;

} // namespace syscalls
