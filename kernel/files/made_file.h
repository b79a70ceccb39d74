// Open files whose bytes their file system makes when they are read (vnode::is_made_on_reading()).
#pragma once

#include "kernel/files/file.h"

namespace files {

// ENOMEM. Its permissions were checked.
k::result<file_ref> open_made(vfs::found what, k::u32 flags) noexcept;

} // namespace files
