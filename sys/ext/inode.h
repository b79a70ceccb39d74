// ext::inode: a file of the disk while it is in memory: its record, where its blocks lie, and its pages.
//
// Not a vnode: vnodes come and go with their users, and an inode stays until nothing of it is left to be written.
// Whoever looks at the map holds `map_lock`; whoever writes pages back, or takes blocks away, holds `writing` as well,
// and before it: so no block is given to somebody else while an old write to it is on its way.
#pragma once

#include "kernel/lwkt/sleep_lock.h"
#include "sys/ext/attribute_list.h"
#include "sys/ext/change.h"
#include "sys/ext/extent_list.h"
#include "sys/vfs/vnode.h"
#include "sys/vm/object.h"

namespace ext {

class store;

// What a vnode knows better than the record of its inode.
struct attributes {
    u32 mode, uid, gid, links;
    u64 size, accessed_ns, modified_ns, changed_ns;
    bool operator==(const attributes&) const = default;
};

class inode final : public k::counted<inode>, vm::file_pager {
  public:
    // Reads it from the disk. EIO: it is not in use, or makes no sense; ENOMEM. One that is on the list of orphans need
    // not have a name.
    static k::result<k::ref<inode>> load(store& in, u32 number, bool is_orphan = false) noexcept;
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
    attributes recorded() const noexcept;

    // The pages of a regular file, made when they are first asked for. ENOMEM.
    k::result<k::ref<vm::object>> pages() noexcept;
    // Nobody has it or its pages but the store, which asks under its lock / lets go of the pages.
    bool is_unused() const noexcept;
    // Of one that nobody has: is there something of it that was not stored yet?
    bool has_changed() const noexcept NO_THREAD_SAFETY_ANALYSIS { return map_changed_ || record_changed_; }
    void let_go_of_pages() noexcept;
    // Brings in what a read will touch, and more if it goes on where the last one ended.
    void read_ahead(u64 offset, u64 bytes) noexcept;
    // The text of a symbolic link, into `to`, which has room for a block. EIO.
    k::result<u64> read_link(std::span<std::byte> to) noexcept;
    // A block of a directory. EIO: also one that is not there.
    k::result<metadata_ref> block(u64 logical) noexcept;
    k::result<mapped_run> find(u64 logical) noexcept;
    // As vfs::file_system has it.
    k::result<u64> next_kept(u64 index, bool wanted) noexcept;

    // --- Changing. EROFS, ENOSPC, EIO, ENOMEM.
    // A fresh one, on nobody's list yet; `text`: of a link.
    static k::result<k::ref<inode>> make(store& in, change& by, const vfs::node_attributes& a, u32 near,
                                         std::string_view text) noexcept;
    // Dirty pages go to the disk, and get blocks there before. Behind `size` there are no bytes. Pages that somebody is
    // filling are left, or, `patient`, waited for.
    k::status write_back(u64 size, bool patient) noexcept;
    // Pages are on the disk, and no longer in memory.
    k::status put_out(u64 size, u64 first, u64 count) noexcept;
    // What is in memory of the record and the map goes to the metadata.
    k::status store_record(change& by, const attributes& now) noexcept;
    bool is_to_be_stored(const attributes& now) noexcept;
    // The file has another size: blocks behind it go. / Some pages are zeroes again.
    k::status resized(u64 bytes) noexcept;
    k::status punched(u64 first_page, u64 pages) noexcept;
    // Blocks for a range, which read as zeroes.
    k::status reserve_range(u64 first_page, u64 pages) noexcept;
    // Nothing leads to it any more: all that it had is free.
    k::status erase() noexcept;
    // On the list of those that are erased (without links) or cut off at their end by who mounts the disk after a
    // crash; in memory, too, the list has them in the disk's order. The map's lock is held. / Off it again.
    k::status become_orphan(change& by, bool has_no_name) noexcept REQUIRES(map_lock);
    k::status be_no_orphan(change& by) noexcept REQUIRES(map_lock);
    // A crash was before it was erased or cut off.
    k::status finish_orphan() noexcept;
    // One more block of a directory, at the end, of zeroes.
    k::result<metadata_ref> add_block(change& by) noexcept;
    void set_disk_size(u64 bytes) noexcept;

    // --- Extended attributes, as vfs::file_system has them.
    k::result<u64> get_attribute(u8 kind, std::string_view name, std::span<std::byte> to) noexcept;
    k::status set_attribute(u8 kind, std::string_view name, std::optional<std::span<const std::byte>> value,
                            unsigned flags) noexcept;
    k::status list_attributes(attribute_list& to) noexcept;
    void record_is_changed() noexcept {
        lwkt::sleep_hold hold(map_lock);
        record_changed_ = true;
    }
    // Lets go of pages that the disk has as well.
    void forget_clean_pages() noexcept;
    // Any context.
    bool is_dirty() const noexcept { return dirty_.load(std::memory_order_relaxed) != 0; }
    // 512-byte sectors that it has on the disk. Any context.
    u64 sectors() const noexcept { return sectors_.load(std::memory_order_relaxed); }

    lwkt::sleep_lock writing;
    lwkt::sleep_lock map_lock;

