// Writing where the blocks of a file lie. The list in memory is the truth; the nodes on the disk are made anew from it,
// in the blocks that the old ones had.
#include "sys/ext/store.h"

#include <cstring>

namespace ext {

namespace {

constexpr unsigned root_entries = 4;
constexpr u32 longest_unwritten = longest_extent - 1;

template <class T> void put(std::span<std::byte> node, std::size_t index, const T& what) {
    std::memcpy(node.data() + sizeof(extent_header) + index * sizeof(T), &what, sizeof(T));
}

// Extents as the disk can say them: not too long.
k::status cut_up(const extent_list& map, array<extent_leaf>& to) noexcept {
    for (const extent& e : map.all()) {
        const u32 most = e.unwritten ? longest_unwritten : longest_extent;
        for (u32 done = 0; done < e.count;) {
            const u32 part = std::min(most, e.count - done);
            const u64 physical = e.physical + done;
            TRY(to.append({.logical = e.logical + done,
                           .length = static_cast<u16>(e.unwritten ? part + longest_extent : part),
                           .physical_high = static_cast<u16>(physical >> 32),
                           .physical_low = static_cast<u32>(physical)}));
            done += part;
        }
    }
    return {};
}

} // namespace

// The n-th block that holds the map: one that did, or a fresh one.
k::result<u64> inode::map_block(change& by, std::size_t index) noexcept {
    if (index < map_blocks_.size()) return map_blocks_[index];
    TRY(map_blocks_.reserve(index + 1));
    const auto all = map_.all();
    const block_run got = TRY(by.take_blocks(all.empty() ? 0 : all.back().physical, 1));
    TRY(map_blocks_.append(got.first));
    return got.first;
}

k::status inode::drop_map_blocks(change& by, std::size_t keep) noexcept {
    while (map_blocks_.size() > keep) {
        const u64 last = map_blocks_.back();
        map_blocks_.erase(map_blocks_.size() - 1);
        TRY(by.give_blocks(last, 1, true));
    }
    return {};
}

k::status inode::store_map(change& by) noexcept {
    if (!map_loaded_ || !map_changed_) return {};
    TRY(record.flags & inode_has_extents ? store_extents(by) : store_indirect(by));
    map_changed_ = false;
    record_changed_ = true;
    return {};
}

k::status inode::store_extents(change& by) noexcept {
    volume& on = store_->on();
    const std::size_t fit = (on.block_bytes() - sizeof(extent_header)) / sizeof(extent_leaf);
    array<extent_leaf> leaves;
    TRY(cut_up(map_, leaves));
    array<extent_index> above; // what the next level has to name
    std::span root(reinterpret_cast<std::byte*>(&record) + offsetof(inode_record, map), sizeof(record.map));
    std::size_t used = 0;
    unsigned depth = 0;
    // Writes entries into as many nodes as it takes; what names those is left in `names`.
    const auto write_level = [&](auto entries, array<extent_index>& names) NO_THREAD_SAFETY_ANALYSIS -> k::status {
        for (std::size_t first = 0; first < entries.size(); first += fit) {
            const auto part = entries.subspan(first, std::min(fit, entries.size() - first));
            const u64 number_of_node = TRY(map_block(by, used++));
            const metadata_ref node = TRY(by.fresh(number_of_node, {block_kind::map, number}));
            std::memset(node->bytes().data(), 0, node->bytes().size());
            node->as<extent_header>() = {extent_magic, static_cast<u16>(part.size()), static_cast<u16>(fit),
                                         static_cast<u16>(depth), 0};
            for (std::size_t i = 0; i < part.size(); i++)
                put(node->bytes(), i, part[i]);
            const std::size_t tail = sizeof(extent_header) + fit * sizeof(extent_leaf);
            if (on.keeps_sums()) node->as<u32>(tail) = on.sum(node->bytes().first(tail), checksum_seed());
            TRY(names.append({.logical = part[0].logical,
                              .child_low = static_cast<u32>(number_of_node),
                              .child_high = static_cast<u16>(number_of_node >> 32),
                              .unused = 0}));
        }
        depth++;
        return {};
    };
    if (leaves.size() > root_entries) {
        TRY(write_level(leaves.all(), above));
        while (above.size() > root_entries) {
            array<extent_index> below = std::move(above);
            TRY(write_level(below.all(), above));
        }
    }
    const std::size_t count = depth ? above.size() : leaves.size();
    const extent_header h{extent_magic, static_cast<u16>(count), root_entries, static_cast<u16>(depth), 0};
    std::memset(root.data(), 0, root.size());
    std::memcpy(root.data(), &h, sizeof(h));
    for (std::size_t i = 0; i < count; i++)
        depth ? put(root, i, above[i]) : put(root, i, leaves[i]);
    return drop_map_blocks(by, used);
}

// A block of pointers to what is mapped from `logical` on, or to the pointers to that; 0: nothing is.
k::result<u32> inode::store_pointers(change& by, unsigned level, u64 logical, std::size_t& used) noexcept {
    volume& on = store_->on();
    const unsigned shift = on.block_shift() - 2;
    const u64 span = u64{1} << (shift * level);
    const mapped_run run = map_.find(logical);
    if (!run.physical && run.count >= span) return u32{0};
    if (!level) return static_cast<u32>(run.physical);
    const u64 block = TRY(map_block(by, used++));
    // Whole, or as it was: the record on the disk may lead to it.
    buffer room = TRY(buffer::create(on.block_bytes()));
    for (u32 i = 0; i < on.block_bytes() / sizeof(u32); i++)
        room.as<u32>(i * sizeof(u32)) = TRY(store_pointers(by, level - 1, logical + i * (span >> shift), used));
    std::ranges::copy(room.bytes(), TRY(by.fresh(block, {block_kind::map, number}))->bytes().begin());
    TRY(by.keep_within_limits());
    return static_cast<u32>(block);
}

k::status inode::store_indirect(change& by) noexcept {
    const unsigned shift = store_->on().block_shift() - 2;
    std::size_t used = 0;
    u64 logical = 0;
    for (unsigned i = 0; i < map_words; i++) {
        const unsigned level = i < direct_words ? 0 : i - direct_words + 1;
        const u32 word = TRY(store_pointers(by, level, logical, used));
        record.map[i] = word;
        logical += u64{1} << (shift * level);
    }
    return drop_map_blocks(by, used);
}

} // namespace ext
