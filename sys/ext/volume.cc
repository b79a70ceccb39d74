#include "sys/ext/volume.h"

#include "kernel/lib/log.h"
#include "sys/xio/checksum.h"

namespace ext {

namespace {

constexpr u32 most_block_shift = 12; // a block fits into a page

// CRC-16 with the polynomial 0x8005, reflected: of group descriptors without metadata_csum.
u16 crc16(std::span<const std::byte> bytes, u16 state) {
    for (const std::byte b : bytes) {
        state ^= static_cast<u16>(b);
        for (unsigned bit = 0; bit < 8; bit++)
            state = static_cast<u16>(state >> 1 ^ (state & 1 ? 0xa001 : 0));
    }
    return state;
}

constexpr u64 wide(u32 low, u32 high) {
    return u64{high} << 32 | low;
}

} // namespace

k::result<k::ref<volume>> volume::open(block::device_ref on, bool read_only) noexcept {
    auto* made = mem::make<volume>(std::move(on));
    if (!made) return k::error::nomem;
    volume_ref opened(made);
    TRY(opened->read_superblock(read_only));
    TRY(opened->read_groups());
    return opened;
}

k::status volume::refuse(std::string_view why, u64 number) noexcept {
    k::log("ext: {}: not mounted: {} ({})\n", device_->name(), why, number);
    return k::error::inval;
}

k::error volume::damaged(std::string_view what, u64 number) noexcept {
    if (!read_only_.exchange(true, std::memory_order_relaxed)) {
        damaged_.store(true, std::memory_order_relaxed);
        k::log("ext: {}: {} ({}): nothing is changed any more; run e2fsck\n", device_->name(), what, number);
    } else {
        k::log("ext: {}: {} ({})\n", device_->name(), what, number);
    }
    return k::error::io;
}

// --- Bytes

k::status volume::read_bytes(u64 offset, std::span<std::byte> to) noexcept {
    auto into = TRY(xio::sink::over_kernel(to));
    const xio::moved m = device_->cache().read(offset, into);
    TRY(m.status);
    return m.bytes == to.size() ? k::status() : k::error::io;
}

k::status volume::write_bytes(u64 offset, std::span<const std::byte> from) noexcept {
    const xio::source source = TRY(xio::source::over_kernel(from));
    const xio::moved m = device_->cache().write(offset, source);
    TRY(m.status);
    return m.bytes == from.size() ? k::status() : k::error::io;
}

k::result<volume::record_place> volume::record_of(u32 inode) noexcept {
    const u32 group = (inode - 1) / inodes_a_group_;
    const u64 offset = u64{(inode - 1) % inodes_a_group_} * inode_bytes_;
    metadata_ref block =
        TRY(metadata_.get(groups_[group].inode_table + (offset >> block_shift_), {block_kind::inodes, 0}));
    const std::span bytes = block->bytes().subspan(offset & (block_bytes() - 1), inode_bytes_);
    return record_place{std::move(block), bytes};
}

u32 volume::sum(std::span<const std::byte> bytes, u32 seed) const noexcept {
    return ~xio::crc32c(bytes, ~seed);
}

// Some blocks are kept for what leads to them.
bool volume::promise_pages(u64 count) noexcept {
    const u64 promised = promised_pages_.fetch_add(count, std::memory_order_relaxed) + count;
    const u64 blocks = promised << (arch::page_shift - block_shift_);
    if (blocks + blocks / 64 + 8 <= free_blocks()) return true;
    promised_pages_.fetch_sub(count, std::memory_order_relaxed);
    return false;
}

// --- Mounting

k::status volume::read_superblock(bool read_only) noexcept {
    if (device_->bytes() < superblock_offset + sizeof(superblock)) return refuse("too small a device");
    buffer room = TRY(buffer::create(sizeof(superblock)));
    TRY(read_bytes(superblock_offset, room.bytes()));
    std::memcpy(&super_, room.bytes().data(), sizeof(super_));
    if (super_.magic != superblock_magic) return refuse("no ext2 or ext4 superblock");
    if (super_.revision > 1) return refuse("unknown revision", super_.revision);
    if (super_.revision == 0) {
        super_.inode_bytes = old_inode_bytes;
        super_.first_inode = 11;
        super_.compatible = super_.incompatible = super_.read_only_compatible = 0;
    }
    features_incompatible_ = super_.incompatible;
    features_read_only_ = super_.read_only_compatible;
    TRY(check_features(read_only));
    TRY(check_geometry());
    checksums_ = features_read_only_ & has_checksums;
    if (checksums_) {
        if (super_.checksum_kind != 1) return refuse("unknown kind of checksums", super_.checksum_kind);
        if (sum(room.bytes().first(offsetof(superblock, checksum)), ~u32{0}) != super_.checksum)
            return refuse("the superblock's checksum is wrong", super_.checksum);
        seed_ = features_incompatible_ & has_checksum_seed ? super_.checksum_seed
                                                           : sum(std::as_bytes(std::span(super_.uuid)), ~u32{0});
    }
    if (device_->properties().read_only) read_only = true;
    if (!read_only && super_.state != state_clean) {
        k::log("ext: {}: was not unmounted cleanly: read only, until e2fsck has looked at it\n", device_->name());
        read_only = true;
    }
    read_only_.store(read_only, std::memory_order_relaxed);
    clean_on_disk_ = super_.state == state_clean;
    return {};
}

k::status volume::check_features(bool& read_only) noexcept {
    if (features_incompatible_ & needs_recovery) {
        k::log("ext: {}: not mounted: its journal has to be replayed first: run e2fsck\n", device_->name());
        return k::error::opnotsupp;
    }
    if (const u32 unknown = features_incompatible_ & ~known_incompatible) {
        k::log("ext: {}: not mounted: unknown features {:#x}\n", device_->name(), unknown);
        return k::error::opnotsupp;
    }
    if (const u32 unknown = features_read_only_ & ~writable_features; unknown && !read_only) {
        k::log("ext: {}: read only: unknown features {:#x}\n", device_->name(), unknown);
        read_only = true;
    }
    if ((super_.compatible & has_journal) && !read_only) {
        k::log("ext: {}: read only: it has a journal, which this kernel does not write\n", device_->name());
        read_only = true;
    }
    return {};
}

k::status volume::check_geometry() noexcept {
    const superblock& s = super_;
    if (s.block_shift > most_block_shift - 10) return refuse("blocks larger than a page", s.block_shift);
    block_shift_ = 10 + s.block_shift;
    const u32 bits = block_bytes() * 8;
    const bool is_wide = features_incompatible_ & has_64bit;
    blocks_ = wide(s.blocks_low, is_wide ? s.blocks_high : 0);
    reserved_blocks_ = wide(s.reserved_blocks_low, is_wide ? s.reserved_blocks_high : 0);
    first_data_block_ = s.first_data_block;
    if (first_data_block_ != (block_shift_ == 10 ? 1 : 0)) return refuse("first block", first_data_block_);
    if (blocks_ > device_->bytes() >> block_shift_) return refuse("more blocks than the device has", blocks_);
    if (blocks_ <= first_data_block_ + 1) return refuse("hardly any blocks", blocks_);
    if (s.cluster_shift != s.block_shift) return refuse("clusters of blocks", s.cluster_shift);
    blocks_a_group_ = s.blocks_a_group;
    inodes_a_group_ = s.inodes_a_group;
    if (!blocks_a_group_ || blocks_a_group_ > bits || blocks_a_group_ % 8)
        return refuse("blocks in a group", blocks_a_group_);
    if (!inodes_a_group_ || inodes_a_group_ > bits || inodes_a_group_ % 8)
        return refuse("inodes in a group", inodes_a_group_);
    inode_bytes_ = s.inode_bytes;
    if (!std::has_single_bit(inode_bytes_) || inode_bytes_ < old_inode_bytes || inode_bytes_ > block_bytes())
        return refuse("size of inodes", inode_bytes_);
    descriptor_bytes_ = is_wide ? s.descriptor_bytes : short_descriptor_bytes;
    if (is_wide && (descriptor_bytes_ < sizeof(group_descriptor) || descriptor_bytes_ > block_bytes() ||
                    !std::has_single_bit(descriptor_bytes_)))
        return refuse("size of group descriptors", descriptor_bytes_);
    inodes_ = s.inodes;
    first_inode_ = s.first_inode;
    const u64 groups = (blocks_ - first_data_block_ + blocks_a_group_ - 1) / blocks_a_group_;
    if (groups * inodes_a_group_ != inodes_) return refuse("count of inodes", inodes_);
    if (first_inode_ < 11 || first_inode_ > inodes_) return refuse("first inode", first_inode_);
    if (reserved_blocks_ > blocks_) return refuse("reserved blocks", reserved_blocks_);
    const u64 table = (groups * descriptor_bytes_ + block_bytes() - 1) >> block_shift_;
    if (table > blocks_ - first_data_block_ - 1) return refuse("more groups than there is room for", groups);
    return {};
}

u32 volume::descriptor_sum(u32 number, std::span<const std::byte> descriptor) const noexcept {
    constexpr std::size_t at = offsetof(group_descriptor, checksum), behind = at + 2;
    const std::span front = descriptor.first(at), rest = descriptor.subspan(behind);
    if (checksums_) {
        constexpr u16 none = 0;
        u32 state = sum_of(number, seed_);
        state = sum_of(none, sum(front, state));
        return sum(rest, state) & 0xffff;
    }
    u16 state = crc16(std::as_bytes(std::span(super_.uuid)), 0xffff);
    state = crc16(std::as_bytes(std::span(&number, 1)), state);
    state = crc16(front, state);
    return crc16(rest, state);
}

k::status volume::read_groups() noexcept {
    const u32 count = inodes_ / inodes_a_group_;
    TRY(groups_.reserve(count));
    buffer room = TRY(buffer::create(block_bytes()));
    const bool summed = features_read_only_ & (has_checksums | has_group_checksums);
    const u64 table_blocks = (u64{inodes_a_group_} * inode_bytes_ + block_bytes() - 1) >> block_shift_;
    u64 free_blocks = 0;
    u32 free_inodes = 0;
    for (u32 n = 0; n < count; n++) {
        const u64 offset = descriptor_offset(n);
        if (n == 0 || offset % block_bytes() == 0)
            TRY(read_bytes(k::align_down(offset, u64{block_bytes()}), room.bytes()));
        const std::span bytes = room.bytes().subspan(offset % block_bytes(), descriptor_bytes_);
        group_descriptor d{};
        std::memcpy(&d, bytes.data(), std::min<std::size_t>(bytes.size(), sizeof(d)));
        if (summed && descriptor_sum(n, bytes) != d.checksum) return refuse("the checksum is wrong of group", n);
        const group g{.block_bitmap = wide(d.block_bitmap_low, d.block_bitmap_high),
                      .inode_bitmap = wide(d.inode_bitmap_low, d.inode_bitmap_high),
                      .inode_table = wide(d.inode_table_low, d.inode_table_high),
                      .free_blocks = u32{d.free_blocks_low} | u32{d.free_blocks_high} << 16,
                      .free_inodes = u32{d.free_inodes_low} | u32{d.free_inodes_high} << 16,
                      .directories = u32{d.directories_low} | u32{d.directories_high} << 16,
                      .unused_inodes = u32{d.unused_inodes_low} | u32{d.unused_inodes_high} << 16,
                      .flags = summed ? d.flags : u16{0},
                      .touched = false,
                      .block_bitmap_sum = u32{d.block_bitmap_sum_low} | u32{d.block_bitmap_sum_high} << 16,
                      .inode_bitmap_sum = u32{d.inode_bitmap_sum_low} | u32{d.inode_bitmap_sum_high} << 16,
                      .sum_mask = descriptor_bytes_ > short_descriptor_bytes ? ~u32{0} : u32{0xffff}};
        if (!is_block(g.block_bitmap) || !is_block(g.inode_bitmap) || !are_blocks(g.inode_table, table_blocks))
            return refuse("tables outside of the disk, of group", n);
        if (g.free_blocks > blocks_of(n) || g.free_inodes > inodes_a_group_ || g.unused_inodes > inodes_a_group_ ||
            g.directories > inodes_a_group_)
            return refuse("impossible counts of group", n);
        free_blocks += g.free_blocks;
        free_inodes += g.free_inodes;
        TRY(groups_.append(g));
    }
    free_blocks_.store(free_blocks, std::memory_order_relaxed);
    free_inodes_.store(free_inodes, std::memory_order_relaxed);
    return {};
}

} // namespace ext
