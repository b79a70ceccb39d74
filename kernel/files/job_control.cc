// Who may use a terminal: its session, the foreground group, and the signals that stop the others.
#include "kernel/files/caller.h"
#include "kernel/files/requests.h"
#include "kernel/files/terminal.h"
#include "kernel/proc/group.h"

namespace files {

namespace {

using proc::tree;

proc::session& callers_session() noexcept REQUIRES(tree) {
    return *proc::current_process().group->in;
}

// Would the caller not be stopped by the signal?
bool caller_disregards(int signal) noexcept {
    return proc::current().signals.blocked().has(signal) ||
           proc::current_process().signals.action_of(signal).handler == proc::signal_action::handler_ignore;
}

} // namespace

terminal::~terminal() {
    kassert(!session_);
}

k::status terminal::check_foreground(use what) noexcept {
    if (!lwkt::self().user) return {}; // a kernel thread
    int own;
    bool orphaned;
    {
        lwkt::token_hold hold(tree);
        proc::group& group = *proc::current_process().group;
        if (group.in->terminal != this || group.in->foreground == group.number || !group.in->foreground) return {};
        own = group.number;
        orphaned = proc::is_orphaned(group);
    }
    if (what == use::write && !(settings().local & local_stop_writers)) return {};
    const int signal = what == use::read ? proc::sig_ttin : proc::sig_ttou;
    if (caller_disregards(signal)) {
        if (what == use::read) return k::error::io;
        return {};
    }
    if (orphaned) return k::error::io;
    proc::signal_group(own, signal);
    return k::error::intr;
}

void terminal::signal_foreground(int number) noexcept {
    int group = 0;
    {
        lwkt::token_hold hold(tree);
        if (session_) group = session_->foreground;
    }
    if (group) proc::signal_group(group, number);
}

terminal::hold terminal::of_caller() noexcept {
    lwkt::token_hold token(tree);
    auto* t = static_cast<terminal*>(callers_session().terminal);
    return t ? hold(*t) : hold();
}

bool terminal::is_callers() noexcept {
    lwkt::token_hold token(tree);
    return callers_session().terminal == this;
}

terminal::users terminal::who_uses() noexcept {
    lwkt::token_hold token(tree);
    return session_ ? users{session_->number, session_->foreground} : users{};
}

k::status terminal::control_callers_session(bool steal) noexcept {
    const bool privileged = proc::current_process().who.privileged();
    lwkt::token_hold hold(tree);
    if (is_hung_up()) return k::error::io;
    proc::session& s = callers_session();
    if (session_ == &s) return {};
    if (s.number != proc::current_process().pid || s.terminal) return k::error::perm;
    if (session_) {
        if (!steal || !privileged) return k::error::perm;
        session_->terminal = nullptr;
        session_->foreground = 0;
        k::ref<proc::session>(std::exchange(session_, nullptr)).reset();
    }
    session_ = k::ref<proc::session>::to(s).release();
    s.terminal = this;
    s.foreground = proc::current_process().group->number;
    return {};
}

void terminal::leave(proc::session& s) noexcept {
    int group;
    {
        lwkt::token_hold hold(tree);
        auto* t = static_cast<terminal*>(std::exchange(s.terminal, nullptr));
        if (!t) return;
        group = std::exchange(s.foreground, 0);
        k::ref<proc::session>(std::exchange(t->session_, nullptr)).reset();
    }
    if (!group) return;
    proc::signal_group(group, proc::sig_hup);
    proc::signal_group(group, proc::sig_cont);
}

void terminal::hang_up() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        hung_up_ = true;
    }
    int leader = 0, group = 0;
    {
        lwkt::token_hold token(tree);
        if (session_) {
            leader = session_->number;
            group = std::exchange(session_->foreground, 0);
            session_->terminal = nullptr;
            k::ref<proc::session>(std::exchange(session_, nullptr)).reset();
        }
        if (proc::process* p = proc::find_process(leader)) {
            (void)proc::send_signal(*p, proc::signal_info::of_kernel(proc::sig_hup));
            (void)proc::send_signal(*p, proc::signal_info::of_kernel(proc::sig_cont));
        }
    }
    if (group) proc::signal_group(group, proc::sig_hup);
    if (group) proc::signal_group(group, proc::sig_cont);
    readers_.wake_all();
    writers_.wake_all();
    watched_.notify(poll_can_read | poll_can_write | poll_error | poll_hangup);
}

k::result<k::u64> terminal::set_foreground(int number) noexcept {
    if (!is_callers()) return k::error::notty;
    TRY(check_foreground(use::change));
    if (number < 0) return k::error::inval;
    lwkt::token_hold hold(tree);
    proc::session& s = callers_session();
    if (s.terminal != this) return k::error::notty;
    proc::group* group = proc::find_group(number);
    if (!group) return k::error::srch;
    if (group->in.get() != &s) return k::error::perm;
    s.foreground = number;
    return 0;
}

k::result<k::u64> terminal::control_ioctl(k::u32 request, k::u64 argument) noexcept {
    switch (request) {
    case request_take_terminal: TRY(control_callers_session(argument == 1)); return 0;
    case request_leave_terminal: {
        if (!is_callers()) return k::error::notty;
        k::ref<proc::session> s;
        {
            lwkt::token_hold hold(tree);
            if (callers_session().number == proc::current_process().pid)
                s = k::ref<proc::session>::to(callers_session());
        }
        if (!s) return 0; // a session has one terminal for all its processes
        leave(*s);
        lwkt::token_hold hold(tree); // sessions go under it
        s.reset();
        return 0;
    }
    case request_get_group:
    case request_get_session: {
        int number;
        {
            lwkt::token_hold hold(tree);
            proc::session& s = callers_session();
            if (s.terminal != this) return k::error::notty;
            number = request == request_get_session ? s.number : s.foreground;
        }
        TRY(answer(argument, number));
        return 0;
    }
    case request_set_group: return set_foreground(TRY(argument_at<int>(argument)));
    default: return k::error::notty;
    }
}

} // namespace files
