// The life of a thread that runs user code. All that is asked of it from outside (signals, an end, another CPU, a turn
// for others) comes as a bit of its attention word, so the way back to user mode is one test when nothing is asked.
#include "kernel/proc/user_loop.h"

#include "kernel/lib/log.h"
#include "kernel/proc/current.h"
#include "kernel/proc/exit.h"
#include "kernel/proc/process.h"
#include "kernel/proc/user_exception.h"
#include "kernel/proc/user_scheduler.h"
#include "kernel/syscall/dispatch.h"
#include "sys/vm/user_pointer.h"

namespace proc {

namespace {

constexpr k::u32 all_attention =
    lwkt::attention_turn | attention_signal | attention_end | attention_move | attention_charge;

void handle_page_fault(thread& t, const arch::user_exit& why) {
    t.faults.store(t.faults.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    const k::status done = t.owner.space->fault(why.address, why.access);
    if (done) return;
    switch (done.error()) {
    case k::error::intr: return; // the signal first, and the fault once more
    case k::error::nospc:
    case k::error::io: return fault_signal(sig_bus, bus_address, why.address);
    case k::error::nomem:
        // Only the one that asked for memory pays.
        k::log("out of memory: process {} ({}) ends\n", t.owner.pid, t.name);
        return end_process(t.owner, killed_by(sig_kill));
    default: return fault_signal(sig_segv, done.error() == k::error::acces ? segv_access : segv_map_error, why.address);
    }
}

void charge_timers(thread& t) {
    t.attention.fetch_and(~attention_charge, std::memory_order_relaxed);
    t.owner.timers.charge(t);
}

// What was asked of the thread since it came into the kernel.
void pay_attention(thread& t) {
    do {
        const k::u32 asked = t.attention.load(std::memory_order_acquire) & all_attention;
        if (asked & attention_end) leave();
        if (asked & (lwkt::attention_turn | attention_move)) {
            t.attention.fetch_and(~(lwkt::attention_turn | attention_move), std::memory_order_relaxed);
            give_way(t);
        }
        if (asked & attention_charge) charge_timers(t);
        deliver_signals(t);
    } while (t.asked(all_attention));
}

// A system call after which user code could not go on at once.
void finish_call(thread& t) {
    if (std::exchange(t.call_waits, false)) syscalls::dispatch(t);
    // One that ended with EINTR is settled even if the signal is gone: it may begin anew.
    if (syscalls::was_interrupted(t)) pay_attention(t);
}

} // namespace

void use_space(thread& t, vm::space& space) noexcept {
    lwkt::critical section;
    lwkt::self().context.set_user(&space.map_for_cpu(), &t.user);
}

void use_no_space(thread& t) noexcept {
    lwkt::critical section;
    lwkt::self().context.set_user(nullptr, &t.user);
}

void run_user_thread(void* argument) {
    thread& t = *static_cast<thread*>(argument);
    {
        lwkt::critical section;
        lwkt::set_user(&t);
        t.kernel = &lwkt::self();
    }
    use_space(t, *t.owner.space);
    if (t.before_start) t.before_start(t, t.before_start_argument);
    if (t.set_child_tid) (void)vm::user_pointer<int>(t.set_child_tid).write(*t.owner.space, t.tid);
    for (;;) {
        // The last look, with interrupts off until user code runs: a kick that comes after it finds this thread in user
        // mode, and not on the last steps towards it with its bits unseen.
        const bool enabled = arch::cpu::interrupts_disable();
        if (t.asked(all_attention)) [[unlikely]] {
            arch::cpu::interrupts_restore(enabled);
            pay_attention(t);
            continue;
        }
        t.count_user_cycles(-1);
        const arch::user_exit why = t.user.run();
        if (why.kind == arch::user_exit_kind::syscall) {
            finish_call(t);
            continue;
        }
        t.count_user_cycles(1);
        t.call = nullptr;
        switch (why.kind) {
        case arch::user_exit_kind::syscall:
        case arch::user_exit_kind::interrupt: break;
        case arch::user_exit_kind::page_fault: handle_page_fault(t, why); break;
        case arch::user_exit_kind::exception: handle_exception(t, why); break;
        }
    }
}

} // namespace proc

bool arch::upcall::system_call(user_context&) noexcept {
    lwkt::user_part* const user = lwkt::self().user;
    if (!user) [[unlikely]]
        return false; // a context by itself: whoever runs it looks at its registers
    auto& t = static_cast<proc::thread&>(*user);
    t.count_user_cycles(1);
    if (!syscalls::dispatch_at_once(t)) [[unlikely]] {
        t.call_waits = true;
        return false;
    }
    if (syscalls::was_interrupted(t)) [[unlikely]]
        return false;
    // The last look, as in run_user_thread().
    cpu::interrupts_off();
    if (t.asked(proc::all_attention) || !t.user.may_go_on()) [[unlikely]] {
        cpu::interrupts_restore(true);
        return false;
    }
    t.count_user_cycles(-1);
    return true;
}
