// ext::change: something that is done to a volume's metadata: all of it belongs together. One at a time.
//
// Blocks and inodes are taken and given back here. What is changed stays in memory until write_changed(): then it goes
// to the device's cache. A journal would begin and end with changes.
#pragma once

#include "sys/ext/volume.h"

namespace ext {

class [[nodiscard]] change {
  public:
    // EROFS; EIO: the superblock could not be made to say that the volume is being changed.
    static k::result<change> begin(volume& on) noexcept;
    change(change&& other) noexcept : on_(std::exchange(other.on_, nullptr)) {}
    change& operator=(change&&) = delete;
    ~change();
    volume& on() const noexcept { return *on_; }
    // In the midst of a long one: what would be too much in memory goes there, too. EIO, ENOMEM.
    k::status keep_within_limits() noexcept;
    // All that changes have touched goes to the device's cache. EIO, ENOMEM.
    k::status write_changed() noexcept { return on_->write_changed(); }
    // A block has been changed / some bytes of it / one that need not be read (metadata.h).
    void changed(metadata_block& block) noexcept { on_->metadata_.changed(block); }
    void changed(metadata_block& block, std::span<const std::byte> bytes) noexcept {
        on_->metadata_.changed(block, bytes);
    }
    k::result<metadata_ref> fresh(u64 block, block_use use) noexcept { return on_->metadata_.fresh(block, use); }

    // Some free blocks in a row, at most `most`, at `near` or behind it if that can be. ENOSPC, EIO, ENOMEM.
    k::result<block_run> take_blocks(u64 near, u64 most) noexcept;
    // Gives blocks back. What was free is damage, and said to be. `metadata`: of them there is something in memory, or
    // in the device's cache, that must not be written any more.
    k::status give_blocks(u64 first, u64 count, bool metadata) noexcept;
    // A free inode near that of the directory that it will be in; directories are spread, so that what is in them has
    // room beside them. ENOSPC, EIO, ENOMEM.
    k::result<u32> take_inode(bool of_directory, u32 near) noexcept;
    k::status give_inode(u32 number, bool of_directory) noexcept;
    // Is an inode in use?
    k::result<bool> is_taken(u32 number) noexcept;
    // Where the list of inodes begins that are to be erased or cut off when the disk is next mounted; 0: it is empty.
    void set_last_orphan(u32 number) noexcept;
    // The superblock says that there are extended attributes.
    void note_attributes() noexcept;

  private:
    explicit change(volume& on) noexcept : on_(&on) {}
    u32 group_for_directory(u32 parent) const noexcept;
    u32 group_for_file(u32 parent) const noexcept;
    k::result<block_run> take_blocks_in(u32 group, u64 from, u64 most) noexcept;
    k::result<metadata_ref> block_bitmap(u32 group) noexcept;
    k::result<metadata_ref> inode_bitmap(u32 group) noexcept;
    // One that was in use before: its sum, where there is one, is to be this.
    k::result<metadata_ref> known_bitmap(u64 block, block_use use, u32 sum) noexcept;
    void touch(volume::group& of, metadata_block& map) noexcept;
    void mark_own_blocks(u32 group, std::span<std::byte> bitmap) noexcept;

    volume* on_;
};

} // namespace ext
