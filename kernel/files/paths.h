// Paths as the running process sees them: from its root and its working directory or an open directory, with its
// rights. All functions: thread context of a process; the errors of the walk (sys/vfs/walk.h), EBADF, ENOTDIR.
#pragma once

#include "kernel/files/file.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/credentials.h"
#include "kernel/proc/places.h"

namespace files {

constexpr int at_working_directory = -100; // AT_FDCWD

// Room for a path, on the heap: stacks are small.
class path_buffer {
  public:
    path_buffer() noexcept : at_(static_cast<char*>(mem::allocate(vfs::longest_path))) {}
    ~path_buffer() { mem::free(at_); }
    path_buffer(const path_buffer&) = delete;
    path_buffer& operator=(const path_buffer&) = delete;

    explicit operator bool() const { return at_ != nullptr; }
    std::span<char> room() noexcept { return {at_, vfs::longest_path}; }

  private:
    char* at_;
};

// The running process's eyes, for the length of a call. `real`: with the real ids instead of those for files
// (access(2)).
class eyes {
  public:
    explicit eyes(bool real = false) noexcept;
    eyes(const eyes&) = delete;

    const vfs::subject& who() const noexcept { return who_; }
    const vfs::place& root() const noexcept { return places_->root; }
    // What a path that begins in an open directory is seen with; the path says whether that matters.
    k::result<vfs::view> from(int directory, std::string_view path) noexcept {
        if (directory == at_working_directory || path.starts_with('/')) [[likely]]
            return from_here();
        if (path.empty()) return k::error::noent; // whatever the descriptor is
        return from_descriptor(directory);
    }
    vfs::view from_here() noexcept { return {who_, places_->root, places_->directory}; }

  private:
    k::result<vfs::view> from_descriptor(int directory) noexcept;

    k::ref<proc::places> places_;
    k::ref<proc::group_list> groups_;
    vfs::subject who_;
    vfs::place start_; // of an open directory
};

// What a path leads to; with `or_empty` an empty one means the file of the descriptor itself.
k::result<vfs::found> find_file(eyes& as, int directory, std::string_view path, vfs::last_link last,
                                bool or_empty = false) noexcept;

// open(2) with these flags; `mode` is of what is made.
k::result<file_ref> open_path_at(int directory, std::string_view path, k::u32 flags, k::u32 mode) noexcept;
// Opens what was found, after a look at the permissions.
k::result<file_ref> open_found(const vfs::subject& who, vfs::found what, k::u32 flags) noexcept;

// The mode that something is made with, less what umask says.
k::u32 without_umask(k::u32 mode) noexcept;

} // namespace files
