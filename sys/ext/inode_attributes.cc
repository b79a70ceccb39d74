// The extended attributes of an inode: behind its record, and in a block that it may share with others. A shared block
// is never changed: who changes his attributes gets one of his own.
#include "sys/ext/store.h"
#include "sys/vfs/extended.h"

#include <cstring>

namespace ext {

void inode::set_attributes_block(u64 block) noexcept {
    record.attributes_low = static_cast<u32>(block);
    record.attributes_high = static_cast<u16>(block >> 32);
}

// What is behind the record, where there is room for the number that says that attributes stand there, and the end.
std::span<std::byte> inode::attribute_area(std::span<std::byte> raw) const noexcept {
    const std::size_t at = old_inode_bytes + record.extra_bytes;
    if (!record.extra_bytes || at + 2 * sizeof(u32) > raw.size()) return {};
    return raw.subspan(at);
}

void inode::put_attributes(std::span<std::byte> raw, const attribute_list& all) const noexcept {
    const std::span area = attribute_area(raw);
    if (area.empty()) return;
    std::memset(area.data(), 0, area.size());
    if (!all.count(true)) return;
    std::memcpy(area.data(), &attributes_magic, sizeof(attributes_magic));
    (void)all.write(area.subspan(sizeof(attributes_magic)), 0, true);
}

k::status inode::read_attributes_block(buffer& to) noexcept {
    volume& on = store_->on();
    const u64 block = attributes_block();
    if (!on.is_block(block)) return on.damaged("attributes outside of the disk, inode", number);
    to = TRY(buffer::create(on.block_bytes()));
    {
        lwkt::sleep_hold hold(on.attributes_lock);
        const metadata_ref there = TRY(on.blocks_in_memory().get(block, {block_kind::attributes, 0}));
        std::ranges::copy(there->bytes(), to.bytes().begin());
    }
    attributes_header& h = to.as<attributes_header>();
    if (h.magic != attributes_magic || h.blocks != 1 || !h.holders)
        return on.damaged("no block of attributes, of inode", number);
    if (!on.keeps_sums()) return {};
    const u32 expected = std::exchange(h.checksum, 0);
    if (on.sum(to.bytes(), on.sum_of(block, on.seed())) != expected)
        return on.damaged("the checksum is wrong of the attributes of inode", number);
    return {};
}

k::status inode::write_attributes_block(change& by, u64 block, buffer& from) noexcept {
    volume& on = store_->on();
    attributes_header& h = from.as<attributes_header>();
    h.checksum = 0;
    if (on.keeps_sums()) h.checksum = on.sum(from.bytes(), on.sum_of(block, on.seed()));
    lwkt::sleep_hold hold(on.attributes_lock);
    const metadata_ref there = TRY(by.fresh(block, {block_kind::attributes, 0}));
    std::ranges::copy(from.bytes(), there->bytes().begin());
    return {};
}

k::status inode::read_attributes(attribute_list& to) noexcept {
    volume& on = store_->on();
    buffer raw = TRY(buffer::create(on.inode_bytes()));
    std::ranges::copy(TRY(on.record_of(number)).bytes, raw.bytes().begin());
    const auto checked = [&](k::status read) {
        return read || read.error() != k::error::io ? read : k::status(on.damaged("bad attributes of inode", number));
    };
    const std::span area = attribute_area(raw.bytes());
    if (!area.empty() && !std::memcmp(area.data(), &attributes_magic, sizeof(attributes_magic)))
        TRY(checked(to.read(area.subspan(sizeof(attributes_magic)), 0, true)));
    if (!attributes_block()) return {};
    buffer block;
    TRY(read_attributes_block(block));
    return checked(to.read(block.bytes(), sizeof(attributes_header), false));
}

// The block goes, or has one holder less.
k::status inode::drop_attributes_block(change& by, u64 block) noexcept {
    buffer room;
    TRY(read_attributes_block(room));
    attributes_header& h = room.as<attributes_header>();
    if (h.holders == 1) return by.give_blocks(block, 1, true);
    h.holders--;
    return write_attributes_block(by, block, room);
}

// The new ones stand on the disk before the old ones go.
k::status inode::store_attributes(change& by, const attribute_list& all) noexcept {
    volume& on = store_->on();
    if (has_map()) TRY(load_map()); // how many sectors it has is recorded, too
    const u64 old = attributes_block();
    u64 block = 0;
    bool is_own = false;
    if (all.count(false)) {
        buffer room = TRY(buffer::create(on.block_bytes()));
        if (old) TRY(read_attributes_block(room));
        is_own = old && room.as<attributes_header>().holders == 1;
        block = is_own ? old : TRY(by.take_blocks(goal(), 1)).first;
        room.zero();
        const u32 hash = all.write(room.bytes(), sizeof(attributes_header), false);
        room.as<attributes_header>() = {attributes_magic, 1, 1, hash, 0, {}};
        if (const k::status written = write_attributes_block(by, block, room); !written) {
            if (!is_own) (void)by.give_blocks(block, 1, true);
            return written;
        }
    }
    by.note_attributes();
    if (old && !is_own) TRY(drop_attributes_block(by, old));
    set_attributes_block(block);
    note_sectors();
    record_sectors();
    return write_record(by, &all);
}

// --- As they are asked for

k::status inode::list_attributes(attribute_list& to) noexcept {
    lwkt::sleep_hold hold(map_lock);
    return read_attributes(to);
}

k::result<u64> inode::get_attribute(u8 kind, std::string_view name, std::span<std::byte> to) noexcept {
    attribute_list all;
    TRY(list_attributes(all));
    const attribute_list::one* const there = all.find(kind, name);
    if (!there) return k::error::nodata;
    const std::span value = all.value(*there);
    if (to.empty()) return value.size();
    if (value.size() > to.size()) return k::error::range;
    if (!value.empty()) std::memcpy(to.data(), value.data(), value.size());
    return value.size();
}

k::status inode::set_attribute(u8 kind, std::string_view name, std::optional<std::span<const std::byte>> value,
                               unsigned flags) noexcept {
    volume& on = store_->on();
    change by = TRY(change::begin(on));
    lwkt::sleep_hold hold(map_lock);
    if (erased) return k::error::io;
    attribute_list all;
    TRY(read_attributes(all));
    const bool is_there = all.find(kind, name);
    if (is_there && (flags & vfs::extended_create)) return k::error::exist;
    if (!is_there && ((flags & vfs::extended_replace) || !value)) return k::error::nodata;
    if (value)
        TRY(all.set(kind, name, *value));
    else
        all.remove(kind, name);
    const std::size_t behind = old_inode_bytes + record.extra_bytes + sizeof(attributes_magic);
    const bool has_area = record.extra_bytes && behind + sizeof(u32) <= on.inode_bytes();
    if (!all.distribute(has_area ? on.inode_bytes() - behind : 0, on.block_bytes() - sizeof(attributes_header)))
        return k::error::nospc;
    return store_attributes(by, all);
}

} // namespace ext
