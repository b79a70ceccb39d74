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
    // Begins with the first entry at or behind `offset`.
    directory_reader(volume& on, inode& of, u64 offset) noexcept
        : on_(on), of_(of), wanted_(offset), at_(k::align_down(offset, u64{on.block_bytes()})) {}
    // The next entry that is in use, "." and ".." too; valid until the next call. ENOENT: no more.
    k::result<entry> next() noexcept;

  private:
    volume& on_;
    inode& of_;
    u64 wanted_, at_;
    metadata_ref block_; // in which the next one is
};

// A block of entries, which was found to be right: one follows the other up to the end, and so is its sum where there
// is one.
k::result<metadata_ref> entries_of(volume& on, inode& of, u64 logical) noexcept;

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
