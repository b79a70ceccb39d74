// The running user thread, and sleeping that signals end. What the rest of kernel/ needs of processes, in little;
// process.h and thread.h have the whole.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/wait_queue.h"

namespace vm {
class space;
}

namespace proc {

class process;
class thread;

// Has the running thread a life in user mode?
bool is_user_thread() noexcept;
// That life. Asserts that it has one.
thread& current() noexcept;
process& current_process() noexcept;
vm::space& current_space() noexcept;

// Does a signal wait that the running thread would take now (or a kill, or a stop)?
bool interrupted() noexcept;
// Was the running thread, or its process, killed?
bool is_killed() noexcept;

// Sleeps until ready() (called in a critical section; must not block) or EINTR when a signal comes or has come, or
// ETIMEDOUT. Whoever makes ready() true wakes the queue; the caller keeps the queue alive until this returns.
template <class Ready>
k::status sleep(lwkt::wait_queue& queue, Ready ready, ktime::ns deadline = ktime::forever) noexcept {
    // What was true a moment ago may be another's by now: only what was seen then counts, or a sleeper that lost a race
    // would hear of a signal that there was not.
    bool good = false, signal = false;
    queue.wait([&] { return (good = ready()) || (signal = interrupted()); }, deadline);
    if (good) return {};
    return signal ? k::error::intr : k::error::timedout;
}

// Sends a signal to the running thread / to every process of a group / of the session's foreground; kernel's own
// (SI_KERNEL). Thread context. Unknown groups are nobody.
void signal_self(int number) noexcept;
void signal_group(int group, int number) noexcept;

} // namespace proc
