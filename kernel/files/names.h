// What paths lead to, until there is a virtual file system: the boot archive, which cannot be written, and on top of it
// the devices under /dev and the caller's own descriptors under /dev/fd and /proc/self/fd.
//
// The path of a device is taken as it is written, without looking at links on the way. All functions: thread
// context of a process, whose working directory counts.
#pragma once

#include "kernel/files/devices.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/boot_files.h"

namespace files {

constexpr std::size_t longest_path = 4096; // the zero at the end included
constexpr int at_working_directory = -100; // AT_FDCWD

// Room for a path, on the heap: stacks are small.
class path_buffer {
  public:
    path_buffer() noexcept : at_(static_cast<char*>(mem::allocate(longest_path))) {}
    ~path_buffer() { mem::free(at_); }
    path_buffer(const path_buffer&) = delete;
    path_buffer& operator=(const path_buffer&) = delete;

    explicit operator bool() const { return at_ != nullptr; }
    std::span<char> room() noexcept { return {at_, longest_path}; }

  private:
    char* at_;
};

// One of: a file of the archive, a device, an open file of the caller's.
struct named {
    const proc::archive_file* archived = nullptr;
    const device* special = nullptr;
    file_ref open{};

    bool is_directory() const noexcept { return archived && archived->is(proc::type_directory); }
};

// A path as openat(2) takes it: from the root, from the working directory, or from an open directory. ENOENT, ENOTDIR,
// ELOOP, ENAMETOOLONG, EACCES, EBADF, ENOMEM.
k::result<named> find_named(int directory, std::string_view path, bool follow_last) noexcept;

// What access(2) asks: bits 4 to read, 2 to write, 1 to execute. EACCES; EROFS. `effective`: as the effective user.
k::status check_access(const named& what, unsigned wanted, bool effective) noexcept;

// Opens it as open(2) does with these flags.
k::result<file_ref> open_named(named& what, k::u32 flags) noexcept;
k::status stat_named(const named& what, stat_record& out) noexcept;

// What getdents64(2) gives: as many records as fit, from where the last call ended. ENOTDIR: no directory; EINVAL: not
// even one fits.
k::result<k::u64> list_directory(file& f, xio::sink& to) noexcept;
// The directory of the archive behind a file, or null.
const proc::archive_file* directory_of(file& f) noexcept;

} // namespace files
