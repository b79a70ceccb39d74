// System calls about signals: actions, masks, sending, waiting, alternate stacks and the return from handlers.
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/proc/signal_frame.h"
#include "kernel/syscall/calls.h"

#include <cstring>
#include <limits>

namespace syscalls {

namespace {

using proc::alternate_stack;
using proc::current;
using proc::current_process;
using proc::current_space;
using proc::process;
using proc::signal_action;
using proc::signal_info;
using proc::signal_set;
using proc::thread;
using vm::user_pointer;

template <class T> using in = user_pointer<const T>;
template <class T> using out = user_pointer<T>;

k::status check_set_bytes(k::u64 bytes) {
    return bytes == sizeof(signal_set) ? k::status() : k::error::inval;
}

// --- Actions and masks.

k::result<k::u64> sys_rt_sigaction(int number, in<signal_action> action, out<signal_action> old, k::u64 set_bytes) {
    TRY(check_set_bytes(set_bytes));
    if (!proc::is_signal(number)) return k::error::inval;
    proc::process_signals& signals = current_process().signals;
    signal_action before;
    if (action) {
        const signal_action wanted = TRY(action.read(current_space()));
        TRY(signals.set_action(number, wanted, &before));
    } else {
        before = signals.action_of(number);
    }
    if (old) TRY(old.write(current_space(), before));
    return 0;
}

k::result<k::u64> sys_rt_sigprocmask(int how, in<signal_set> set, out<signal_set> old, k::u64 set_bytes) {
    constexpr int block = 0, unblock = 1, replace = 2;
    TRY(check_set_bytes(set_bytes));
    thread& t = current();
    const signal_set before = t.signals.blocked();
    if (set) {
        const signal_set given = TRY(set.read(current_space()));
        switch (how) {
        case block: t.signals.set_blocked(before | given); break;
        case unblock: t.signals.set_blocked(before.without(given)); break;
        case replace: t.signals.set_blocked(given); break;
        default: return k::error::inval;
        }
    }
    if (old) TRY(old.write(current_space(), before));
    return 0;
}

k::result<k::u64> sys_rt_sigpending(out<signal_set> set, k::u64 set_bytes) {
    TRY(check_set_bytes(set_bytes));
    thread& t = current();
    TRY(set.write(current_space(), t.owner.signals.pending(t.signals) & t.signals.blocked()));
    return 0;
}

k::result<k::u64> sys_sigaltstack(in<alternate_stack> set, out<alternate_stack> old) {
    thread& t = current();
    alternate_stack before = t.signals.alternate();
    if (!before.usable())
        before = {};
    else if (!(static_cast<k::u32>(before.flags) & alternate_stack::auto_disarm) &&
             before.contains(t.user.registers().rsp))
        before.flags |= alternate_stack::on_stack;
    if (set) TRY(proc::set_alternate_stack(t, TRY(set.read(current_space()))));
    if (old) TRY(old.write(current_space(), before));
    return 0;
}

k::result<k::u64> sys_rt_sigreturn() {
    thread& t = current();
    if (!proc::load_signal_frame(t)) proc::fault_signal(proc::sig_segv, proc::si_kernel, 0);
    return t.user.registers().rax;
}

// --- Waiting.

k::status sleep_for_a_signal() {
    lwkt::wait_queue nobody;
    return proc::sleep(nobody, [] { return false; });
}

k::result<k::u64> sys_pause() {
    TRY(sleep_for_a_signal());
    return 0;
}

k::result<k::u64> sys_rt_sigsuspend(in<signal_set> mask, k::u64 set_bytes) {
    TRY(check_set_bytes(set_bytes));
    const signal_set given = TRY(mask.read(current_space()));
    current().signals.set_temporary_mask(given);
    TRY(sleep_for_a_signal()); // never comes back otherwise
    return 0;
}

k::status write_info(xio::user_address to, signal_info info) {
    std::byte whole[proc::user_signal_info_bytes] = {};
    info.mark = 0;
    std::memcpy(whole, &info, sizeof(info));
    return out<std::byte>(to).write_array(current_space(), whole);
}

k::result<signal_info> read_info(xio::user_address from, int number) {
    signal_info info = TRY(in<signal_info>(from).read(current_space()));
    info.number = number;
    info.mark = 0;
    return info;
}

k::result<k::u64> sys_rt_sigtimedwait(in<signal_set> set, user_buffer info, in<proc::time_spec> timeout,
                                      k::u64 set_bytes) {
    TRY(check_set_bytes(set_bytes));
    thread& t = current();
    const signal_set wanted = TRY(set.read(current_space())).without(proc::uncatchable_signals);
    ktime::ns deadline = ktime::forever;
    if (timeout) deadline = deadline_of_call(t, ktime::after(TRY(TRY(timeout.read(current_space())).to_ns())));
    signal_info got;
    auto number = t.owner.signals.wait_for(t.signals, wanted, deadline, got);
    if (!number) {
        if (number.error() == k::error::intr && timeout) t.restart_deadline = deadline;
        return number.error();
    }
    if (info.at) TRY(write_info(info.at, got));
    return static_cast<k::u64>(*number);
}

// --- Sending.

// May the running process send to that one? By real and effective ids; SIGCONT goes to all of the session.
bool may_signal(process& to, int number) noexcept REQUIRES(proc::tree) {
    process& self = current_process();
    if (&self == &to) return true;
    const proc::identity mine = self.who.user(), theirs = to.who.user();
    if (mine.effective == 0 || mine.effective == theirs.saved || mine.effective == theirs.real ||
        mine.real == theirs.saved || mine.real == theirs.real)
        return true;
    return number == proc::sig_cont && self.group && to.group && self.group->in.get() == to.group->in.get();
}

signal_info from_me(int number, k::i32 code) {
    process& self = current_process();
    return signal_info::of_sender(number, code, self.pid, self.who.user().real);
}

k::status send_checked(process& to, const signal_info& info, proc::posting how) noexcept REQUIRES(proc::tree) {
    if (!may_signal(to, info.number)) return k::error::perm;
    if (info.number == 0) return {};
    return send_signal(to, info, how);
}

k::status send_to_process(int pid, const signal_info& info, proc::posting how = proc::posting::normal) {
    lwkt::token_hold hold(proc::tree);
    process* to = proc::find_process(pid);
    if (!to) return k::error::srch;
    return send_checked(*to, info, how);
}

// Sends to several: fine if anybody got it, else the last error.
struct several {
    const signal_info& info;
    bool sent = false;
    k::error why = k::error::srch;

