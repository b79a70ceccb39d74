// How threads and processes end.
#pragma once

#include "kernel/proc/process.h"

namespace proc {

// Ends the running thread; with the last one the process ends too. Thread context, with nothing held.
[[noreturn]] void leave() noexcept;

// exit(2) of the running thread: what its process's status becomes if it is the main thread and nothing else says more.
[[noreturn]] void leave_with(int code) noexcept;

// exec: asks all other threads to leave and waits until they have. EINTR if this thread itself is to leave.
k::status become_only_thread(thread& t) noexcept;

// A zombie whose parent is to know: sends the signal, and reaps it at once if the parent does not want to wait.
void report_exit(process& p) noexcept REQUIRES(tree);

// Takes a zombie, or a process that nobody will wait for, out of all tables. What it used goes to its parent's account.
void reap(process& p) noexcept REQUIRES(tree);

} // namespace proc
