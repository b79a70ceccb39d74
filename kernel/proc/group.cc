// Processes change their group, their session and their account.
#include "kernel/proc/group.h"

#include "kernel/proc/tree_priv.h"

namespace proc {

k::status set_group(process& caller, int pid, int number) noexcept {
    lwkt::token_hold hold(tree);
    process* p = pid ? find_process(pid) : &caller;
    if (!p || (p != &caller && p->parent != &caller)) return k::error::srch;
    if (p != &caller) {
        if (p->group->in != caller.group->in) return k::error::perm;
        if (p->has_run_exec) return k::error::acces;
    }
    if (p->group->in->number == p->pid) return k::error::perm; // it leads a session
    if (!number) number = p->pid;
    if (p->group->number == number) return {};
    k::ref<group> to;
    if (group* there = find_group(number)) {
        if (there->in != p->group->in) return k::error::perm;
        to = k::ref<group>::to(*there);
    } else {
        if (number != p->pid) return k::error::perm;
        to = TRY(make_group(number, p->group->in.share()));
    }
    join(*p, std::move(to));
    return {};
}

k::result<int> lead_session(process& caller) noexcept {
    lwkt::token_hold hold(tree);
    if (find_group(caller.pid)) return k::error::perm;
    k::ref<session> s = TRY(make_session(caller.pid));
    join(caller, TRY(make_group(caller.pid, std::move(s))));
    return caller.pid;
}

k::status change_account(process& p, k::u32 user) noexcept {
    lwkt::token_hold hold(tree);
    if (p.payer->number == static_cast<int>(user)) return {};
    k::ref<account> to = TRY(account_of(user));
    p.payer->threads -= p.threads_paid;
    to->threads += p.threads_paid;
    std::swap(p.payer, to);
    return {};
}

} // namespace proc
