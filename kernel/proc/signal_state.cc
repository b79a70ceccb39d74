// What a process and its threads have set about signals: actions and masks, what is pending, and taking it. Stopping
// and continuing the process.
#include "kernel/mem/slab.h"
#include "kernel/proc/group.h"

namespace proc {

// --- Actions.

k::status process_signals::set_action(int number, const signal_action& action, signal_action* old) noexcept {
    lwkt::spin_guard guard(lock_);
    signal_action& mine = actions_[number - 1];
    if (old) *old = mine;
    if (uncatchable_signals.has(number)) return k::error::inval;
    mine = action;
    mine.mask = mine.mask.without(uncatchable_signals);
    changed_.add(number);
    const bool ignored = action.handler == signal_action::handler_ignore ||
                         (action.handler == signal_action::handler_default && ignored_by_default.has(number));
    if (ignored) discard_locked(signal_set::of(number));
    return {};
}

signal_action process_signals::action_of(int number) const noexcept {
    lwkt::spin_guard guard(lock_);
    return actions_[number - 1];
}

// --- Masks.

// Makes attention_signal right.
void process_signals::refresh_locked(thread_signals& t) noexcept {
    const signal_set taken = (t.queue_.pending() | shared_.pending()).without(t.blocked_.without(t.waited_for_));
    const bool wanted = !taken.empty() || state_ != run_state::running || stop_to_notify_ || continue_to_notify_;
    if (wanted)
        t.attention_.fetch_or(attention_signal);
    else
        t.attention_.fetch_and(~attention_signal);
}

// A thread will not take these of the process's any more, which perhaps it was told to.
void process_signals::retarget_locked(signal_set what, kick_list& kicks) noexcept {
    for (signal_set left = shared_.pending() & what; !left.empty();) {
        const int number = left.lowest();
        left.remove(number);
        announce_locked(nullptr, number, kicks);
    }
}

void process_signals::mask_locked(thread_signals& t, signal_set mask, kick_list& kicks) noexcept {
    mask = mask.without(uncatchable_signals);
    const signal_set newly = mask.without(t.blocked_);
    t.blocked_ = mask;
    if (!(newly & shared_.pending()).empty()) retarget_locked(newly, kicks);
    refresh_locked(t);
}

void thread_signals::set_blocked(signal_set mask) noexcept {
    kick_list kicks;
    lwkt::spin_guard guard(process_.lock_);
    process_.mask_locked(*this, mask, kicks);
}

void thread_signals::set_temporary_mask(signal_set mask) noexcept {
    saved_mask_ = blocked_;
    mask_saved_ = true;
    set_blocked(mask);
}

void thread_signals::end_temporary_mask() noexcept {
    if (!mask_saved_) return;
    mask_saved_ = false;
    set_blocked(saved_mask_);
}

// --- Pending signals.

signal_set process_signals::pending(thread_signals& t) noexcept {
    lwkt::spin_guard guard(lock_);
    return t.queue_.pending() | shared_.pending();
}

// A timer's signal comes out with its overrun still to be asked for.
int process_signals::take_locked(thread_signals& t, signal_set wanted, signal_info& out) noexcept {
    signal_queue* queue = &t.queue_;
    if ((queue->pending() & wanted).empty()) queue = &shared_;
    const signal_set have = queue->pending() & wanted;
    if (have.empty()) {
        refresh_locked(t); // it was told of something that another thread has taken
        return 0;
    }
    const signal_set faults = have & fault_signals;
    const int number = faults.empty() ? have.lowest() : faults.lowest();
    if (queued_signal* entry = queue->pop(number)) {
        out = entry->info;
        if (!entry->of_timer) {
            mem::destroy(entry);
            queued_--;
        }
    } else {
        out = signal_info::of_sender(number, si_user, 0, 0);
    }
    refresh_locked(t);
    return number;
}

void process_signals::complete(signal_info& info) noexcept {
    if (info.mark == signal_info::from_timer && timers_) timers_->delivered(info);
    info.mark = 0;
}

int process_signals::take(thread_signals& t, signal_set wanted, signal_info& out) noexcept {
    int number;
    {
        lwkt::spin_guard guard(lock_);
        number = take_locked(t, wanted, out);
    }
    if (number) complete(out);
    return number;
}

k::result<int> process_signals::wait_for(thread_signals& self, signal_set wanted, ktime::ns deadline,
                                         signal_info& out) noexcept {
    if (const int number = take(self, wanted, out)) return number;
    {
        lwkt::spin_guard guard(lock_);
        self.waited_for_ = wanted;
        refresh_locked(self);
    }
    // Nobody wakes this queue; a signal takes us out of it.
    lwkt::wait_queue nobody;
    const auto told = [&] {
        return (self.attention_.load(std::memory_order_relaxed) & (attention_signal | attention_end)) != 0;
    };
    const bool interrupted = nobody.wait(told, deadline);
    {
        lwkt::spin_guard guard(lock_);
        self.waited_for_ = {};
    }
    const int number = take(self, wanted, out);
    {
        // Others of the awaited ones that are the process's may be for another thread after all.
        kick_list kicks;
        lwkt::spin_guard guard(lock_);
        retarget_locked(wanted & self.blocked_, kicks);
    }
    if (number) return number;
    return interrupted ? k::error::intr : k::error::again;
}

// --- Stop and continue.

void process_signals::continue_locked(kick_list& kicks) noexcept {
    stop_to_notify_ = false;
    if (state_ == run_state::running) return;
    continue_to_notify_ = state_ == run_state::stopped;
    state_ = run_state::running;
    stopped_threads_ = 0;
    for (thread_signals& t : members_)
        t.stopped_ = false;
    kicks.add_stopped(stop_queue_); // they have attention_signal and make it right themselves
}

void process_signals::begin_stop_locked(int number, kick_list& kicks) noexcept {
    if (state_ != run_state::running) return;
    state_ = run_state::stopping;
    stop_signal_ = number;
    for (thread_signals& t : members_) {
        t.attention_.fetch_or(attention_signal);
        kicks.add(t);
    }
}

void process_signals::check_stop_complete_locked() noexcept {
    if (state_ != run_state::stopping || stopped_threads_ != members_.size()) return;
    state_ = run_state::stopped;
    stop_to_notify_ = true;
}

// Stops, if the process does, until it goes on or ends.
void process_signals::stop_here(thread_signals& t) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (state_ == run_state::running) return;
        if (!t.stopped_) {
            t.stopped_ = true;
            stopped_threads_++;
            check_stop_complete_locked();
        }
    }
    report_job_control();
    stop_queue_.wait([&] {
        if (t.attention_.load(std::memory_order_relaxed) & attention_end) return true;
        lwkt::spin_guard guard(lock_);
        return state_ == run_state::running;
    });
    lwkt::spin_guard guard(lock_);
    if (t.stopped_) { // it ends
        t.stopped_ = false;
        stopped_threads_--;
    }
    refresh_locked(t);
}

