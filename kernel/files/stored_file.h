// Open files that have a node: regular files, directories, and what open(2) names with O_PATH.
#pragma once

#include "kernel/files/file.h"

namespace files {

// ENOMEM; EROFS; ETXTBSY: it is to be written and is being run. `what` is a regular file, a directory or, with
// open_path, anything. Its permissions were checked.
k::result<file_ref> open_stored(vfs::found what, k::u32 flags) noexcept;

// Memory files (memfd_create): regular files without a name. Seals (F_ADD_SEALS) are promises about the size of such a
// file that its readers can rely on: once given they stay.
constexpr k::u32 seal_seal = 1, seal_shrink = 2, seal_grow = 4;
constexpr k::u32 all_seals = 7; // F_SEAL_WRITE would need to know who maps the file
// An empty one of this user and group. Without `sealable` it has seal_seal from the start. `called`: for /proc alone,
// at most longest_memory_name long. ENOMEM.
constexpr std::size_t longest_memory_name = vfs::longest_name - 6;
k::result<file_ref> make_memory_file(std::string_view called, bool sealable, k::u32 uid = 0, k::u32 gid = 0) noexcept;
// EINVAL: not a memory file, or another seal; EPERM: sealed against sealing, or not open for writing.
k::status add_seals(file& f, k::u32 seals) noexcept;
k::result<k::u64> seals_of(file& f) noexcept;

// Has one file show bytes of another instead of copying them (sys/vfs/data.h, copy_range()). EAGAIN: copy instead.
k::result<k::u64> copy_between(file& from, k::u64 from_offset, file& to, k::u64 offset, k::u64 bytes) noexcept;
// Bytes of a file from an offset on as a stable source; empty at its end. EAGAIN: read them instead.
k::result<xio::source> lend_from(file& f, k::u64 offset, k::u64 bytes) noexcept;

// What getdents64(2) gives: as many records as fit, from where the last call ended. ENOTDIR: no directory; ENOENT: it
// was removed; EINVAL: not even one fits.
k::result<k::u64> list_directory(file& f, xio::sink& to) noexcept;

// fallocate(2) with Linux's mode bits. ENODEV: no regular file; EOPNOTSUPP.
k::status allocate(file& f, int mode, k::u64 offset, k::u64 bytes) noexcept;

// Boot, once: where memory files are. ENOMEM.
k::status make_place_for_memory_files() noexcept;

} // namespace files
