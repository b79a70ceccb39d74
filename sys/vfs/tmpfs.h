// tmpfs: files in memory. Its directories are the name cache itself, complete; its files' bytes are anonymous pages.
#pragma once

#include "sys/vfs/file_system.h"

namespace vfs {

struct tmpfs_limits {
    k::u64 pages;
    k::u64 nodes;
    k::u32 root_mode = 01777;
    k::u32 root_uid = 0, root_gid = 0;
};
// Half of the memory, as Linux has it.
tmpfs_limits usual_tmpfs_limits() noexcept;

// An empty one. ENOMEM. Thread context.
k::result<file_system_ref> make_tmpfs(const tmpfs_limits& limits) noexcept;
// A regular file of a tmpfs whose bytes are those of the boot archive until they are changed. ENOSPC, ENOMEM.
k::result<vnode_ref> make_tmpfs_file_over(file_system& tmpfs, const node_attributes& a,
                                          std::span<const std::byte> bytes) noexcept;
// Other limits, where more is not in use already (EINVAL).
k::status change_limits(file_system& tmpfs, k::u64 pages, k::u64 nodes) noexcept;

// How many pages all of them have now. Any thread.
k::u64 tmpfs_pages() noexcept;

} // namespace vfs
