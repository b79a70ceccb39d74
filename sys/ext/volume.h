// ext::volume: a disk in the ext2/ext4 format: its superblock, its groups, and what is free.
//
// Metadata is changed in memory (metadata.h), goes from there to the device's cache (drivers/block/cache.h), and
// reaches the disk when that is written back. All that is read is what some stranger may have written: numbers are
// checked before they are used, and what is wrong is EIO, or refuses the mount.
//
// Whoever changes metadata holds a `change` (change.h): what one does belongs together, and a journal would write it as
// one. While anything is changed the superblock on the disk says that it is not clean; say_clean() that it is again.
//
// Thread context, may sleep, unless it says otherwise.
#pragma once

#include "drivers/block/cache.h"
#include "kernel/lwkt/wait_queue.h"
#include "kernel/time/realtime.h"
#include "sys/ext/array.h"
#include "sys/ext/directory_hash.h"
#include "sys/ext/metadata.h"

namespace ext {

// A run of neighbouring blocks.
struct block_run {
    u64 first = 0;
    u64 count = 0;
};

class volume final : public k::counted<volume> {
  public:
    // Checks what stands there. EINVAL: no such file system, or damaged; EOPNOTSUPP: features that are not known; EIO;
    // ENOMEM. A line in the log says why. It may have to be `read_only()`.
    static k::result<k::ref<volume>> open(block::device_ref on, bool read_only) noexcept;
    explicit volume(block::device_ref on) noexcept : device_(std::move(on)) {} // for open()
    void last_holder_left() noexcept { mem::destroy(this); }

    // --- Immutable.
    block::device& device() const noexcept { return *device_; }
    u32 block_bytes() const noexcept { return 1u << block_shift_; }
    unsigned block_shift() const noexcept { return block_shift_; }
    u64 blocks() const noexcept { return blocks_; }
    u32 inodes() const noexcept { return inodes_; }
    u32 inode_bytes() const noexcept { return inode_bytes_; }
    u32 first_free_inode() const noexcept { return first_inode_; }
    bool keeps_sums() const noexcept { return checksums_; }
    bool makes_extents() const noexcept { return features_incompatible_ & has_extents; }
    bool names_have_types() const noexcept { return features_incompatible_ & has_file_types; }
    bool may_have_many_links() const noexcept { return features_read_only_ & has_many_links; }
    // May directories have hash trees, and how are names hashed in new ones?
    bool may_index() const noexcept { return super_.compatible & has_directory_index; }
    hash_kind names_kind() const noexcept { return static_cast<hash_kind>(super_.hash_version); }
    bool names_are_unsigned() const noexcept { return super_.flags & names_unsigned; }
    hash_seed names_seed() const noexcept {
        return {{super_.hash_seed[0], super_.hash_seed[1], super_.hash_seed[2], super_.hash_seed[3]}};
    }
    // Counting in blocks allows more than 2^32 sectors.
    bool may_be_huge() const noexcept { return features_read_only_ & has_huge_files; }
    bool is_block(u64 number) const noexcept { return number > first_data_block_ && number < blocks_; }
    bool are_blocks(u64 first, u64 count) const noexcept { return is_block(first) && count <= blocks_ - first; }
    bool is_inode(u32 number) const noexcept {
        return number == root_inode || (number >= first_inode_ && number <= inodes_);
    }
    u32 last_orphan() const noexcept { return super_.last_orphan; }
    u64 reserved_blocks() const noexcept { return reserved_blocks_; }

    // May nothing be changed: from the start, or because something was found to be wrong.
    bool read_only() const noexcept { return read_only_.load(std::memory_order_relaxed); }
    // Was something found to be wrong while it was not: what is in memory then stays there.
    bool is_damaged() const noexcept { return damaged_.load(std::memory_order_relaxed); }
    void stop_writing() noexcept { read_only_.store(true, std::memory_order_relaxed); }
    // Something on the disk contradicts itself: a line in the log, and nothing is changed from then on.
    k::error damaged(std::string_view what, u64 number = 0) noexcept;

    // --- Metadata
    metadata& blocks_in_memory() noexcept { return metadata_; }
    // The bytes of an inode's record on the disk. EIO, ENOMEM.
    struct record_place {
        metadata_ref block;
        std::span<std::byte> bytes;
    };
    k::result<record_place> record_of(u32 inode) noexcept;
    // Whose block of attributes it is may be several inodes' business: held while its bytes are copied.
    lwkt::sleep_lock attributes_lock;
    // The first block of the group that an inode is of.
    u64 home_of(u32 inode) const noexcept { return first_block_of((inode - 1) / inodes_a_group_); }

