// From a system call instruction to its handler.
#pragma once

namespace proc {
class thread;
}

namespace syscalls {

// Runs the call that the running thread's registers ask for and puts the result into rax. True if a signal ended it:
// whether it begins anew is to be settled.
bool dispatch(proc::thread& t) noexcept;

// Calls are written to the log: those of one process, or of all (pid 0).
void trace(int pid) noexcept;

} // namespace syscalls
