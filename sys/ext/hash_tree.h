// ext::hash_tree: the index of a directory: which block a name stands in, by the hash of the name.
//
// The root stands in the directory's first block, behind "." and "..", and below it perhaps one level of nodes; to who
// does not know them they look like blocks without entries. Each entry of a node says from which hash on names stand in
// a block (a "leaf", with entries as in any directory); the lowest bit of that hash says that the block before has
// names with this hash, too. Nodes can be made to lead anywhere: all numbers are checked before they are followed.
//
// Who uses one holds vfs::file_system::changing, and sees to it that the directory is not changed but through it.
#pragma once

#include "sys/ext/directory_hash.h"
#include "sys/ext/names.h"

namespace ext {

class hash_tree {
  public:
    // That of a directory. ENOENT: it has none, or one of an unknown kind; EIO: it makes no sense; ENOMEM.
    static k::result<hash_tree> open(volume& on, inode& of) noexcept;
    // The blocks that a name may stand in: the first, which is also where it is put, and the others. ENOENT: no more.
    k::result<u64> first_leaf(std::string_view name) noexcept;
    k::result<u64> next_leaf() noexcept;

    // Adds a name's entry. EFBIG: there is no room for it in a tree (the caller drops it); ENOSPC, EIO, ENOMEM. In all
    // of these it is what it was.
    k::status add(change& by, std::string_view name, u32 number, u8 type) noexcept;
    // Makes one for a directory of a single block, if that can be: the directory is then as valid as before.
    static k::status make(change& by, inode& of) noexcept;
    // ".." leads to another inode: it stands in the root.
    void set_parent(change& by, u32 number) noexcept;

  private:
    static constexpr unsigned most_levels = 2; // of nodes
    struct node {
        metadata_ref block;
        u64 logical = 0;
        std::size_t start = 0; // of its entries, the first of which has the counts instead of a hash
        unsigned at = 0;       // the entry that was followed
    };
    hash_tree(volume& on, inode& of) noexcept : on_(on), of_(of) {}

    static unsigned limit_of(const volume& on, std::size_t start) noexcept;
    static hash_tree_counts& counts(node& n) noexcept { return n.block->as<hash_tree_counts>(n.start); }
    static hash_tree_entry& entry(node& n, unsigned i) noexcept {
        return n.block->as<hash_tree_entry>(n.start + i * sizeof(hash_tree_entry));
    }
    k::status read_root() noexcept;
    k::status read_node(node& n, u64 logical, std::size_t start) noexcept;
    k::status check(node& n) noexcept;
    void find(node& n, u32 hash) noexcept;
    k::result<u64> leaf() noexcept;
    u32 sum_of(node& n) noexcept;
    void changed(change& by, node& n) noexcept;
    // A fresh node below the root, without entries.
    k::status add(change& by, node& n) noexcept;
    // Room for one more entry beside the one that was followed. EFBIG, ENOSPC.
    k::status make_room(change& by) noexcept;
    k::status deepen(change& by) noexcept;
    k::status split_node(change& by) noexcept;
    void insert(node& n, u32 hash, u64 logical) noexcept;
    k::status split_leaf(change& by, metadata_block& leaf, std::string_view name, u32 number, u8 type) noexcept;
    u32 hash_of(std::string_view name) const noexcept { return directory_hash(kind_, on_.names_seed(), name); }
    node& bottom() noexcept { return nodes_[depth_]; }

    volume& on_;
    inode& of_;
    hash_kind kind_ = hash_kind::legacy;
    unsigned depth_ = 0; // nodes below the root
    u32 hash_ = 0;       // that is being looked for
    u64 leaves_seen_ = 0;
    node nodes_[most_levels];
};

} // namespace ext
