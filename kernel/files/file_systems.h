// The kinds of file systems that mount(2) can make.
#pragma once

#include "sys/vfs/file_system.h"

namespace files {

std::span<const std::string_view> file_system_types() noexcept;
// `source`: what it is made of, if it is of something. ENODEV: no such kind; EINVAL: an option that it does not know;
// ENOMEM; and, of a service's, as vfs::make_userfs(). Thread context, may block.
k::result<vfs::file_system_ref> make_file_system(std::string_view type, std::string_view source,
                                                 std::string_view options) noexcept;
// Is that kind found on a block device?
bool is_on_a_disk(std::string_view type) noexcept;
// What is on a block device (its number). ENXIO: no such device; else as ext::mount(). Thread context.
k::result<vfs::file_system_ref> mount_disk(k::u64 device, std::string_view options, bool read_only) noexcept;
// Other options for one that is mounted. EINVAL.
k::status change_file_system(vfs::file_system& fs, std::string_view options) noexcept;

} // namespace files
