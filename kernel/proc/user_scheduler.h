// Which CPU a user thread runs on, and when it makes room for others.
//
// LWKT runs threads of one CPU in order of their level and, at the same level, in turns of lwkt::slice_ns; who sleeps
// before the slice is over goes on with the rest of it ahead of those who compute (lwkt::user_part). New threads
// go where least is to be done; a thread whose slice is over while another allowed CPU idles takes itself there. Nobody
// pulls: only the owner moves a thread.
#pragma once

#include "kernel/proc/thread.h"

namespace proc {

// The CPUs that run, a bit each.
k::u32 running_cpus() noexcept;

// The allowed CPU with the least to do; this one if none has less. `allowed` holds a CPU that runs.
unsigned choose_cpu(k::u32 allowed) noexcept;

// The running thread's turn is over, or it may be on a wrong CPU: moves it, or lets others run.
void give_way(thread& t) noexcept;

// sched_setaffinity(): which CPUs `t` may run on. EINVAL if none of them runs. At once for the running thread, soon for
// others. The caller keeps `t`.
k::status set_affinity(thread& t, k::u32 allowed) noexcept;

} // namespace proc
