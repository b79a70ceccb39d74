// Sending signals: what a signal does the moment it is sent, where it is queued, and which thread is told.
#include "kernel/mem/slab.h"
#include "kernel/proc/group.h"

namespace proc {

// --- Threads to be kicked.

void kick_list::add(thread_signals& t) noexcept {
    if (!t.owner_ || t.kick_wanted_.exchange(true)) return; // somebody else is about to kick it
    (void)k::ref<thread>::to(*t.owner_).release();
    t.next_kicked_ = first_;
    first_ = &t;
}

kick_list::~kick_list() {
    if (victim_) end_process(*victim_, killed_by(sig_kill));
    if (stopped_) stopped_->wake_all();
    while (first_) {
        thread_signals& t = *first_;
        first_ = t.next_kicked_; // before another sender may add it to a list of his own
        t.kick_wanted_.store(false);
        kick(k::ref<thread>(t.owner_));
    }
    if (arrival_) arrival_->arrivals().notify(files::poll_in);
}

// --- Threads come and go.

thread_signals::thread_signals(process_signals& process, thread* owner, int id, std::atomic<k::u32>& attention) noexcept
    : process_(process), owner_(owner), id_(id), attention_(attention) {
    process_.attach(*this);
}

thread_signals::~thread_signals() {
    if (attached_) process_.detach(*this);
}

process_signals::~process_signals() {
    kassert(members_.empty());
    close();
}

bool process_signals::is_init() const noexcept {
    return owner_ && owner_->pid == init_pid;
}

k::u64 process_signals::queue_limit() const noexcept {
    return owner_ ? owner_->limits.soft(resource::signals) : 64;
}

void process_signals::attach(thread_signals& t) noexcept {
    lwkt::spin_guard guard(lock_);
    members_.push_back(t);
    t.attached_ = true;
    refresh_locked(t);
}

void process_signals::detach(thread_signals& t) noexcept {
    bool report;
    {
        kick_list kicks;
        lwkt::spin_guard guard(lock_);
        if (!t.attached_) return;
        t.attached_ = false;
        members_.erase(members_.iterator_to(t));
        if (t.stopped_) stopped_threads_--;
        discard_from_locked(t.queue_, every_signal);
        retarget_locked(shared_.pending().without(t.blocked_), kicks);
        check_stop_complete_locked();
        report = stop_to_notify_ && !members_.empty();
    }
    if (report) report_job_control();
}

void process_signals::close() noexcept {
    lwkt::spin_guard guard(lock_);
    closed_ = true;
    discard_locked(every_signal);
}

// Nobody else sees this one yet. Most actions of most processes are the default: fork copies only the others.
void process_signals::copy_actions(process_signals& from) noexcept NO_THREAD_SAFETY_ANALYSIS {
    lwkt::spin_guard guard(from.lock_);
    changed_ = from.changed_;
    for (signal_set left = changed_; !left.empty(); left.remove(left.lowest()))
        actions_[left.lowest() - 1] = from.actions_[left.lowest() - 1];
}

void process_signals::reset_for_exec() noexcept {
    lwkt::spin_guard guard(lock_);
    for (signal_set left = changed_; !left.empty(); left.remove(left.lowest())) {
        const int number = left.lowest();
        signal_action& action = actions_[number - 1];
        const bool ignored = action.handler == signal_action::handler_ignore;
        action = {};
        if (ignored)
            action.handler = signal_action::handler_ignore;
        else
            changed_.remove(number);
    }
}

// --- Posting.

// Would it do nothing? A blocked signal is never ignored: there may be a handler by the time it is let in. Of a
// signal to the process the first thread is asked.
bool process_signals::ignored_locked(const thread_signals* target, int number) const noexcept {
    if (!target && !members_.empty()) target = &members_.front();
    if (target && (target->blocked_ | target->waited_for_).has(number)) return false;
    const k::u64 handler = actions_[number - 1].handler;
    if (handler == signal_action::handler_ignore) return true;
    return handler == signal_action::handler_default && (ignored_by_default.has(number) || is_init());
}

// What a signal does at once, whether it is blocked or not. False: it does nothing more.
bool process_signals::prepare_locked(thread_signals* target, int number, kick_list& kicks) noexcept {
    if (closed_) return false;
    if (number == sig_kill) {
        if (!is_init() && owner_) kicks.add_end(*owner_);
        return false;
    }
    if (number == sig_cont) {
        discard_locked(stop_signals);
        continues_++;
        continue_locked(kicks);
    } else if (stop_signals.has(number)) {
        discard_locked(signal_set::of(sig_cont));
    }
    return !ignored_locked(target, number);
}

k::status process_signals::post_locked(thread_signals* target, const signal_info& info, posting how,
                                       kick_list& kicks) noexcept {
    const int number = info.number;
    if (!prepare_locked(target, number, kicks)) return {};
    signal_queue& queue = target ? target->queue_ : shared_;
    if (number < sig_rt_min && queue.pending().has(number)) return {};

    queued_signal* entry = queued_ < queue_limit() ? mem::make<queued_signal>() : nullptr;
    if (entry) {
        entry->info = info;
        queued_++;
        queue.push(*entry);
    } else {
        if (number >= sig_rt_min && how == posting::must_queue) return k::error::again;
        queue.push_bare(number);
    }
    announce_locked(target, number, kicks);
    kicks.add_arrival(*this);
    return {};
}

// Finds a thread that takes the signal, and tells it.
void process_signals::announce_locked(thread_signals* target, int number, kick_list& kicks) noexcept {
    auto takes = [number](const thread_signals& t) {
        return !t.blocked_.without(t.waited_for_).has(number) &&
               !(t.attention_.load(std::memory_order_relaxed) & attention_end);
    };
    if (target) {
        if (!takes(*target)) return;
    } else {
        // One that has nothing to do yet, so that several signals are handled by several threads.
        for (thread_signals& t : members_) {
            if (!takes(t)) continue;
            if (!target) target = &t;
            if (t.attention_.load(std::memory_order_relaxed) & attention_signal) continue;
            target = &t;
            break;
        }
        if (!target) return; // whoever unblocks it first finds it
    }
    target->attention_.fetch_or(attention_signal);
    kicks.add(*target);
}

k::status process_signals::post(const signal_info& info, posting how) noexcept {
    kick_list kicks;
    lwkt::spin_guard guard(lock_);
    return post_locked(nullptr, info, how, kicks);
}

k::status process_signals::post_to(thread_signals& t, const signal_info& info, posting how) noexcept {
    kick_list kicks;
    lwkt::spin_guard guard(lock_);
    if (!t.attached_) return {};
    return post_locked(&t, info, how, kicks);
}

thread_signals* process_signals::find_locked(int thread_id) noexcept {
    for (thread_signals& t : members_)
        if (t.id_ == thread_id) return &t;
    return nullptr;
}

k::status process_signals::post_to(int thread_id, const signal_info& info, posting how) noexcept {
    kick_list kicks;
    lwkt::spin_guard guard(lock_);
    thread_signals* t = find_locked(thread_id);
    if (!t) return k::error::srch;
    return post_locked(t, info, how, kicks);
}

void process_signals::force(thread_signals& self, const signal_info& info) noexcept {
    const int number = info.number;
    kick_list kicks;
    lwkt::spin_guard guard(lock_);
    signal_action& action = actions_[number - 1];
    if (self.blocked_.has(number) || action.handler == signal_action::handler_ignore) {
        action.handler = signal_action::handler_default;
        self.blocked_.remove(number);
    }
    if (self.queue_.pending().has(number)) { // sent by somebody and not yet taken: the fault says more
        if (queued_signal* old = self.queue_.pop(number)) {
            mem::destroy(old);
            queued_--;
        }
    }
    if (queued_signal* entry = mem::make<queued_signal>()) {
        entry->info = info;
        queued_++;
        self.queue_.push(*entry);
    } else {
        self.queue_.push_bare(number);
    }
    self.attention_.fetch_or(attention_signal);
}

process_signals::timer_posted process_signals::post_timer(queued_signal& entry, int thread_id) noexcept {
    kick_list kicks;
    lwkt::spin_guard guard(lock_);
    if (entry.in) return timer_posted::already_queued;
    thread_signals* target = nullptr;
    if (thread_id && !(target = find_locked(thread_id))) return timer_posted::nobody;
    const int number = entry.info.number;
    if (!prepare_locked(target, number, kicks)) return timer_posted::ignored;
    signal_queue& queue = target ? target->queue_ : shared_;
    if (number < sig_rt_min && queue.pending().has(number)) return timer_posted::already_queued;
    queue.push(entry);
    announce_locked(target, number, kicks);
    kicks.add_arrival(*this);
    return timer_posted::queued;
}

void process_signals::withdraw(queued_signal& entry) noexcept {
    lwkt::spin_guard guard(lock_);
    if (entry.in) entry.in->remove(entry);
}

void process_signals::discard_from_locked(signal_queue& queue, signal_set what) noexcept {
    for (signal_set left = queue.pending() & what; !left.empty(); left = queue.pending() & what) {
        queued_signal* entry = queue.pop(left.lowest());
        if (!entry || entry->of_timer) continue; // a timer's entry is the timer's
        mem::destroy(entry);
        queued_--;
    }
}

void process_signals::discard_locked(signal_set what) noexcept {
    discard_from_locked(shared_, what);
    for (thread_signals& t : members_)
        discard_from_locked(t.queue_, what);
}

// --- By the kernel.

k::status send_signal(process& to, const signal_info& info, posting how) noexcept {
    return to.signals.post(info, how);
}

void send_signal(process& to, int number) noexcept {
    (void)to.signals.post(signal_info::of_kernel(number));
}

k::status send_to_member(process& to, const signal_info& info) noexcept {
    for (birth* b = to.births; b; b = b->next) {
        if (info.number == sig_cont) b->missed = b->missed.without(stop_signals);
        if (stop_signals.has(info.number)) b->missed.remove(sig_cont);
        b->missed.add(info.number);
    }
    return send_signal(to, info);
}

k::status send_to_thread(thread& to, const signal_info& info, posting how) noexcept {
    return to.owner.signals.post_to(to.signals, info, how);
}

void send_child_signal(process& parent, process& child, int number, int code, int status) noexcept {
    signal_info info{number, 0, code, 0, {}};
    const usage used = child.used();
    constexpr k::u64 ns_a_tick = ktime::second / 100;
    info.child = {child.pid,
                  child.who.user().real,
                  status,
                  0,
                  static_cast<k::i64>(used.user_ns / ns_a_tick),
                  static_cast<k::i64>(used.system_ns / ns_a_tick)};
    (void)send_signal(parent, info); // SIGCHLD does not queue: one that waits already is enough
}

} // namespace proc
