// ext::inode: a file of the disk while it is in memory: its record, where its blocks lie, and its pages.
//
// Not a vnode: vnodes come and go with their users, and an inode stays until nothing of it is left to be written.
// Whoever looks at the map holds `map_lock`; whoever writes pages back, or takes blocks away, holds `writing` as well,
// and before it: so no block is given to somebody else while an old write to it is on its way.
#pragma once

#include "kernel/lwkt/sleep_lock.h"
#include "sys/ext/extent_list.h"
#include "sys/ext/volume.h"
#include "sys/vfs/vnode.h"
#include "sys/vm/object.h"

namespace ext {

class store;

class inode final : public k::counted<inode>, vm::pager {
  public:
    // Reads it from the disk. EIO: it is not in use, or makes no sense; ENOMEM.
    static k::result<k::ref<inode>> load(store& in, u32 number) noexcept;
    inode(store& in, u32 n) noexcept; // for load()
    ~inode();
    void last_holder_left() noexcept;

    const u32 number;
    inode_record record; // as on the disk, but for what the vnode knows better

    vfs::node_type type() const noexcept { return static_cast<vfs::node_type>(record.mode & 0170000); }
    u64 disk_size() const noexcept { return u64{record.size_high} << 32 | record.size_low; }
    u64 device_number() const noexcept;
    // The times as the kernel counts them.
    u64 accessed_ns() const noexcept {
        return time(record.accessed_s, reaches(offsetof(inode_record, accessed_more)) ? record.accessed_more : 0);
    }
    u64 changed_ns() const noexcept {
        return time(record.changed_s, reaches(offsetof(inode_record, changed_more)) ? record.changed_more : 0);
    }
    u64 modified_ns() const noexcept {
        return time(record.modified_s, reaches(offsetof(inode_record, modified_more)) ? record.modified_more : 0);
    }
    u32 checksum_seed() const noexcept;

    // The pages of a regular file, made when they are first asked for. ENOMEM.
    k::result<k::ref<vm::object>> pages() noexcept;
    // Nobody has it or its pages but the store, which asks under its lock / lets go of the pages.
    bool is_unused() const noexcept;
    void let_go_of_pages() noexcept;
    // Brings in what a read will touch, and more if it goes on where the last one ended.
    void read_ahead(u64 offset, u64 bytes) noexcept;
    // The text of a symbolic link, into `to`, which has room for a block. EIO.
    k::result<u64> read_link(std::span<std::byte> to) noexcept;
    // A block of a directory. EIO: also one that is not there.
    k::status read_block(u64 logical, std::span<std::byte> to) noexcept;
    k::result<mapped_run> find(u64 logical) noexcept;

    lwkt::sleep_lock writing;
    lwkt::sleep_lock map_lock;

    // Of the store: its table, under the store's lock.
    inode* next = nullptr;
    vfs::vnode* node = nullptr;

  private:
    static u64 time(u32 seconds, u32 more) noexcept;
    // Has the record the word at that offset?
    bool reaches(std::size_t offset) const noexcept { return old_inode_bytes + record.extra_bytes >= offset + 4; }
    k::status read_record() noexcept;
    k::status check_sum(std::span<std::byte> raw) noexcept;

    k::result<vm::page_ref> page_in(u64 index) noexcept override;
    void object_gone() noexcept override { (void)k::ref<inode>(this); }
    k::status read_pages(u64 index, std::span<vm::page* const> to) noexcept;
    void fill(u64 index, unsigned count) noexcept;

    k::status load_map() noexcept REQUIRES(map_lock);
    k::status load_extents(std::span<const std::byte> node, unsigned depth, u64 from, u64 to, buffer* rooms) noexcept
        REQUIRES(map_lock);
    k::status load_indirect(u32 block, unsigned level, u64& logical) noexcept REQUIRES(map_lock);
    k::status load_pointer(u32 block, unsigned level, u64& logical) noexcept REQUIRES(map_lock);
    k::status note_map_block(u64 block) noexcept REQUIRES(map_lock);

    const k::ref<store> store_;
    extent_list map_ GUARDED_BY(map_lock);
    array<u64> map_blocks_ GUARDED_BY(map_lock); // that hold the map on the disk
    bool map_loaded_ GUARDED_BY(map_lock) = false;
    lwkt::sleep_lock pages_lock_;
    k::ref<vm::object> pages_ GUARDED_BY(pages_lock_); // which holds this; let go of by the store
    std::atomic<vm::object*> pages_seen_ = nullptr;    // the same, for is_unused()
    std::atomic<u64> next_read_ = 0;
    std::atomic<u64> stored_size_ = 0; // what lies behind it on the disk is no byte of the file
};

using inode_ref = k::ref<inode>;

} // namespace ext
