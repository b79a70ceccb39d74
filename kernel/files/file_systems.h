// The kinds of file systems that mount(2) can make.
#pragma once

#include "sys/vfs/file_system.h"

namespace files {

std::span<const std::string_view> file_system_types() noexcept;
// `source`: what it is made of, if it is of something. ENODEV: no such kind; EINVAL: an option that it does not know;
// ENOMEM; and, of a service's, as vfs::make_userfs(). Thread context, may block.
k::result<vfs::file_system_ref> make_file_system(std::string_view type, std::string_view source,
                                                 std::string_view options) noexcept;
// Other options for one that is mounted. EINVAL.
k::status change_file_system(vfs::file_system& fs, std::string_view options) noexcept;

} // namespace files
