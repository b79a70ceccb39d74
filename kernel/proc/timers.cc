// Timers of a process: setitimer's three, and those of timer_create.
//
// Those of real time are callouts. Nobody can buy the machine with a tiny interval: while the signal of a timer is
// still pending or is ignored, its callout comes seldom, and what it has missed is made up for when the signal is
// delivered. Those of CPU time, and RLIMIT_CPU, are sampled: a callout asks the threads to say what they have used.
#include "kernel/proc/timers.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/proc/timer_priv.h"

#include <limits>

namespace proc {

namespace {

constexpr ktime::ns least_alarm_interval = 250 * ktime::microsecond;
constexpr ktime::ns seldom = 10 * ktime::millisecond;
constexpr ktime::ns sample_interval = 10 * ktime::millisecond;
constexpr unsigned most_timers = 1024;

} // namespace

process_timers::process_timers(process_signals& signals) noexcept
    : signals_(signals), user_{.signal = sig_vtalrm}, cpu_{.signal = sig_prof} {
    signals_.set_timers(*this);
}

process_timers::~process_timers() {
    kassert(!first_);
}

// --- setitimer.

void process_timers::real_timer::expired(timer& t) noexcept {
    process_timers& all = static_cast<real_timer&>(t).of;
    (void)all.signals_.post(signal_info::of_kernel(sig_alrm));
    const ktime::ns now = ktime::now();
    lwkt::spin_guard guard(all.lock_);
    all.real_expiry_.catch_up(now);
    if (all.real_expiry_.next) t.rearm(std::max(all.real_expiry_.next, now + least_alarm_interval));
}

timer_setting process_timers::set_real(timer_setting to) noexcept {
    real_.cancel();
    timer_setting old;
    expiry fresh;
    {
        const ktime::ns now = ktime::now();
        lwkt::spin_guard guard(lock_);
        // One that is due and has not come yet is about to.
        if (real_expiry_.next) old = {std::max<ktime::ns>(real_expiry_.left(now), 1), real_expiry_.interval};
        if (to.value) fresh = {ktime::after(to.value), to.interval};
        real_expiry_ = fresh;
    }
    if (fresh.next) real_.arm(fresh.next);
    return old;
}

timer_setting process_timers::set(interval_timer which, timer_setting to) noexcept {
    if (which != interval_timer::real) charge_caller();
    lwkt::token_hold hold(calls_);
    if (which == interval_timer::real) return set_real(to);
    sampled_timer& t = sampled(which);
    const timer_setting old{t.remaining, t.remaining ? t.interval : 0};
    t.remaining = to.value;
    t.interval = to.interval;
    note_sampling();
    return old;
}

timer_setting process_timers::get(interval_timer which) noexcept {
    lwkt::token_hold hold(calls_);
    if (which == interval_timer::real) {
        lwkt::spin_guard guard(lock_);
        if (!real_expiry_.next) return {0, 0};
        return {std::max<ktime::ns>(real_expiry_.left(ktime::now()), 1), real_expiry_.interval};
    }
    const sampled_timer& t = sampled(which);
    return {t.remaining, t.remaining ? t.interval : 0};
}

// --- CPU time.

void process_timers::sampler::expired(timer& t) noexcept {
    process_timers& all = static_cast<sampler&>(t).of;
    if (!all.sampling()) return;
    if (process* p = all.signals_.owner()) ask_to_charge(*p);
    t.rearm(ktime::after(sample_interval));
}

bool process_timers::is_limited() const noexcept {
    const process* p = signals_.owner();
    return p && p->limits.soft(resource::cpu) != unlimited;
}

void process_timers::note_sampling() noexcept {
    const bool wanted = !ended_ && (user_.remaining || cpu_.remaining || cpu_timers_ || is_limited());
    if (sampling() == wanted) return;
    if (wanted) {
        // What a thread has used before does not count. The running one was charged just now.
        const k::u32 round = rounds_.fetch_add(1) + 1;
        if (thread* t = caller()) t->charge_round = round;
    }
    sampling_.store(wanted);
    sampler_.cancel(); // it may be another CPU's
    if (wanted) sampler_.arm(ktime::after(sample_interval));
}

void process_timers::limit_changed() noexcept {
    if (!is_limited() && !sampling()) return;
    charge_caller();
    lwkt::token_hold hold(calls_);
    note_sampling();
}

// As Linux has it: at the soft limit a signal, and another for each second from then on; at the hard one the end.
void process_timers::keep_limit() noexcept {
    if (!is_limited()) return;
    process& p = *signals_.owner();
    const limit l = p.limits.get(resource::cpu);
    const usage used = p.used();
    const k::u64 seconds = (used.user_ns + used.system_ns) / ktime::second;
    if (seconds >= l.hard) {
        (void)signals_.post(signal_info::of_kernel(sig_kill));
    } else if (seconds >= l.soft) {
        (void)signals_.post(signal_info::of_kernel(sig_xcpu));
        p.limits.raise_soft(resource::cpu, l.soft);
    }
}

// The running thread, if it is one of the process's. (Tests have neither.)
thread* process_timers::caller() const noexcept {
    lwkt::user_part* user = signals_.owner() ? lwkt::self().user : nullptr;
    auto* t = static_cast<thread*>(user);
    return t && &t->owner == signals_.owner() ? t : nullptr;
}

void process_timers::charge_caller() noexcept {
    if (thread* t = caller()) charge(*t);
}

void process_timers::charge(thread& t) noexcept {
    const cpu_time now = cpu_time_of(t), before = std::exchange(t.charged, now);
    const k::u32 round = rounds_.load();
    const bool counts = std::exchange(t.charge_round, round) == round && sampling();
    if (counts) charge_sampled(now.user_ns - before.user_ns, now.system_ns - before.system_ns);
}

void process_timers::charge_sampled(ktime::ns user, ktime::ns system) noexcept {
    lwkt::token_hold hold(calls_);
    if (ended_) return;
    auto charge = [this](sampled_timer& t, ktime::ns used) {
        if (!t.remaining) return;
        if (t.remaining > used) {
            t.remaining -= used;
            return;
        }
        (void)signals_.post(signal_info::of_kernel(t.signal));
        t.remaining = t.interval;
    };
    charge(user_, user);
    charge(cpu_, user + system);
    for (posix_timer* t = first_; t; t = t->next_timer) {
        if (!t->on_cpu_clock() || (t->plan.clock == clock_kind::thread_cpu && t->maker != current().tid)) continue;
        t->charged += user + system;
        k::u64 times;
        {
            lwkt::spin_guard guard(t->lock);
            times = t->when.catch_up(t->charged);
        }
        if (times && t->plan.notice != timer_notice::nothing) t->send(times);
    }
    keep_limit();
    note_sampling();
}

// --- timer_create.

posix_timer::posix_timer(process_timers& owner, int number, const timer_plan& what) noexcept
    : timer(expired), of(owner), id(number), plan(what), maker(current().tid) {
    entry.of_timer = true;
    entry.info = {plan.signal, 0, si_timer, signal_info::from_timer, {}};
    entry.info.timer.id = id;
    entry.info.timer.overrun = 0;
    entry.info.timer.value = plan.value_is_id ? static_cast<k::u64>(id) : plan.value;
}

bool posix_timer::send(k::u64 times) noexcept {
    {
        // Before it is queued: it may be delivered at once.
        lwkt::spin_guard guard(lock);
        overruns += times - 1;
    }
    const auto outcome = of.signals_.post_timer(entry, plan.notice == timer_notice::to_thread ? plan.thread_id : 0);
    if (outcome == process_signals::timer_posted::queued) return true;
    lwkt::spin_guard guard(lock);
    overruns = outcome == process_signals::timer_posted::already_queued ? overruns + 1 : 0;
    return false;
}

void posix_timer::expired(timer& base) noexcept {
    auto& t = static_cast<posix_timer&>(base);
    k::u64 times;
    {
        lwkt::spin_guard guard(t.lock);
        times = t.when.catch_up(ktime::now());
    }
    const bool wanted = times == 0 || t.send(times);
    lwkt::spin_guard guard(t.lock);
    if (!t.when.next) return;
    // The signal that was just queued may not be taken for long either: from the second time on it is `seldom`.
    const ktime::ns soonest = ktime::after(wanted ? 0 : seldom);
    t.delayed = soonest > t.when.next;
    t.rearm(std::max(t.when.next, soonest));
}

posix_timer* process_timers::find(int id) noexcept {
    for (posix_timer* t = first_; t; t = t->next_timer)
        if (t->id == id) return t;
    return nullptr;
}

k::result<int> process_timers::create(const timer_plan& plan) noexcept {
    charge_caller();
    lwkt::token_hold hold(calls_);
    if (count_ >= most_timers) return k::error::again;
    while (find(next_id_))
        next_id_ = (next_id_ + 1) & std::numeric_limits<int>::max();
    const int id = next_id_;
    next_id_ = (next_id_ + 1) & std::numeric_limits<int>::max();
    auto* t = mem::make<posix_timer>(*this, id, plan);
    if (!t) return k::error::nomem;
    t->next_timer = first_;
    first_ = t;
    count_++;
    if (t->on_cpu_clock()) cpu_timers_++;
    note_sampling();
    return id;
}

k::result<timer_setting> process_timers::settime(int id, timer_setting to, bool absolute) noexcept {
    ktime::ns cpu_reading = 0;
    charge_caller();
    lwkt::token_hold hold(calls_);
    posix_timer* t = find(id);
    if (!t) return k::error::inval;
    if (absolute && t->on_cpu_clock()) {
        cpu_reading = TRY(read_clock(t->plan.clock == clock_kind::thread_cpu ? clock_thread_cpu : clock_process_cpu));
        t = find(id); // reading may have blocked
        if (!t) return k::error::inval;
    }
    t->cancel();
    const ktime::ns now = t->now();
    expiry fresh;
    if (to.value) {
        ktime::ns at = to.value;
        if (!absolute) {
            if (__builtin_add_overflow(now, to.value, &at)) at = ktime::forever;
        } else if (t->on_cpu_clock()) {
            at = to.value > cpu_reading ? now + (to.value - cpu_reading) : now;
        } else if (t->plan.clock == clock_kind::realtime) {
            at = monotonic_of(to.value);
        }
        fresh = {std::max<ktime::ns>(at, 1), to.interval};
    }
    signals_.withdraw(t->entry);
    timer_setting old;
    {
        lwkt::spin_guard guard(t->lock);
        t->when.catch_up(now);
        if (t->when.next) old = {std::max<ktime::ns>(t->when.left(now), 1), t->when.interval};
        t->when = fresh;
        t->overruns = 0;
        t->delayed = false;
    }
    if (fresh.next && t->uses_callout()) t->arm(fresh.next);
    return old;
}

k::result<timer_setting> process_timers::gettime(int id) noexcept {
    lwkt::token_hold hold(calls_);
    posix_timer* t = find(id);
    if (!t) return k::error::inval;
    const ktime::ns now = t->now();
    lwkt::spin_guard guard(t->lock);
    expiry seen = t->when; // the expiries themselves are the callout's to count
    seen.catch_up(now);
    if (!seen.next) return timer_setting{0, seen.interval};
    return timer_setting{std::max<ktime::ns>(seen.left(now), 1), seen.interval};
}

k::result<int> process_timers::overrun(int id) noexcept {
    lwkt::token_hold hold(calls_);
    posix_timer* t = find(id);
    if (!t) return k::error::inval;
    return t->last_overrun;
}

void process_timers::delivered(signal_info& info) noexcept {
    lwkt::token_hold hold(calls_);
    posix_timer* t = find(info.timer.id);
    if (!t) return; // removed meanwhile
    bool delayed;
    {
        lwkt::spin_guard guard(t->lock);
        t->overruns += t->when.catch_up(t->now());
        t->last_overrun = static_cast<int>(std::min<k::u64>(t->overruns, std::numeric_limits<int>::max()));
        t->overruns = 0;
        delayed = t->delayed;
    }
    info.timer.overrun = t->last_overrun;
    if (!delayed) return;
    t->cancel();
    ktime::ns next;
    {
        lwkt::spin_guard guard(t->lock);
        t->delayed = false;
        next = t->when.next;
    }
    if (next) t->arm(next);
}

void process_timers::remove(posix_timer& t) noexcept {
    for (posix_timer** at = &first_; *at; at = &(*at)->next_timer) {
        if (*at != &t) continue;
        *at = t.next_timer;
        break;
    }
    count_--;
    if (t.on_cpu_clock()) cpu_timers_--;
    t.cancel();
    signals_.withdraw(t.entry);
    mem::destroy(&t);
}

k::status process_timers::remove(int id) noexcept {
    lwkt::token_hold hold(calls_);
    posix_timer* t = find(id);
    if (!t) return k::error::inval;
    remove(*t);
    note_sampling();
    return {};
}

void process_timers::reset_for_exec() noexcept {
    lwkt::token_hold hold(calls_);
    while (first_)
        remove(*first_);
    note_sampling();
}

void process_timers::stop_all() noexcept {
    {
        lwkt::token_hold hold(calls_);
        ended_ = true;
    }
    (void)set(interval_timer::real, {});
    (void)set(interval_timer::user_time, {});
    (void)set(interval_timer::cpu_time, {});
    reset_for_exec();
}

} // namespace proc
