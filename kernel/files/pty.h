// Pseudo-terminals: a terminal whose line is an open file, the master, instead of a device.
//
// What programs write to the terminal (the slave) the master reads, and what is written to the master is typed there.
// Opening /dev/ptmx makes a pair; the slave then has a name in /dev/pts, until the master is closed, which hangs the
// terminal up. A slave is opened by its name, once the master has unlocked it, and as often as anybody likes; while
// none is open, after one was, the master's reads fail (EIO) when all was read.
#pragma once

#include "kernel/files/file.h"

namespace files {

constexpr unsigned most_ptys = 256;

// Thread context of a process. ENOSPC: there are as many as there can be; ENOMEM.
k::result<file_ref> open_pty_master(k::u32 flags) noexcept;

// Is it the device number of a slave?
bool is_pty_slave(k::u64 number) noexcept;
// EIO: it is locked or was hung up; ENXIO: there is none. A session leader without a terminal has it from then on,
// unless the flags say otherwise.
k::result<file_ref> open_pty_slave(k::u64 number, k::u32 flags) noexcept;

// The file system with the names of all slaves, the same for all who mount it. ENOMEM.
k::result<vfs::file_system_ref> share_pty_names() noexcept;

} // namespace files
