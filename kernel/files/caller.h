// What kernel/files asks of the running user thread.
#pragma once

#include "kernel/files/fd_table.h"
#include "kernel/proc/current.h"
#include "kernel/proc/process.h"
#include "sys/vm/user_pointer.h"

namespace files {

inline fd_table& callers_table() noexcept {
    return *proc::current().files;
}
inline xio::user_memory& callers_memory() noexcept {
    return proc::current_space();
}
// Its descriptors lie below.
inline k::u32 callers_limit() noexcept {
    return static_cast<k::u32>(
        std::min(proc::current_process().limits.soft(proc::resource::files), k::u64{fd_table::most}));
}

// EBADF.
[[gnu::always_inline]] inline k::result<file_use> callers_file(int fd) noexcept {
    file_use found = callers_table().look_up(fd);
    if (!found) [[unlikely]]
        return k::error::badf;
    return found;
}
inline k::result<int> give_to_caller(file_ref what, bool close_on_exec, int least = 0) noexcept {
    return callers_table().install(std::move(what), close_on_exec, callers_limit(), least);
}

// Writes a value where an ioctl's argument points.
template <class T> k::status answer(k::u64 at, const T& value) noexcept {
    return vm::user_pointer<T>(at).write(callers_memory(), value);
}
template <class T> k::result<T> argument_at(k::u64 at) noexcept {
    return vm::user_pointer<T>(at).read(callers_memory());
}

} // namespace files