    // Of the store: its table, under the store's lock.
    inode* next = nullptr;
    vfs::vnode* node = nullptr;
    attributes parting{}; // as the last vnode left it, until that is stored
    bool has_parting = false;

    std::atomic<bool> named = true;   // has a directory its name? Else it goes with its vnode
    std::atomic<bool> erased = false; // it is free on the disk
    // Those on the disk's list of orphans; of who has a change, but for a look whether it is one.
    std::atomic<bool> is_orphan = false;
    inode *orphan_before = nullptr, *orphan_behind = nullptr;
    u64 block_with_room = 0; // of a directory: where the last entry found some

  private:
    static u64 time(u32 seconds, u32 more) noexcept;
    // Has the record the word at that offset?
    bool reaches(std::size_t offset) const noexcept { return old_inode_bytes + record.extra_bytes >= offset + 4; }
    k::status read_record() noexcept;
    k::status check_sum(std::span<std::byte> raw) noexcept;

    k::result<vm::page_ref> page_in(u64 index) noexcept override;
    k::status reserve(u64 first, u64 count) noexcept override;
    void charge(k::i64 pages) noexcept override;
    k::status write_run(vm::object& all, u64 first, u64 count, u64 size, bool patient) noexcept REQUIRES(writing);
    k::status write_clean(vm::object& all, u64 first, u64 count, u64 size, bool patient) noexcept REQUIRES(writing);
    k::status fill_holes(change& by, u64 first, u64 end, bool unwritten) noexcept REQUIRES(map_lock);
    k::status take_out(change& by, u64 first, u64 count) noexcept REQUIRES(map_lock);
    k::status write_record(change& by, const attribute_list* attributes = nullptr) noexcept;
    k::status put_text(change& by, std::string_view text) noexcept REQUIRES(map_lock);
    void note_sectors() noexcept REQUIRES(map_lock);
    void record_sectors() noexcept REQUIRES(map_lock);
    // Where blocks of it are looked for first: in its group.
    u64 goal() const noexcept;
    // Has it blocks of its own: not so a device, or a link whose text stands in the record.
    bool has_map() const noexcept;
    attributes to_be_recorded(const attributes& now) const noexcept;

    // inode_attributes.cc
    u64 attributes_block() const noexcept { return u64{record.attributes_high} << 32 | record.attributes_low; }
    void set_attributes_block(u64 block) noexcept;
    std::span<std::byte> attribute_area(std::span<std::byte> raw) const noexcept;
    void put_attributes(std::span<std::byte> raw, const attribute_list& all) const noexcept;
    k::status read_attributes(attribute_list& to) noexcept REQUIRES(map_lock);
    k::status read_attributes_block(buffer& to) noexcept;
    k::status write_attributes_block(change& by, u64 block, buffer& from) noexcept;
    k::status store_attributes(change& by, const attribute_list& all) noexcept REQUIRES(map_lock);
    k::status drop_attributes_block(change& by, u64 block) noexcept;

    // map_store.cc
    k::status store_map(change& by) noexcept REQUIRES(map_lock);
    k::status store_extents(change& by) noexcept REQUIRES(map_lock);
    k::status store_indirect(change& by) noexcept REQUIRES(map_lock);
    k::result<u32> store_pointers(change& by, unsigned level, u64 logical, std::size_t& used) noexcept
        REQUIRES(map_lock);
    k::result<u64> map_block(change& by, std::size_t index) noexcept REQUIRES(map_lock);
    k::status drop_map_blocks(change& by, std::size_t keep) noexcept REQUIRES(map_lock);
    void object_gone() noexcept override { (void)k::ref<inode>(this); }
    k::status read_pages(u64 index, std::span<vm::page* const> to) noexcept;
    void fill(u64 index, unsigned count) noexcept;

    k::status load_map() noexcept REQUIRES(map_lock);
    k::status load_extents(std::span<const std::byte> node, unsigned depth, u64 from, u64 to) noexcept
        REQUIRES(map_lock);
    k::status load_indirect(u32 block, unsigned level, u64& logical) noexcept REQUIRES(map_lock);
    k::status load_pointer(u32 block, unsigned level, u64& logical) noexcept REQUIRES(map_lock);
    k::status note_map_block(u64 block) noexcept REQUIRES(map_lock);

    const k::ref<store> store_;
    extent_list map_ GUARDED_BY(map_lock);
    array<u64> map_blocks_ GUARDED_BY(map_lock); // that hold the map on the disk
    bool map_loaded_ GUARDED_BY(map_lock) = false;
    bool map_changed_ GUARDED_BY(map_lock) = false; // since it was stored
    bool record_changed_ GUARDED_BY(map_lock) = false;
    lwkt::sleep_lock pages_lock_;
    k::ref<vm::object> pages_ GUARDED_BY(pages_lock_); // which holds this; let go of by the store
    std::atomic<vm::object*> pages_seen_ = nullptr;    // the same, for is_unused()
    std::atomic<k::i64> dirty_ = 0;                    // pages
    std::atomic<u64> sectors_ = 0;
    std::atomic<u64> next_read_ = 0;
    std::atomic<u64> stored_size_ = 0; // what lies behind it on the disk is no byte of the file
};

using inode_ref = k::ref<inode>;

} // namespace ext