// The state is read under the tree's token, so that whoever comes last says what is true.
void process_signals::report_job_control() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (!owner_ || !(stop_to_notify_ || continue_to_notify_)) return;
    }
    lwkt::token_hold hold(tree);
    bool continued, stopped;
    int stop_signal;
    {
        lwkt::spin_guard guard(lock_);
        continued = std::exchange(continue_to_notify_, false);
        stopped = std::exchange(stop_to_notify_, false);
        stop_signal = stop_signal_;
    }
    process& p = *owner_;
    if (continued) {
        p.stop_signal = 0;
        p.stop_unreported = false;
        p.continue_unreported = true;
        tell_parent(p, child_event::continued);
    }
    if (stopped) {
        p.stop_signal = stop_signal;
        p.stop_unreported = true;
        p.continue_unreported = false;
        tell_parent(p, child_event::stopped);
    }
}

// --- A process's life.

void inherit_signals(process& child, thread& childs_thread, const thread& parent) noexcept {
    child.signals.copy_actions(parent.owner.signals);
    childs_thread.signals.alternate() = parent.signals.alternate();
    childs_thread.signals.set_blocked(parent.signals.blocked());
}

void inherit_signals(thread& made, const thread& maker) noexcept {
    made.signals.set_blocked(maker.signals.blocked());
}

void reset_signals_for_exec(thread& t) noexcept {
    t.owner.signals.reset_for_exec();
    t.owner.timers.reset_for_exec();
    t.signals.alternate() = {};
}

void thread_leaves(thread& t) noexcept {
    t.owner.signals.detach(t.signals);
}

void process_leaves(process& p) noexcept {
    p.timers.stop_all();
    p.signals.close();
}

bool kill_waits(const thread& t) noexcept {
    return t.asked(attention_end);
}

bool disowns_children(const process& p) noexcept {
    const signal_action action = p.signals.action_of(sig_chld);
    return action.handler == signal_action::handler_ignore || (action.flags & sa_no_child_wait);
}

bool ignores_child_stops(const process& p) noexcept {
    const signal_action action = p.signals.action_of(sig_chld);
    return action.handler == signal_action::handler_ignore || (action.flags & sa_no_child_stop);
}

ktime::ns deadline_of_call(thread& t, ktime::ns fresh) noexcept {
    const ktime::ns kept = std::exchange(t.restart_deadline, 0);
    return kept ? kept : fresh;
}

} // namespace proc
