// How processes stand to each other: who is found by which number, parents and children, groups and sessions.
//
// One token, `tree`, guards all of it: the tables, and in each process what process.h says. Whoever holds the token
// may use the process* and thread* that a look-up gave; to keep one across anything that blocks, take a reference
// (k::ref<process>::to()), and remember that it may have become a zombie meanwhile.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/token.h"

namespace proc {

class process;
class thread;
struct group;
struct session;
struct account;

extern lwkt::token tree;

// Processes, zombies included, by pid; living threads by tid; groups and sessions that have members. Null: no such.
process* find_process(int pid) noexcept REQUIRES(tree);
thread* find_thread(int tid) noexcept REQUIRES(tree);
group* find_group(int number) noexcept REQUIRES(tree);

constexpr int init_pid = 1;
constexpr int most_numbers = 32768; // pids, tids, groups and sessions are below

// Calls visit(process&, argument) for each process, zombies included. It must not block.
void for_each_process(void (*visit)(process&, void*), void* argument) noexcept REQUIRES(tree);

// Changes in a process that its parent learns of.
enum class child_event : k::u8 { exited, stopped, continued };
// Wakes the parent's wait4() and sends it SIGCHLD as its settings want. The caller has set what `child` reports.
void tell_parent(process& child, child_event what) noexcept REQUIRES(tree);

// Threads of all processes.
unsigned user_threads() noexcept;
// Processes that there have ever been.
k::u64 processes_made() noexcept;

} // namespace proc
