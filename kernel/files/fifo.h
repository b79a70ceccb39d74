// Pipes with a name. The pipe is attached to the node, and is there for all who open it.
#pragma once

#include "kernel/files/file.h"

namespace files {

// Opens a node of type fifo: sleeps until the other side is there, too, unless open_nonblock is asked for (ENXIO for a
// writer whom nobody reads) or both sides are. EINTR, ENOMEM. Thread context of a process.
k::result<file_ref> open_fifo(vfs::found what, k::u32 flags) noexcept;

} // namespace files
