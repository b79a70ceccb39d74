#include "kernel/proc/current.h"

#include "kernel/proc/group.h"

namespace proc {

bool is_user_thread() noexcept {
    return lwkt::self().user != nullptr;
}

thread& current() noexcept {
    lwkt::user_part* user = lwkt::self().user;
    kassert(user);
    return static_cast<thread&>(*user);
}

process& current_process() noexcept {
    return current().owner;
}

vm::space& current_space() noexcept {
    return *current().owner.space;
}

bool interrupted() noexcept {
    const lwkt::user_part* user = lwkt::self().user; // none: a kernel thread, to which nobody sends signals
    return user && (user->attention.load(std::memory_order_relaxed) & (attention_signal | attention_end));
}

bool is_killed() noexcept {
    if (!interrupted()) return false;
    thread& self = current();
    return self.asked(attention_end) || self.owner.signals.pending(self.signals).has(sig_kill);
}

void signal_self(int number) noexcept {
    (void)send_to_thread(current(), signal_info::of_kernel(number));
}

void signal_group(int number_of_group, int number) noexcept {
    lwkt::token_hold hold(tree);
    if (group* g = find_group(number_of_group))
        for_each_member(*g, [&](process& p)
                                NO_THREAD_SAFETY_ANALYSIS { (void)send_to_member(p, signal_info::of_kernel(number)); });
}

} // namespace proc
