// Timer files (timerfd): they become readable when a time comes, and say how often it came since the last read.
#pragma once

#include "kernel/files/file.h"
#include "kernel/proc/clock.h"

namespace files {

// `clock`: proc::clock_id of a clock that runs by itself. `flags`: open_nonblock. EINVAL, ENOMEM.
k::result<file_ref> make_timer_file(k::i32 clock, k::u32 flags) noexcept;

// struct itimerspec.
struct timer_spec {
    proc::time_spec interval, value; // value: until the next expiry; 0: not armed
};

// timerfd_settime(2) and timerfd_gettime(2). EINVAL: no timer file, or no proper times. Thread context.
k::status set_timer(file& f, bool absolute, const timer_spec& to, timer_spec& old) noexcept;
k::status get_timer(file& f, timer_spec& now) noexcept;

} // namespace files
