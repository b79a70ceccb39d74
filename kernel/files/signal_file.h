// Signal files (signalfd): signals that would otherwise be delivered, as records to be read.
//
// As in Linux, whoever reads gets its own signals. A watcher (poll, epoll) is told of those of the process that made
// the file; a child that inherits it should make its own.
#pragma once

#include "kernel/files/file.h"
#include "kernel/proc/signal_abi.h"

namespace files {

// `flags`: open_nonblock. ENOMEM.
k::result<file_ref> make_signal_file(proc::signal_set wanted, k::u32 flags) noexcept;
// EINVAL: not a signal file.
k::status change_signal_file(file& f, proc::signal_set wanted) noexcept;

} // namespace files
