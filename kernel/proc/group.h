// Process groups, sessions, and the accounts of users.
#pragma once

#include "kernel/proc/process.h"

namespace proc {

struct group;

// It lives while it has groups.
struct session : k::counted<session> {
    const int number;            // the pid of the process that made it
    lwkt::list_hook number_link; // tree
    // The terminal that controls it (kernel/files/tty), and the group that may read from it; 0: none. Guarded by
    // `tree`.
    void* terminal GUARDED_BY(tree) = nullptr;
    int foreground GUARDED_BY(tree) = 0;

    explicit session(int n) noexcept : number(n) {}
    void last_holder_left() noexcept; // under `tree`
};

// It lives while it has members, zombies included. Found through find_group().
struct group : k::counted<group> {
    const int number;
    const k::ref<session> in;
    lwkt::list_hook number_link; // tree
    boost::intrusive::list<process, boost::intrusive::member_hook<process, lwkt::list_hook, &process::group_link>,
                           boost::intrusive::constant_time_size<false>>
        members GUARDED_BY(tree);

    group(int n, k::ref<session> s) noexcept : number(n), in(static_cast<k::ref<session>&&>(s)) {}
    void last_holder_left() noexcept; // under `tree`
};

// What a user has in use, for RLIMIT_NPROC. It lives while processes have this real user.
struct account : k::counted<account> {
    const int number;            // the user id
    lwkt::list_hook number_link; // tree
    unsigned threads GUARDED_BY(tree) = 0;

    explicit account(int user) noexcept : number(user) {}
    void last_holder_left() noexcept; // under `tree`
};

// Calls visit(process&) for each member. It must not block.
template <class Visit> void for_each_member(group& of, Visit visit) noexcept REQUIRES(tree) {
    for (process& p : of.members)
        visit(p);
}

// Sends a signal as to one of several processes: those that it is just making get it, too. Thread context.
k::status send_to_member(process& to, const signal_info& info) noexcept REQUIRES(tree);

// setpgid(): puts a process (0: `caller`), itself or its child, into a group of its session or one of its own. ESRCH,
// EACCES, EPERM, ENOMEM.
k::status set_group(process& caller, int pid, int number) noexcept;
// setsid(): a session and a group of its own. Returns their number. EPERM, ENOMEM.
k::result<int> lead_session(process& caller) noexcept;
// The process's real user is another: its threads are on that account from now on. ENOMEM.
k::status change_account(process& p, k::u32 user) noexcept;

// Is nobody left who could continue it: no member has a parent outside the group but in the same session?
bool is_orphaned(const group& of) noexcept REQUIRES(tree);

} // namespace proc
