// The entries of a directory on the disk. The caller sees to it that nobody changes the directory meanwhile
// (vfs::file_system::changing).
//
// Directories are listed block by block, also those with a hash tree (hash_tree.h): its nodes look like empty blocks.
// EIO wherever a block makes no sense.
#pragma once

#include "sys/ext/inode.h"

namespace ext {

struct entry {
    u32 inode;
    entry_type type;
    std::string_view name;
    u64 next; // offset of the next entry in the directory
};

class directory_reader {
  public:
    // Begins with the first entry at or behind `offset`. ENOMEM.
    static k::result<directory_reader> create(volume& on, inode& of, u64 offset) noexcept;
    // The next entry that is in use, "." and ".." too; valid until the next call. ENOENT: no more.
    k::result<entry> next() noexcept;

  private:
    directory_reader(volume& on, inode& of, u64 offset, buffer room) noexcept
        : on_(on), of_(of), wanted_(offset), at_(k::align_down(offset, u64{on.block_bytes()})), room_(std::move(room)) {
    }

    volume& on_;
    inode& of_;
    u64 wanted_, at_;
    bool loaded_ = false;
    buffer room_;
};

// Checks a block of entries: that one follows the other up to the end, and its sum where there is one.
k::status check_entries(volume& on, inode& of, std::span<const std::byte> block) noexcept;

// The inode under a name. ENOENT.
k::result<u32> find_entry(volume& on, inode& in, std::string_view name) noexcept;
// Are there no entries but "." and ".."?
k::result<bool> has_no_entries(volume& on, inode& in) noexcept;

// --- Changing. ENOSPC, EIO, ENOMEM.
// Puts an entry in, whose name is not there.
k::status add_entry(change& by, inode& in, std::string_view name, u32 number, vfs::node_type type) noexcept;
// Takes one out. ENOENT: it is not there, or leads elsewhere.
k::status remove_entry(change& by, inode& in, std::string_view name, u32 expected) noexcept;
// Has one lead to another inode. ENOENT as above.
k::status set_entry(change& by, inode& in, std::string_view name, u32 expected, u32 number,
                    vfs::node_type type) noexcept;
// "." and ".." of a fresh directory.
k::status make_first_entries(change& by, inode& of, u32 parent) noexcept;

} // namespace ext
