// From a system call instruction to its handler.
//
// Most calls run at once, on the way from `syscall` to `sysret`: dispatch_at_once(). What needs all of the caller's
// registers, has no handler or is traced is left to dispatch(), when they are in place.
#pragma once

#include "kernel/proc/thread.h"
#include "kernel/syscall/table.h"

namespace syscalls {

// Runs the call that the running thread's registers ask for and puts the result into rax.
void dispatch(proc::thread& t) noexcept;

// The same, or false: that is for dispatch() to do.
inline bool dispatch_at_once(proc::thread& t) noexcept {
    arch::user_registers& r = t.user.registers();
    const entry* called = find_at_once(r.rax);
    if (!called) [[unlikely]]
        return false;
    t.call_number = r.rax;
    t.call = called;
    r.rax = static_cast<k::u64>(called->run(r));
    return true;
}

// Did a signal end the call, so that it is to be settled whether it begins anew?
inline bool was_interrupted(proc::thread& t) noexcept {
    return t.user.registers().rax == static_cast<k::u64>(failure(k::error::intr));
}

// Calls are written to the log: those of one process, or of all (pid 0).
void trace(int pid) noexcept;

} // namespace syscalls
