// Timers: proc::timer, a callout that any CPU may cancel, and what a process has of timers.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/token.h"
#include "kernel/proc/clock.h"
#include "kernel/proc/signal_queue.h"

#include <boost/intrusive/list.hpp>

namespace proc {

class process_signals;
class thread;
struct posix_timer; // timer_priv.h

// A callout that is armed on the running CPU and cancelled from any. Whoever owns it serialises arm() and cancel().
class timer {
  public:
    // Runs in a critical section; may send to other CPUs and wake, must not block. It may call rearm().
    using function = void (*)(timer&);

    explicit timer(function run) noexcept : run_(run) {}
    ~timer() { kassert(!callout_.armed()); }
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;

    // Not armed before. Thread context.
    void arm(ktime::ns deadline) noexcept;
    // In its own function only.
    void rearm(ktime::ns deadline) noexcept { callout_.arm(deadline); }
    // Afterwards its function neither runs nor will. True if it was still to run. Thread context.
    bool cancel() noexcept;

  private:
    static void fire(ktime::callout& c) noexcept;

    ktime::callout callout_{fire}; // first: fire() finds the timer by it
    function run_;
    std::atomic<unsigned> cpu_ = 0;
    bool running_ = false; // on that CPU, in a critical section
};

// When a timer expires next and how often. Times of one clock.
struct expiry {
    ktime::ns next = 0; // 0: not armed
    ktime::ns interval = 0;

    // Counts the expiries until `now` and moves on to the next one.
    k::u64 catch_up(ktime::ns now) noexcept;
    ktime::ns left(ktime::ns now) const noexcept { return next > now ? next - now : 0; }
};

struct timer_setting {
    ktime::ns value = 0; // until it expires; 0: not armed
    ktime::ns interval = 0;
};

enum class interval_timer : k::u8 { real, user_time, cpu_time };

// What timer_create is told.
enum class timer_notice : k::u8 { nothing, to_process, to_thread };
struct timer_plan {
    clock_kind clock;
    timer_notice notice;
    int signal;
    int thread_id; // whom to_thread means
    k::u64 value;
    bool value_is_id; // the timer's number is the value
};

class process_timers {
  public:
    explicit process_timers(process_signals& signals) noexcept;
    ~process_timers();
    process_timers(const process_timers&) = delete;

    // setitimer, getitimer, alarm: sets it and says what was left. Thread context, as all that follows.
    timer_setting set(interval_timer which, timer_setting to) noexcept;
    timer_setting get(interval_timer which) noexcept;

    // timer_create and its family. `absolute`: the value is a reading of the timer's clock. EAGAIN, EINVAL, ENOMEM.
    k::result<int> create(const timer_plan& plan) noexcept;
    k::result<timer_setting> settime(int id, timer_setting to, bool absolute) noexcept;
    k::result<timer_setting> gettime(int id) noexcept;
    k::result<int> overrun(int id) noexcept;
    k::status remove(int id) noexcept;

    // Does anything count CPU time: a timer, or RLIMIT_CPU?
    bool sampling() const noexcept { return sampling_.load(std::memory_order_relaxed); }
    // Which time it is that something does; a new thread's charge_round.
    k::u32 round() const noexcept { return rounds_.load(std::memory_order_relaxed); }
    // Counts what the running thread, one of the process's, has used since the last time. When it is asked to, and
    // before something begins to count.
    void charge(thread& t) noexcept;
    // The process's RLIMIT_CPU may be another: from now on it is kept. For fork and setrlimit, of any process.
    void limit_changed() noexcept;

    // A timer's signal is being delivered: fills its overrun in.
    void delivered(signal_info& info) noexcept;

    // exec: timers of timer_create go, the others stay. The process has one thread.
    void reset_for_exec() noexcept;
    // exit: all go.
    void stop_all() noexcept;

  private:
    friend struct posix_timer;
    struct real_timer : timer {
        explicit real_timer(process_timers& owner) noexcept : timer(expired), of(owner) {}
        static void expired(timer& t) noexcept;
        process_timers& of;
    };
    // Has the threads come by while sampling().
    struct sampler : timer {
        explicit sampler(process_timers& owner) noexcept : timer(expired), of(owner) {}
        static void expired(timer& t) noexcept;
        process_timers& of;
    };
    struct sampled_timer {
        int signal;
        ktime::ns remaining = 0; // 0: not armed
        ktime::ns interval = 0;
    };

    timer_setting set_real(timer_setting to) noexcept;
    sampled_timer& sampled(interval_timer which) noexcept { return which == interval_timer::user_time ? user_ : cpu_; }
    void charge_sampled(ktime::ns user, ktime::ns system) noexcept;
    thread* caller() const noexcept;
    void charge_caller() noexcept;
    bool is_limited() const noexcept;
    void keep_limit() noexcept REQUIRES(calls_);
    void note_sampling() noexcept REQUIRES(calls_);
    posix_timer* find(int id) noexcept REQUIRES(calls_);
    void remove(posix_timer& t) noexcept REQUIRES(calls_);

    process_signals& signals_;
    lwkt::token calls_; // serialises all calls but those from callouts

    real_timer real_{*this};
    lwkt::spinlock lock_;
    expiry real_expiry_ GUARDED_BY(lock_);

    sampled_timer user_ GUARDED_BY(calls_);
    sampled_timer cpu_ GUARDED_BY(calls_);
    unsigned cpu_timers_ GUARDED_BY(calls_) = 0; // of timer_create, on a CPU clock
    bool ended_ GUARDED_BY(calls_) = false;      // nobody is left who could use any
    std::atomic<bool> sampling_ = false;
    std::atomic<k::u32> rounds_ = 0; // how often it has begun
    sampler sampler_{*this};

    posix_timer* first_ GUARDED_BY(calls_) = nullptr;
    int next_id_ GUARDED_BY(calls_) = 0;
    unsigned count_ GUARDED_BY(calls_) = 0;
};

} // namespace proc