    void send(process& to) noexcept REQUIRES(proc::tree) {
        k::status done;
        if (!may_signal(to, info.number))
            done = k::error::perm;
        else if (info.number)
            done = send_to_member(to, info);
        if (done)
            sent = true;
        else
            why = done.error();
    }
    k::status outcome() const { return sent ? k::status() : k::status(why); }
};

// (The analysis does not follow a lambda into the call that holds the token.)
k::status send_to_group(int number, const signal_info& info) NO_THREAD_SAFETY_ANALYSIS {
    several all{info};
    lwkt::token_hold hold(proc::tree);
    if (proc::group* g = number ? proc::find_group(number) : current_process().group.get())
        proc::for_each_member(*g, [&](process& p) NO_THREAD_SAFETY_ANALYSIS { all.send(p); });
    return all.outcome();
}

k::status send_to_everybody(const signal_info& info) {
    several all{info};
    lwkt::token_hold hold(proc::tree);
    proc::for_each_process(
        [](process& p, void* argument) NO_THREAD_SAFETY_ANALYSIS {
            if (p.pid != proc::init_pid && &p != &current_process()) static_cast<several*>(argument)->send(p);
        },
        &all);
    return all.outcome();
}

k::status check_number(int number) {
    return number == 0 || proc::is_signal(number) ? k::status() : k::error::inval;
}

k::result<k::u64> sys_kill(int pid, int number) {
    TRY(check_number(number));
    const signal_info info = from_me(number, proc::si_user);
    if (pid > 0)
        TRY(send_to_process(pid, info));
    else if (pid == -1)
        TRY(send_to_everybody(info));
    else if (pid == std::numeric_limits<int>::min())
        return k::error::srch;
    else
        TRY(send_to_group(-pid, info));
    return 0;
}

// `pid` 0: any process.
k::status send_to_thread(int pid, int tid, const signal_info& info, proc::posting how = proc::posting::normal) {
    lwkt::token_hold hold(proc::tree);
    thread* to = proc::find_thread(tid);
    if (!to || (pid && to->owner.pid != pid)) return k::error::srch;
    if (!may_signal(to->owner, info.number)) return k::error::perm;
    if (info.number == 0) return {};
    return proc::send_to_thread(*to, info, how);
}

k::result<k::u64> sys_tkill(int tid, int number) {
    TRY(check_number(number));
    if (tid <= 0) return k::error::inval;
    TRY(send_to_thread(0, tid, from_me(number, proc::si_tkill)));
    return 0;
}

k::result<k::u64> sys_tgkill(int pid, int tid, int number) {
    TRY(check_number(number));
    if (pid <= 0 || tid <= 0) return k::error::inval;
    TRY(send_to_thread(pid, tid, from_me(number, proc::si_tkill)));
    return 0;
}

// Nobody may pretend to others to be the kernel, or kill().
bool may_pretend(const signal_info& info, bool to_self) {
    return to_self || (info.code < 0 && info.code != proc::si_tkill);
}

k::result<k::u64> sys_rt_sigqueueinfo(int pid, int number, user_buffer from) {
    const signal_info info = TRY(read_info(from.at, number));
    TRY(check_number(number));
    if (!may_pretend(info, pid == current_process().pid)) return k::error::perm;
    if (pid <= 0) return k::error::srch;
    TRY(send_to_process(pid, info, proc::posting::must_queue));
    return 0;
}

k::result<k::u64> sys_rt_tgsigqueueinfo(int pid, int tid, int number, user_buffer from) {
    const signal_info info = TRY(read_info(from.at, number));
    TRY(check_number(number));
    if (pid <= 0 || tid <= 0) return k::error::inval;
    if (!may_pretend(info, pid == current_process().pid)) return k::error::perm;
    TRY(send_to_thread(pid, tid, info, proc::posting::must_queue));
    return 0;
}

constexpr entry entries[] = {
    call<sys_rt_sigaction>(13, "rt_sigaction"),
    call<sys_rt_sigprocmask>(14, "rt_sigprocmask"),
    with_registers(call<sys_rt_sigreturn>(15, "rt_sigreturn")),
    call<sys_pause>(34, "pause"),
    call<sys_kill>(62, "kill"),
    call<sys_rt_sigpending>(127, "rt_sigpending"),
    call<sys_rt_sigtimedwait>(128, "rt_sigtimedwait"),
    call<sys_rt_sigqueueinfo>(129, "rt_sigqueueinfo"),
    call<sys_rt_sigsuspend>(130, "rt_sigsuspend"),
    call<sys_sigaltstack>(131, "sigaltstack"),
    call<sys_tkill>(200, "tkill"),
    call<sys_tgkill>(234, "tgkill"),
    call<sys_rt_tgsigqueueinfo>(297, "rt_tgsigqueueinfo"),
};

} // namespace

constinit const std::span<const entry> signal_calls = entries;

} // namespace syscalls
