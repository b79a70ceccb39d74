// /dev/fuse: where programs that keep file systems take requests and answer them (sys/userfs/fuse_connection.h).
#pragma once

#include "kernel/files/file.h"
#include "sys/vfs/file_system.h"

namespace files {

// A line of its own, of which nothing is mounted yet. ENOMEM.
k::result<file_ref> open_fuse_device(k::u32 flags) noexcept;

// mount(2) of one: the options are fd=, rootmode=, user_id=, group_id=, and perhaps default_permissions, allow_other,
// max_read=, blksize=, timeout=. `type`: fuse or fuseblk, perhaps with a dot and more behind it. EINVAL: options are
// missing, or unknown, or the descriptor is no such device or was mounted before; ENOMEM. Thread context of a process.
bool is_fuse(std::string_view type) noexcept;
k::result<vfs::file_system_ref> mount_fuse(std::string_view type, std::string_view options) noexcept;

} // namespace files
