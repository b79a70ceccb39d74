#include "sys/ext/change.h"

#include <cstring>

namespace ext {

namespace {

bool has_bit(std::span<const std::byte> map, u64 n) {
    return (std::to_integer<unsigned>(map[n / 8]) >> n % 8) & 1;
}
void set_bit(std::span<std::byte> map, u64 n) {
    map[n / 8] |= std::byte(1u << n % 8);
}
void clear_bit(std::span<std::byte> map, u64 n) {
    map[n / 8] &= ~std::byte(1u << n % 8);
}
// The first bit in [from, end) that is (not) set; `end` if none is.
u64 next_bit(std::span<const std::byte> map, u64 from, u64 end, bool wanted) {
    for (; from < end; from = (from | 63) + 1) {
        u64 word;
        std::memcpy(&word, &map[from / 64 * sizeof(word)], sizeof(word)); // a map is a block
        const u64 left = (wanted ? word : ~word) >> from % 64;
        if (left) return std::min<u64>(end, from + static_cast<u64>(std::countr_zero(left)));
    }
    return end;
}

bool is_power_of(u32 n, u32 base) {
    while (n % base == 0)
        n /= base;
    return n == 1;
}

} // namespace

// --- Beginning and ending

// While anything may have been changed, the disk says so.
k::result<change> change::begin(volume& on) noexcept {
    on.changes_.take();
    change made(on);
    if (on.read_only()) return k::error::rofs;
    on.change_count_.fetch_add(1, std::memory_order_release);
    if (on.clean_on_disk_) {
        on.super_.state &= static_cast<u16>(~state_clean);
        TRY(on.write_superblock());
        TRY(on.device().cache().sync());
        on.clean_on_disk_ = false;
    }
    TRY(made.keep_within_limits());
    return made;
}

k::status change::keep_within_limits() noexcept {
    if (!on_->metadata_.has_too_many_changes()) return {};
    const k::status written = on_->write_changed();
    return on_->metadata_.has_too_many_changes() ? written : k::status();
}

change::~change() {
    if (on_) on_->changes_.give_back();
}

// --- Bitmaps

// Blocks of a group that were never in use have no bitmap yet: it is what the group needs for itself.
void change::mark_own_blocks(u32 group, std::span<std::byte> bitmap) noexcept {
    volume& v = *on_;
    const u64 first = v.first_block_of(group), end = first + v.blocks_of(group);
    const auto mark = [&](u64 from, u64 count) {
        for (u64 b = std::max(from, first); b < std::min(from + count, end); b++)
            set_bit(bitmap, b - first);
    };
    const bool has_copy = !(v.features_read_only_ & has_sparse_copies) || group <= 1 || is_power_of(group, 3) ||
                          is_power_of(group, 5) || is_power_of(group, 7);
    if (has_copy)
        mark(first, 1 + ((v.groups_.size() * v.descriptor_bytes_ + v.block_bytes() - 1) >> v.block_shift_) +
                        v.super_.reserved_descriptors);
    const u64 table = (u64{v.inodes_a_group_} * v.inode_bytes_ + v.block_bytes() - 1) >> v.block_shift_;
    for (const volume::group& g : v.groups_.all()) {
        mark(g.block_bitmap, 1);
        mark(g.inode_bitmap, 1);
        mark(g.inode_table, table);
    }
}

k::result<metadata_ref> change::block_bitmap(u32 group) noexcept {
    volume& v = *on_;
    volume::group& g = v.groups_[group];
    const block_use use{block_kind::block_bitmap, group};
    if (g.flags & group_blocks_unused) {
        metadata_ref map = TRY(v.metadata_.fresh(g.block_bitmap, use));
        mark_own_blocks(group, map->bytes());
        for (u64 n = v.blocks_of(group); n < map->bytes().size() * 8; n++)
            set_bit(map->bytes(), n);
        g.flags &= static_cast<u16>(~group_blocks_unused);
        map->note(map->sum_is_right);
        return map;
    }
    return known_bitmap(g.block_bitmap, use, g.block_bitmap_sum);
}

// Inodes of a group that were never in use have none either.
k::result<metadata_ref> change::inode_bitmap(u32 group) noexcept {
    volume& v = *on_;
    volume::group& g = v.groups_[group];
    const block_use use{block_kind::inode_bitmap, group};
    if (g.flags & group_inodes_unused) {
        metadata_ref map = TRY(v.metadata_.fresh(g.inode_bitmap, use));
        const std::span rest = map->bytes().subspan(v.inodes_a_group_ / 8);
        std::memset(rest.data(), 0xff, rest.size());
        g.flags &= static_cast<u16>(~group_inodes_unused);
        map->note(map->sum_is_right);
        return map;
    }
    return known_bitmap(g.inode_bitmap, use, g.inode_bitmap_sum);
}

k::result<metadata_ref> change::known_bitmap(u64 block, block_use use, u32 sum) noexcept {
    volume& v = *on_;
    metadata_ref map = TRY(v.metadata_.get(block, use));
    if (!map->is_known(map->sum_is_right) && v.checksums_ && v.bitmap_sum(*map) != sum)
        return v.damaged("the checksum is wrong of a bitmap of group", use.owner);
    map->note(map->sum_is_right);
    return map;
}

void change::touch(volume::group& of, metadata_block& map) noexcept {
    of.touched = true;
    changed(map);
}

// --- Blocks

// The first free ones at `from` or behind, in one group. None: no blocks.
k::result<block_run> change::take_blocks_in(u32 group, u64 from, u64 most) noexcept {
    volume& v = *on_;
    volume::group& g = v.groups_[group];
    if (!g.free_blocks) return block_run{};
    const metadata_ref map = TRY(block_bitmap(group));
    const u64 blocks = v.blocks_of(group);
    const u64 first = next_bit(map->bytes(), from, blocks, false);
    if (first == blocks) return block_run{};
    const u64 end = next_bit(map->bytes(), first, std::min(blocks, first + most), true);
    const u64 count = end - first;
    if (count > g.free_blocks || !v.are_blocks(v.first_block_of(group) + first, count))
        return v.damaged("the count of free blocks is wrong of group", group);
    for (u64 n = first; n < end; n++)
        set_bit(map->bytes(), n);
    touch(g, *map);
    g.free_blocks -= static_cast<u32>(count);
    v.free_blocks_.fetch_sub(count, std::memory_order_relaxed);
    return block_run{v.first_block_of(group) + first, count};
}

k::result<block_run> change::take_blocks(u64 near, u64 most) noexcept {
    volume& v = *on_;
    const u32 groups = static_cast<u32>(v.groups_.size());
    if (!v.is_block(near)) near = v.first_data_block_;
    const u32 first = static_cast<u32>((near - v.first_data_block_) / v.blocks_a_group_);
    block_run found = TRY(take_blocks_in(first, near - v.first_block_of(first), most));
    for (u32 n = 1; n <= groups && !found.count; n++)
        found = TRY(take_blocks_in((first + n) % groups, 0, most));
    if (!found.count) return k::error::nospc;
    return found;
}

k::status change::give_blocks(u64 first, u64 count, bool metadata) noexcept {
    volume& v = *on_;
    if (!v.are_blocks(first, count)) return v.damaged("a block outside of the disk is given back", first);
    if (metadata) {
        if (!v.metadata_.drop(first, count)) return v.damaged("a block of a group's own is given back", first);
        v.device().cache().abandon(first << v.block_shift_, count << v.block_shift_);
    }
    while (count) {
        const u32 group = static_cast<u32>((first - v.first_data_block_) / v.blocks_a_group_);
        const u64 from = first - v.first_block_of(group), part = std::min(count, v.blocks_of(group) - from);
        const metadata_ref map = TRY(block_bitmap(group));
        if (next_bit(map->bytes(), from, from + part, false) != from + part)
            return v.damaged("a block that is free is given back", first);
        for (u64 n = from; n < from + part; n++)
            clear_bit(map->bytes(), n);
        touch(v.groups_[group], *map);
        v.groups_[group].free_blocks += static_cast<u32>(part);
        v.free_blocks_.fetch_add(part, std::memory_order_relaxed);
        first += part;
        count -= part;
    }
    return {};
}

// --- Inodes

// What is at the top has little to do with its neighbours: each goes to the group with the fewest directories (the rule
// of Orlov's allocator, in short). Those below stay with their parent. Either as long as that group is not poorer than
// a quarter of a group below the others: some have copies of the superblock, so just to be below them says nothing.
u32 change::group_for_directory(u32 parent) const noexcept {
    const volume& v = *on_;
    const u32 groups = static_cast<u32>(v.groups_.size()), home = (parent - 1) / v.inodes_a_group_;
    const u64 inodes = v.free_inodes() / groups, blocks = v.free_blocks() / groups;
    const u64 least_inodes = std::max<u64>(1, inodes - std::min<u64>(inodes, v.inodes_a_group_ / 4));
    const u64 least_blocks = blocks - std::min<u64>(blocks, v.blocks_a_group_ / 4);
    if (parent == root_inode) {
        u32 best = groups;
        for (u32 n = 0; n < groups; n++) {
            const volume::group& g = v.groups_[n];
            if (g.free_inodes < least_inodes || g.free_blocks < least_blocks) continue;
            if (best == groups || g.directories < v.groups_[best].directories) best = n;
        }
        if (best < groups) return best;
    }
    u64 directories = 0;
    for (const volume::group& g : v.groups_.all())
        directories += g.directories;
    const u64 most_directories = directories / groups + v.inodes_a_group_ / 16;
    for (u32 n = 0; n < groups; n++) {
        const u32 number = (home + n) % groups;
        const volume::group& g = v.groups_[number];
        if (g.free_inodes >= least_inodes && g.free_blocks >= least_blocks && g.directories <= most_directories)
            return number;
    }
    return group_for_file(parent);
}

// Its directory's, or the next one with room for its blocks, too.
u32 change::group_for_file(u32 parent) const noexcept {
    const volume& v = *on_;
    const u32 groups = static_cast<u32>(v.groups_.size()), home = (parent - 1) / v.inodes_a_group_;
    for (u32 n = 0; n < groups; n++) {
        const volume::group& g = v.groups_[(home + n) % groups];
        if (g.free_inodes && g.free_blocks) return (home + n) % groups;
    }
    return home;
}

k::result<u32> change::take_inode(bool of_directory, u32 near) noexcept {
    volume& v = *on_;
    const u32 groups = static_cast<u32>(v.groups_.size());
    const u32 first = of_directory ? group_for_directory(near) : group_for_file(near);
    for (u32 n = 0; n < groups; n++) {
        const u32 number = (first + n) % groups;
        volume::group& g = v.groups_[number];
        if (!g.free_inodes) continue;
        const metadata_ref map = TRY(inode_bitmap(number));
        const u32 reserved = number ? 0 : v.first_inode_ - 1;
        const u32 bit = static_cast<u32>(next_bit(map->bytes(), reserved, v.inodes_a_group_, false));
        if (bit == v.inodes_a_group_) return v.damaged("the count of free inodes is wrong of group", number);
        const u32 together = v.block_bytes() / v.inode_bytes(), start = bit - bit % together;
        const u64 table_block = g.inode_table + bit / together;
        // Nobody else's record is in its block of the table: that need not be read.
        if (next_bit(map->bytes(), start, start + together, true) == start + together &&
            !v.metadata_.is_in_memory(table_block))
            TRY(v.metadata_.fresh(table_block, {block_kind::inodes, 0}));
        set_bit(map->bytes(), bit);
        touch(g, *map);
        g.free_inodes--;
        g.directories += of_directory;
        g.unused_inodes = std::min(g.unused_inodes, v.inodes_a_group_ - bit - 1);
        v.free_inodes_.fetch_sub(1, std::memory_order_relaxed);
        return number * v.inodes_a_group_ + bit + 1;
    }
    return k::error::nospc;
}

k::status change::give_inode(u32 number, bool of_directory) noexcept {
    volume& v = *on_;
    const u32 group = (number - 1) / v.inodes_a_group_, bit = (number - 1) % v.inodes_a_group_;
    volume::group& g = v.groups_[group];
    const metadata_ref map = TRY(inode_bitmap(group));
    if (!has_bit(map->bytes(), bit)) return v.damaged("an inode that is free is given back", number);
    clear_bit(map->bytes(), bit);
    touch(g, *map);
    g.free_inodes++;
    if (of_directory && g.directories) g.directories--;
    v.free_inodes_.fetch_add(1, std::memory_order_relaxed);
    return {};
}

k::result<bool> change::is_taken(u32 number) noexcept {
    const u32 a_group = on_->inodes_a_group_;
    return has_bit(TRY(inode_bitmap((number - 1) / a_group))->bytes(), (number - 1) % a_group);
}

void change::set_last_orphan(u32 number) noexcept {
    on_->super_.last_orphan = number;
    on_->superblock_touched_ = true;
}

void change::note_attributes() noexcept {
    if (on_->super_.compatible & has_attributes) return;
    on_->super_.compatible |= has_attributes;
    on_->superblock_touched_ = true;
}

// --- What is kept in memory, and written some time after a change

u32 volume::bitmap_sum(metadata_block& map) const noexcept {
    const bool of_blocks = map.use.kind == block_kind::block_bitmap;
    const u32 bits = of_blocks ? blocks_a_group_ : inodes_a_group_;
    return sum(map.bytes().first(bits / 8), seed_) & groups_[map.use.owner].sum_mask;
}

void volume::note_bitmap(metadata_block& map) noexcept {
    if (!checksums_) return;
    group& g = groups_[map.use.owner];
    (map.use.kind == block_kind::block_bitmap ? g.block_bitmap_sum : g.inode_bitmap_sum) = bitmap_sum(map);
    g.touched = true;
}

k::status volume::write_descriptor(u32 number) noexcept {
    const group& g = groups_[number];
    buffer room = TRY(buffer::create(descriptor_bytes_));
    const std::span bytes = room.bytes();
    TRY(read_bytes(descriptor_offset(number), bytes));
    group_descriptor d{};
    const std::size_t known = std::min(bytes.size(), sizeof(d));
    std::memcpy(&d, bytes.data(), known);
    const auto low = [](u32 n) { return static_cast<u16>(n); };
    const auto high = [](u32 n) { return static_cast<u16>(n >> 16); };
    d.free_blocks_low = low(g.free_blocks), d.free_blocks_high = high(g.free_blocks);
    d.free_inodes_low = low(g.free_inodes), d.free_inodes_high = high(g.free_inodes);
    d.directories_low = low(g.directories), d.directories_high = high(g.directories);
    const bool summed = features_read_only_ & (has_checksums | has_group_checksums);
    if (summed) {
        d.unused_inodes_low = low(g.unused_inodes), d.unused_inodes_high = high(g.unused_inodes);
        d.flags = g.flags;
    }
    if (checksums_) {
        d.block_bitmap_sum_low = low(g.block_bitmap_sum), d.block_bitmap_sum_high = high(g.block_bitmap_sum);
        d.inode_bitmap_sum_low = low(g.inode_bitmap_sum), d.inode_bitmap_sum_high = high(g.inode_bitmap_sum);
    }
    std::memcpy(bytes.data(), &d, known);
    if (summed) {
        d.checksum = static_cast<u16>(descriptor_sum(number, bytes));
        std::memcpy(bytes.data(), &d, known);
    }
    return write_bytes(descriptor_offset(number), bytes);
}

k::status volume::write_superblock() noexcept {
    const u64 free = free_blocks();
    super_.free_blocks_low = static_cast<u32>(free);
    if (features_incompatible_ & has_64bit) super_.free_blocks_high = static_cast<u32>(free >> 32);
    super_.free_inodes = free_inodes();
    super_.written_s = static_cast<u32>(ktime::realtime_now() / ktime::second);
    if (checksums_)
        super_.checksum = sum(std::as_bytes(std::span(&super_, 1)).first(offsetof(superblock, checksum)), ~u32{0});
    buffer room = TRY(buffer::create(sizeof(super_)));
    std::memcpy(room.bytes().data(), &super_, sizeof(super_));
    return write_bytes(superblock_offset, room.bytes());
}

k::status volume::write_changed() noexcept {
    TRY(metadata_.write_changed());
    for (u32 n = 0; n < groups_.size(); n++) {
        if (!groups_[n].touched) continue;
        TRY(write_descriptor(n));
        groups_[n].touched = false;
        superblock_touched_ = true;
    }
    if (superblock_touched_) TRY(write_superblock());
    superblock_touched_ = false;
    return {};
}

k::status volume::say_clean(u64 changes_known) noexcept {
    changes_.take();
    k::status done;
    if (!read_only() && !clean_on_disk_ && changes() <= changes_known) {
        done = write_changed();
        if (done) done = device().cache().sync();
        if (done) {
            super_.state |= state_clean;
            done = write_superblock();
            if (done) done = device().cache().sync();
            clean_on_disk_ = static_cast<bool>(done);
            if (!done) super_.state &= static_cast<u16>(~state_clean);
        }
    }
    changes_.give_back();
    return done;
}

} // namespace ext
