// The tables of numbers, for the files of this folder that make and end what stands in them.
#pragma once

#include "kernel/proc/group.h"

namespace proc {

// A number that no process, thread, group or session has. EAGAIN when all are taken. It is the caller's to enter
// before the token is given up.
k::result<int> free_number() noexcept REQUIRES(tree);

void enter(process& p) noexcept REQUIRES(tree);
void enter(thread& t) noexcept REQUIRES(tree); // also counts it on its process's account
void remove(process& p) noexcept REQUIRES(tree);
void remove(thread& t) noexcept REQUIRES(tree);

// ENOMEM. A group's first member comes by join().
k::result<k::ref<group>> make_group(int number, k::ref<session> in) noexcept REQUIRES(tree);
k::result<k::ref<session>> make_session(int number) noexcept REQUIRES(tree);
// Takes a process out of its group, if it has one, and into another.
void join(process& p, k::ref<group> to) noexcept REQUIRES(tree);
void leave_group(process& p) noexcept REQUIRES(tree);

// The account of a user, made if need be. ENOMEM.
k::result<k::ref<account>> account_of(k::u32 user) noexcept REQUIRES(tree);

// Makes `p` a child of `parent` / of nobody.
void set_parent(process& p, process* parent) noexcept REQUIRES(tree);

} // namespace proc
