// Waiting for several files at once: what poll(2) and select(2) stand on.
#pragma once

#include "kernel/files/file.h"

#include <span>

namespace files {

// One file to be watched, in the caller's array. Its memory is the caller's; no constructor runs order-dependently.
struct polled {
    file_ref what;     // none: never ready, and counted only if `found` says so from the start (poll_invalid)
    k::u32 wanted = 0; // poll bits; poll_error and poll_hangup are always wanted
    k::u32 found = 0;
};

// Looks at all files and, while none is ready, sleeps until one is or the deadline comes. Returns how many have
// `found` bits. ENOMEM; EINTR.
k::result<k::u64> wait_for_any(std::span<polled> of, ktime::ns deadline) noexcept;

} // namespace files
