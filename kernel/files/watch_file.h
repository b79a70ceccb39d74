// Files from which one reads what happens to others (inotify).
#pragma once

#include "kernel/files/file.h"

namespace files {

// `flags`: open_nonblock. ENOMEM.
k::result<file_ref> make_watch_file(k::u32 flags) noexcept;
// inotify_add_watch(2) and inotify_rm_watch(2): a watch's number. EINVAL: no such file, or no such watch; EEXIST,
// ENOSPC, ENOMEM.
k::result<int> add_watch(file& f, vfs::vnode& on, k::u32 mask) noexcept;
k::status remove_watch(file& f, int number) noexcept;

} // namespace files
