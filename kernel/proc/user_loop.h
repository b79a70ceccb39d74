// The life of a thread that runs user code: out to user mode, back for a reason, deal with it, and out again.
#pragma once

#include "kernel/proc/thread.h"

namespace proc {

// The entry function of the LWKT thread; `argument` is a proc::thread, a reference of which comes with it.
void run_user_thread(void* argument);

// Leads the running thread into the given space: at its start, and in exec.
void use_space(thread& t, vm::space& space) noexcept;
// Leaves the running thread without one.
void use_no_space(thread& t) noexcept;

} // namespace proc
