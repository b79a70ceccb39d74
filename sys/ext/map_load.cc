// Reading where the blocks of a file lie. A tree can be made to lead anywhere, and to itself: extents must rise, every
// node must hold some, each level is one lower than the one above, and a file cannot have more blocks than the disk.
#include "sys/ext/store.h"

#include <cstring>

namespace ext {

namespace {

template <class T> T record_at(std::span<const std::byte> node, std::size_t index) {
    T out;
    std::memcpy(&out, node.data() + sizeof(extent_header) + index * sizeof(T), sizeof(T));
    return out;
}

} // namespace

k::status inode::load_map() noexcept {
    if (map_loaded_) return {};
    map_ = {};
    map_blocks_.clear();
    const auto* words = reinterpret_cast<const std::byte*>(&record) + offsetof(inode_record, map);
    if (record.flags & inode_has_extents) {
        extent_header root;
        std::memcpy(&root, words, sizeof(root));
        if (root.depth > deepest_extents) return store_->on().damaged("too deep an extent tree, inode", number);
        TRY(load_extents({words, sizeof(record.map)}, root.depth, 0, u64{1} << 32));
    } else {
        u64 logical = 0;
        for (unsigned i = 0; i < map_words; i++) {
            const u32 block = record.map[i];
            TRY(load_pointer(block, i < direct_words ? 0 : i - direct_words + 1, logical));
        }
    }
    map_loaded_ = true;
    return {};
}

k::status inode::note_map_block(u64 block) noexcept {
    volume& on = store_->on();
    if (!on.is_block(block)) return on.damaged("a map outside of the disk, inode", number);
    if (map_blocks_.size() + map_.blocks() > on.blocks())
        return on.damaged("more blocks than the disk has, inode", number);
    return map_blocks_.append(block);
}

// A node whose extents lie in [from, to).
k::status inode::load_extents(std::span<const std::byte> node, unsigned depth, u64 from, u64 to) noexcept {
    volume& on = store_->on();
    extent_header h;
    std::memcpy(&h, node.data(), sizeof(h));
    const bool is_root = node.size() == sizeof(record.map);
    if (h.magic != extent_magic || h.depth != depth || h.entries > h.room ||
        sizeof(h) + h.room * sizeof(extent_leaf) > node.size() || (!h.entries && (depth || !is_root)))
        return on.damaged("a bad node of the extents of inode", number);
    for (unsigned i = 0; i < h.entries; i++) {
        if (!depth) {
            const auto e = record_at<extent_leaf>(node, i);
            const bool unwritten = e.length > longest_extent;
            const u32 length = unwritten ? e.length - longest_extent : e.length;
            const u64 physical = u64{e.physical_high} << 32 | e.physical_low;
            if (!length || e.logical < from || u64{e.logical} + length > to || !on.are_blocks(physical, length))
                return on.damaged("a bad extent of inode", number);
            if (map_.blocks() + length > on.blocks()) return on.damaged("more blocks than the disk has, inode", number);
            if (const k::status added = map_.append({e.logical, length, physical, unwritten}); !added)
                return added.error() == k::error::io ? on.damaged("extents in disorder of inode", number)
                                                     : added.error();
            continue;
        }
        const auto e = record_at<extent_index>(node, i);
        const u64 child = u64{e.child_high} << 32 | e.child_low;
        const u64 end = i + 1u < h.entries ? record_at<extent_index>(node, i + 1).logical : to;
        if (e.logical < from || e.logical >= end || end > to) return on.damaged("extents in disorder of inode", number);
        TRY(note_map_block(child));
        const metadata_ref below = TRY(on.blocks_in_memory().get(child, {block_kind::map, number}));
        if (on.keeps_sums() && !below->is_known(below->sum_is_right)) {
            const std::size_t tail = sizeof(h) + below->as<extent_header>().room * sizeof(extent_leaf);
            if (tail + sizeof(u32) > below->bytes().size() ||
                on.sum(below->bytes().first(tail), checksum_seed()) != below->as<u32>(tail))
                return on.damaged("the checksum is wrong of the extents of inode", number);
            below->note(below->sum_is_right);
        }
        TRY(load_extents(below->bytes(), depth - 1, e.logical, end));
    }
    return {};
}

// Level 0: a block of the file; else a block of pointers to those of the level below. 0: a hole of that many.
k::status inode::load_pointer(u32 block, unsigned level, u64& logical) noexcept {
    volume& on = store_->on();
    const unsigned pointers_shift = on.block_shift() - 2;
    if (!block) {
        logical += u64{1} << (pointers_shift * level);
        return {};
    }
    if (level) return load_indirect(block, level, logical);
    if (!on.is_block(block)) return on.damaged("a block outside of the disk, inode", number);
    if (logical >= ~u32{0} || map_.blocks() >= on.blocks())
        return on.damaged("more blocks than the disk has, inode", number);
    TRY(map_.append({static_cast<u32>(logical), 1, block, false}));
    logical++;
    return {};
}

k::status inode::load_indirect(u32 block, unsigned level, u64& logical) noexcept {
    volume& on = store_->on();
    TRY(note_map_block(block));
    const metadata_ref pointers = TRY(on.blocks_in_memory().get(block, {block_kind::map, number}));
    for (u32 i = 0; i < on.block_bytes() / sizeof(u32); i++)
        TRY(load_pointer(pointers->as<u32>(i * sizeof(u32)), level - 1, logical));
    return {};
}

} // namespace ext
