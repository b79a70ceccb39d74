// ext::store: all inodes of a volume that are in memory. It outlives the mount by as long as something is to be
// written.
#pragma once

#include "sys/ext/inode.h"

namespace ext {

class store final : public k::counted<store> {
  public:
    static k::result<k::ref<store>> create(volume_ref on) noexcept;
    explicit store(volume_ref on) noexcept : on_(std::move(on)) {} // for create()
    void last_holder_left() noexcept { mem::destroy(this); }
    ~store();

    volume& on() const noexcept { return *on_; }

    // The inode of a number, from memory or from the disk. EIO, ENOMEM.
    k::result<inode_ref> get(u32 number) noexcept;
    // Its vnode, if it has one that lives.
    vfs::vnode_ref node_of(inode& of) noexcept;
    void set_node(inode& of, vfs::vnode& node) noexcept;
    // The vnode goes.
    void node_gone(vfs::vnode& node) noexcept;
    // Lets go of inodes that nobody uses. At the end of the mount that is all, but for what is still being moved.
    void forget_unused() noexcept;

  private:
    static constexpr unsigned buckets = 1024;
    inode*& bucket_of(u64 number) noexcept REQUIRES(lock_) { return table_[number % buckets]; }
    inode_ref find(u32 number) noexcept;

    const volume_ref on_;
    lwkt::sleep_lock loading_; // one reads inodes at a time
    lwkt::spinlock lock_;
    inode* table_[buckets] GUARDED_BY(lock_) = {}; // each held
};

using store_ref = k::ref<store>;

} // namespace ext
