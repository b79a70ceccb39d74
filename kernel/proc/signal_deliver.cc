// Delivering signals: what a thread does with those that wait for it, on its way to user mode.
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/proc/signal_frame.h"
#include "kernel/syscall/table.h"

namespace proc {

namespace {

constexpr k::u64 syscall_instruction_bytes = 2;
constexpr k::u64 rt_sigreturn_number = 15;

// Did the thread come from a system call that a signal ended? (rt_sigreturn brings somebody else's rax.)
bool call_was_interrupted(const thread& t, const arch::user_registers& r) {
    return t.call && t.call_number != rt_sigreturn_number &&
           r.rax == static_cast<k::u64>(-static_cast<int>(k::error::intr));
}

void begin_call_anew(thread& t, arch::user_registers& r) {
    r.rip -= syscall_instruction_bytes;
    r.rax = t.call_number;
    t.call = nullptr;
}

bool is_in_orphaned_group(process& p) {
    lwkt::token_hold hold(tree);
    return !p.group || is_orphaned(*p.group);
}

} // namespace

class delivery {
  public:
    explicit delivery(thread& t) noexcept
        : thread_(t), process_(t.owner), mine_(t.signals), all_(t.owner.signals), registers_(t.user.registers()) {}

    void run() noexcept {
        do {
            while (!thread_.asked(attention_end)) {
                all_.stop_here(mine_);
                all_.report_job_control();
                if (!take_next()) break;
            }
            if (thread_.asked(attention_end)) return;
            finish_call();
        } while (thread_.asked(attention_signal));
    }

  private:
    // What is to be done with a signal.
    enum class fate : k::u8 { nothing, handler, stop, death };

    struct taken {
        signal_info info;
        signal_action action;
        k::u32 continues; // so many SIGCONTs had been sent before
        fate what;
    };

    // False: there is none.
    bool take_next() noexcept {
        taken next;
        if (!take(next)) return false;
        all_.complete(next.info);
        switch (next.what) {
        case fate::nothing: break;
        case fate::handler: call_handler(next); break;
        case fate::stop: stop(next); break;
        case fate::death: end_process(process_, killed_by(next.info.number)); break;
        }
        return true;
    }

    bool take(taken& out) noexcept {
        lwkt::spin_guard guard(all_.lock_);
        const int number = all_.take_locked(mine_, every_signal.without(mine_.blocked_), out.info);
        if (!number) return false;
        signal_action& action = all_.actions_[number - 1];
        out.action = action;
        out.continues = all_.continues_;
        out.what = fate_of(out.info, action.handler);
        if (out.what == fate::handler && (action.flags & sa_reset_hand))
            action.handler = signal_action::handler_default;
        return true;
    }

    fate fate_of(const signal_info& info, k::u64 handler) const noexcept {
        if (handler == signal_action::handler_ignore) return fate::nothing;
        if (handler != signal_action::handler_default) return fate::handler;
        if (ignored_by_default.has(info.number)) return fate::nothing;
        // Init survives what it has no handler for, but not its own faults.
        if (all_.is_init() && !(fault_signals.has(info.number) && info.code > 0)) return fate::nothing;
        return stop_signals.has(info.number) ? fate::stop : fate::death;
    }

    void stop(const taken& t) noexcept {
        // The terminal's stop signals do nothing where nobody could continue the process.
        if (t.info.number != sig_stop && is_in_orphaned_group(process_)) return;
        kick_list kicks;
        lwkt::spin_guard guard(all_.lock_);
        if (all_.continues_ == t.continues) all_.begin_stop_locked(t.info.number, kicks);
    }

    void call_handler(const taken& t) noexcept {
        if (call_was_interrupted(thread_, registers_)) {
            const syscalls::on_signal after = thread_.call->after_signal;
            const bool restarts = after == syscalls::restarts && !mine_.call_ends_after_handler_;
            if (after == syscalls::starts_over || (restarts && (t.action.flags & sa_restart)))
                begin_call_anew(thread_, registers_);
        }
        thread_.call = nullptr;
        thread_.restart_deadline = 0;
        mine_.call_ends_after_handler_ = false;

        const signal_set mask = mine_.mask_saved_ ? mine_.saved_mask_ : mine_.blocked_;
        if (!push_signal_frame(thread_, t.info, t.action, mask)) {
            if (t.info.number == sig_segv) (void)all_.set_action(sig_segv, signal_action{}, nullptr);
            all_.force(mine_, signal_info::of_kernel(sig_segv));
            return;
        }
        mine_.mask_saved_ = false;
        signal_set blocked = mine_.blocked_ | t.action.mask;
        if (!(t.action.flags & sa_nodefer)) blocked.add(t.info.number);
        mine_.set_blocked(blocked);
    }

    // No handler wants the call any more.
    void finish_call() noexcept {
        if (call_was_interrupted(thread_, registers_))
            begin_call_anew(thread_, registers_);
        else if (thread_.call)
            thread_.restart_deadline = 0;
        thread_.call = nullptr;
        mine_.call_ends_after_handler_ = false;
        mine_.end_temporary_mask();
    }

    thread& thread_;
    process& process_;
    thread_signals& mine_;
    process_signals& all_;
    arch::user_registers& registers_;
};

void deliver_signals(thread& t) noexcept {
    delivery(t).run();
}

void fault_signal(int number, int code, k::u64 address) noexcept {
    thread& t = current();
    const arch::user_registers& r = t.user.registers();
    t.signals.fault_address_ = address;
    t.signals.fault_vector_ = r.vector;
    t.signals.fault_code_ = r.error_code;
    t.owner.signals.force(t.signals, signal_info::of_fault(number, code, address));
}

} // namespace proc
