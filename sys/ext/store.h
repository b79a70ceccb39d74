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
    // What is true of it now: its vnode knows, or the last one knew, or the disk.
    attributes now(inode& of) noexcept;
    // The vnode goes.
    void node_gone(vfs::vnode& node) noexcept;
    // A fresh inode with its first vnode.
    void add(inode_ref fresh, vfs::vnode& node) noexcept;
    // Lets go of inodes that nobody uses and that have nothing to be written.
    void forget_unused(bool dirty_ones = false) noexcept;

    // Memory is short: what has changed is written, and what nobody uses goes. Not by who has a change.
    void trim() noexcept;
    // Calls visit(inode) for each.
    template <class Visit> void for_each(Visit visit) noexcept {
        for (unsigned b = 0; b < buckets; b++)
            for (inode_ref i = next_of(b, 0); i; i = next_of(b, i->number))
                visit(*i);
    }

    // --- The list of orphans; of who has a change.
    inode* first_orphan = nullptr;
    u32 next_orphan = no_inode; // behind the last that is in memory
    // What a crash left on it is erased, or cut off; where it makes no sense nothing is changed on the disk any more.
    void finish_orphans() noexcept;

    // --- Writing.
    // Dirty pages of all files. `patient`: those that somebody is filling, too, when he has.
    k::status write_pages(bool patient) noexcept;
    // Pages (of `only` that one, if it is not null), records and descriptors are in the device's cache.
    k::status write_all(inode* only, bool patient) noexcept {
        TRY(write_as_change(only, patient));
        return {};
    }
    // The same, and on the medium. EIO, also for what failed since the last time.
    k::status sync(inode* only) noexcept;
    // Frees what has neither a name nor a user; `open_ones` too: at the end, what has no name. Then the disk is clean:
    // what is open without a name is on its list of orphans.
    void erase_gone(bool open_ones = false) noexcept;
    k::status settle(bool open_ones) noexcept;
    // Too many dirty pages are written; when memory is short, clean ones go. Not by who holds an inode's locks.
    void keep_within_limits() noexcept;
    // Has a thread write everything every two seconds, until end(). ENOMEM.
    k::status start_writing() noexcept;
    void end() noexcept;
    // Waits until nobody writes to a device any more whose file system is no longer mounted.
    static void wait_for_ends(const block::device& on) noexcept;

  private:
    // The same; how many changes had begun when it ended, 0: nothing was to be written.
    k::result<u64> write_as_change(inode* only, bool patient) noexcept;
    static constexpr unsigned buckets = 1024;
    inode*& bucket_of(u64 number) noexcept REQUIRES(lock_) { return table_[number % buckets]; }
    inode_ref find(u32 number) noexcept;
    // The next inode of a bucket behind a number; empty: none.
    inode_ref next_of(unsigned bucket, u32 after) noexcept;
    bool is_gone(inode& of, bool open_ones) noexcept;
    k::status read_orphans(array<u32>& to) noexcept;
    inode_ref next_of_all() noexcept;
    void drop_stored_partings() noexcept;
    void drop_partings() noexcept;
    static void write_for_ever(void* of) noexcept;
    void stop_writing() noexcept;

    const volume_ref on_;
    lwkt::sleep_lock loading_; // one reads inodes at a time
    lwkt::spinlock lock_;
    inode* table_[buckets] GUARDED_BY(lock_) = {}; // each held
    std::atomic<bool> failed_ = false;             // a write, since the last sync()
    std::atomic<bool> ends_ = false;
    store* next_writing_ = nullptr;     // of all that write
    std::atomic<bool> hurries_ = false; // half of what may be dirty is: the writer is not to wait for its time
    lwkt::wait_queue writer_;
    lwkt::sleep_lock erasing_;
};

using store_ref = k::ref<store>;

} // namespace ext
