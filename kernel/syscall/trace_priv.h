// The tracer: a line in the log for each system call, like strace's.
#pragma once

#include "kernel/proc/thread.h"
#include "kernel/syscall/table.h"

namespace syscalls {

// Runs a call and writes `[pid name] call(arguments) = result`, the arguments as they were before it.
k::i64 run_traced(proc::thread& t, const entry& called) noexcept;

} // namespace syscalls
