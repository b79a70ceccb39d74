// The console as an open file: the terminal that init starts with.
#pragma once

#include "kernel/files/file.h"

namespace files {

// The console's terminal (tty.h), opened with these open_flag bits. ENOMEM. The first call takes the console's input
// from the monitor. Thread context.
k::result<file_ref> open_console(k::u32 flags = open_read_write) noexcept;

} // namespace files
