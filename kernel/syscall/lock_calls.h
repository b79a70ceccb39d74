// fcntl(2)'s commands that concern locks.
#pragma once

#include "kernel/syscall/file_arguments.h"

namespace syscalls {

constexpr bool is_lock_command(int command) noexcept {
    return (command >= 5 && command <= 7) || (command >= 36 && command <= 38);
}
// EBADF: not opened for what is locked; EINVAL, EOVERFLOW, EFAULT, and the errors of files::set_lock().
k::result<k::u64> lock_fcntl(fd of, int command, k::u64 argument);

} // namespace syscalls