    // --- Checksums: CRC32C as the format wants it, not inverted at either end.
    u32 sum(std::span<const std::byte> bytes, u32 seed) const noexcept;
    template <class T> u32 sum_of(const T& value, u32 seed) const noexcept {
        return sum(std::as_bytes(std::span(&value, 1)), seed);
    }
    u32 seed() const noexcept { return seed_; }

    // --- What is free. Any context.
    u64 free_blocks() const noexcept { return free_blocks_.load(std::memory_order_relaxed); }
    u32 free_inodes() const noexcept { return free_inodes_.load(std::memory_order_relaxed); }

    // Room for dirty pages, until they have blocks: as if none had any. False: there is not that much.
    bool promise_pages(u64 count) noexcept;
    void change_promised(k::i64 pages) noexcept {
        promised_pages_.fetch_add(static_cast<u64>(pages), std::memory_order_relaxed);
    }
    u64 promised_pages() const noexcept { return promised_pages_.load(std::memory_order_relaxed); }
    // Does the disk say that it may be found as it is?
    bool is_clean() const noexcept { return clean_on_disk_.load(std::memory_order_acquire); }
    // How many changes have begun.
    u64 changes() const noexcept { return change_count_.load(std::memory_order_acquire); }
    // Writes what is in the cache, and then that the disk is clean, unless there were more changes than that. EIO.
    k::status say_clean(u64 changes_known) noexcept;

  private:
    friend class change;
    friend class metadata;
    struct group {
        u64 block_bitmap, inode_bitmap, inode_table;
        u32 free_blocks, free_inodes, directories, unused_inodes;
        u16 flags;
        bool touched; // its descriptor is to be written
        u32 block_bitmap_sum, inode_bitmap_sum, sum_mask;
    };
    // A sleep lock that a movable `change` can hold.
    class turn {
      public:
        void take() noexcept {
            queue_.wait([this] { return !taken_.exchange(true, std::memory_order_acquire); });
        }
        void give_back() noexcept {
            taken_.store(false, std::memory_order_release);
            queue_.wake_one();
        }

      private:
        std::atomic<bool> taken_ = false;
        lwkt::wait_queue queue_;
    };

    // Bytes of the device, by its cache. EIO, ENOMEM.
    k::status read_bytes(u64 offset, std::span<std::byte> to) noexcept;
    k::status write_bytes(u64 offset, std::span<const std::byte> from) noexcept;

    u32 bitmap_sum(metadata_block& map) const noexcept;
    // Of who has the turn. A bitmap is about to be written: its group has its sum.
    void note_bitmap(metadata_block& bitmap) noexcept;
    k::status write_descriptor(u32 number) noexcept;
    k::status write_superblock() noexcept;
    k::status write_changed() noexcept;

    k::status read_superblock(bool read_only) noexcept;
    k::status check_features(bool& read_only) noexcept;
    k::status check_geometry() noexcept;
    k::status read_groups() noexcept;
    u32 descriptor_sum(u32 number, std::span<const std::byte> descriptor) const noexcept;
    k::status refuse(std::string_view why, u64 number = 0) noexcept;
    u64 descriptor_offset(u32 number) const noexcept {
        return ((u64{first_data_block_} + 1) << block_shift_) + u64{number} * descriptor_bytes_;
    }
    u64 first_block_of(u32 group) const noexcept { return first_data_block_ + u64{group} * blocks_a_group_; }
    u64 blocks_of(u32 group) const noexcept { return std::min<u64>(blocks_a_group_, blocks_ - first_block_of(group)); }

    const block::device_ref device_;
    superblock super_;
    unsigned block_shift_ = 0;
    u64 blocks_ = 0, reserved_blocks_ = 0;
    u32 inodes_ = 0, inode_bytes_ = 0, first_inode_ = 0, first_data_block_ = 0;
    u32 blocks_a_group_ = 0, inodes_a_group_ = 0, descriptor_bytes_ = 0;
    u32 features_incompatible_ = 0, features_read_only_ = 0, seed_ = 0;
    bool checksums_ = false;
    std::atomic<bool> read_only_ = true, damaged_ = false;
    std::atomic<u64> free_blocks_ = 0;
    std::atomic<u32> free_inodes_ = 0;
    metadata metadata_{*this};
    // Changed by who has the turn.
    array<group> groups_;
    bool superblock_touched_ = false; // it is to be written
    std::atomic<bool> clean_on_disk_ = false;
    std::atomic<u64> change_count_ = 0;
    turn changes_;
    std::atomic<u64> promised_pages_ = 0; // dirty pages of files, which may have no blocks yet
};

using volume_ref = k::ref<volume>;

} // namespace ext
