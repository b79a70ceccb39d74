// What changes names and attributes, as the system calls want it: each checks the permissions, does it as an operation
// on the nodes' home CPU, and tells who watches. Thread context, may sleep. EROFS wherever the mount is read-only, and
// the errors of the walk.
#pragma once

#include "sys/vfs/walk.h"

namespace vfs {

// Makes a node with a name. `a.mode` is masked already. EEXIST, EACCES, ENOSPC, ENOMEM, ENOENT: the directory was
// removed, or the name has a slash behind it and a node that is not a directory is asked for.
k::result<found> make(const view& v, const spot& where, node_attributes a, std::string_view link_text = {}) noexcept;
// One more name for a node. EXDEV: of another mount; EPERM: a directory.
k::status link(const view& v, const found& what, const spot& where) noexcept;
// Takes a name out: of a directory, or of anything else. ENOTEMPTY, EISDIR, ENOTDIR, EBUSY, EPERM, EINVAL: ".".
k::status remove(const view& v, const spot& where, bool of_directory) noexcept;

enum rename_flag : unsigned { rename_no_replace = 1, rename_exchange = 2 };
// EXDEV, EINVAL: into itself; EEXIST; EBUSY: a mount or a root.
k::status rename(const view& v, const spot& from, const spot& to, unsigned flags) noexcept;

// EPERM: not the owner.
k::status change_mode(const found& of, const subject& who, k::u32 mode) noexcept;
constexpr k::u32 no_change = ~k::u32{0};
k::status change_owner(const found& of, const subject& who, k::u32 uid, k::u32 gid) noexcept;

// A time to set: one that is given, now, or none.
struct new_time {
    enum class kind : k::u8 { keep, now, given } what = kind::keep;
    k::u64 ns = 0;
};
// EPERM, EACCES.
k::status change_times(const found& of, const subject& who, new_time accessed, new_time modified) noexcept;
// truncate(2). EISDIR, EINVAL: no regular file; ETXTBSY: it is being run.
k::status truncate(const found& of, const subject& who, k::u64 bytes) noexcept;
// Takes set-user and set-group bits away, as a write by somebody else does.
void drop_set_id(vnode& of, const subject& who) noexcept;

} // namespace vfs
