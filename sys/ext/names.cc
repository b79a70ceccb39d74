#include "sys/ext/names.h"

#include "sys/ext/entries.h"
#include "sys/ext/hash_tree.h"
#include "sys/vfs/name.h"

namespace ext {

namespace {

// Only the nodes of a hash tree may have no sum where blocks of entries have theirs: the root, behind whose ".."
// nothing follows, and below it what looks like one entry that is not in use.
bool may_be_node(std::span<const std::byte> block, u64 logical) {
    const std::size_t at = logical ? 0 : needed_for(1);
    const entry_header first = header_at(block, 0), h = header_at(block, at);
    return logical ? !h.inode && h.bytes == block.size() : first.bytes == at && at + h.bytes == block.size();
}

k::status check_entries(volume& on, inode& of, std::span<const std::byte> block, u64 logical) noexcept {
    std::size_t last = 0;
    for (std::size_t at = 0; at < block.size();) {
        const entry_header h = header_at(block, at);
        const std::size_t left = block.size() - at;
        const unsigned name_bytes = on.names_have_types() ? h.name_bytes : h.name_bytes | unsigned{h.type} << 8;
        if (h.bytes % 4 || h.bytes < sizeof(h) || h.bytes > left || sizeof(h) + name_bytes > h.bytes ||
            name_bytes > vfs::longest_name || (left > h.bytes && left - h.bytes < sizeof(h)))
            return on.damaged("a bad entry in the directory", of.number);
        last = at;
        at += h.bytes;
    }
    if (!on.keeps_sums()) return {};
    const std::size_t tail_at = block.size() - sizeof(entry_tail);
    entry_tail tail;
    std::memcpy(&tail, block.data() + tail_at, sizeof(tail));
    // Nodes of the hash tree keep theirs elsewhere; nothing is read from them. What is left there of a block's earlier
    // life may look like a tail, but is none unless the last entry is that.
    if (last != tail_at || tail.looks.inode || tail.looks.bytes != sizeof(tail) || tail.looks.name_bytes ||
        tail.looks.type != tail_type)
        return (of.record.flags & inode_is_indexed) && may_be_node(block, logical)
                   ? k::status()
                   : k::status(on.damaged("no checksum in the directory", of.number));
    if (on.sum(block.first(tail_at), of.checksum_seed()) != tail.checksum)
        return on.damaged("the checksum is wrong in the directory", of.number);
    return {};
}

} // namespace

k::result<metadata_ref> entries_of(volume& on, inode& of, u64 logical) noexcept {
    metadata_ref block = TRY(of.block(logical));
    if (block->is_known(block->entries_are_right)) return block;
    TRY(check_entries(on, of, block->bytes(), logical));
    block->note(block->entries_are_right);
    return block;
}

k::result<entry> directory_reader::next() noexcept {
    const u64 size = of_.disk_size();
    for (;;) {
        const std::size_t in_block = at_ % on_.block_bytes();
        if (!in_block || !block_) {
            if (at_ >= size) return k::error::noent;
            if (size % on_.block_bytes()) return on_.damaged("impossible size of the directory", of_.number);
            block_ = TRY(entries_of(on_, of_, at_ >> on_.block_shift()));
        }
        const std::span<const std::byte> block = block_->bytes();
        const entry_header h = header_at(block, in_block);
        const u64 here = at_;
        at_ += h.bytes;
        if (!h.inode || !h.name_bytes || here < wanted_) continue;
        const std::string_view name(reinterpret_cast<const char*>(block.data()) + in_block + sizeof(h), h.name_bytes);
        return entry{h.inode, on_.names_have_types() ? static_cast<entry_type>(h.type) : entry_type::unknown, name,
                     at_};
    }
}

namespace {

bool is_dots(std::string_view name) {
    return name == "." || name == "..";
}

// Calls visit(block) for the blocks in which a name may stand, until it returns true; ENOENT: it did not. With a hash
// tree these are few; "." and ".." stand in the first one.
template <class Visit> k::status for_blocks_of(volume& on, inode& in, std::string_view name, Visit visit) noexcept {
    const auto look = [&](u64 logical) -> k::result<bool> { return visit(*TRY(entries_of(on, in, logical))); };
    if (in.disk_size() % on.block_bytes()) return on.damaged("impossible size of the directory", in.number);
    const u64 blocks = in.disk_size() >> on.block_shift();
    if (!is_dots(name)) {
        auto tree = hash_tree::open(on, in);
        if (tree) {
            u64 leaf = TRY(tree->first_leaf(name));
            while (!TRY(look(leaf)))
                leaf = TRY(tree->next_leaf());
            return {};
        }
        if (tree.error() != k::error::noent) return tree.error();
    }
    for (u64 n = 0; n < blocks; n++)
        if (TRY(look(n))) return {};
    return k::error::noent;
}

// Where an entry with that name stands in a block, and where the one before it (itself, if it is the first). False: it
// does not.
bool find_in(std::span<const std::byte> block, std::string_view name, std::size_t& at, std::size_t& before) {
    before = 0;
    for (at = 0; at < block.size(); before = at, at += header_at(block, at).bytes)
        if (header_at(block, at).inode && name_at(block, at) == name) return true;
    return false;
}

} // namespace

k::result<u32> find_entry(volume& on, inode& in, std::string_view name) noexcept {
    u32 found = 0;
    TRY(for_blocks_of(on, in, name, [&](metadata_block& block) -> k::result<bool> {
        std::size_t at, before;
        if (!find_in(block.bytes(), name, at, before)) return false;
        found = header_at(block.bytes(), at).inode;
        return true;
    }));
    return found;
}

k::result<bool> has_no_entries(volume& on, inode& in) noexcept {
    directory_reader reader(on, in, 0);
    for (;;) {
        auto e = reader.next();
        if (!e) return e.error() == k::error::noent ? k::result<bool>(true) : k::result<bool>(e.error());
        if (e->name != "." && e->name != "..") return false;
    }
}

// --- Changing

namespace {

u8 type_byte(const volume& on, vfs::node_type type) {
    using vfs::node_type;
    if (!on.names_have_types()) return 0;
    switch (type) {
    case node_type::regular: return static_cast<u8>(entry_type::regular);
    case node_type::directory: return static_cast<u8>(entry_type::directory);
    case node_type::character: return static_cast<u8>(entry_type::character);
    case node_type::block: return static_cast<u8>(entry_type::block);
    case node_type::fifo: return static_cast<u8>(entry_type::fifo);
    case node_type::socket: return static_cast<u8>(entry_type::socket);
    case node_type::link: return static_cast<u8>(entry_type::link);
    }
    return 0;
}

void put_entry(std::span<std::byte> block, std::size_t at, const entry_header& h, std::string_view name) {
    put_header(block, at, h);
    std::memcpy(block.data() + at + sizeof(h), name.data(), name.size());
}

} // namespace

void changed_entries(change& by, inode& of, metadata_block& block) noexcept {
    volume& on = by.on();
    block.unlearn();
    block.note(block.entries_are_right);
    if (on.keeps_sums()) {
        const entry_header tail{0, sizeof(entry_tail), 0, tail_type};
        put_header(block.bytes(), entries_end(on), tail);
        block.sum_later(of.checksum_seed());
    }
    by.changed(block);
}

bool put_into(const volume& on, std::span<std::byte> block, std::string_view name, u32 number, u8 type) noexcept {
    const std::size_t needed = needed_for(name.size()), end = entries_end(on);
    for (std::size_t at = 0; at < end;) {
        const entry_header h = header_at(block, at);
        if (at + h.bytes > end) return false; // a block without a place for its sum: left alone
        const std::size_t used = h.inode ? needed_for(h.name_bytes) : 0;
        if (h.bytes >= used + needed) {
            if (used) put_header(block, at, {h.inode, static_cast<u16>(used), h.name_bytes, h.type});
            put_entry(block, at + used, {number, static_cast<u16>(h.bytes - used), static_cast<u8>(name.size()), type},
                      name);
            return true;
        }
        at += h.bytes;
    }
    return false;
}

namespace {

// A node of the hash tree: one entry that is not in use, over all of the block.
bool is_index_node(std::span<const std::byte> block) {
    const entry_header h = header_at(block, 0);
    return !h.inode && h.bytes == block.size();
}

// A directory with a hash tree becomes one without, which is as valid: the tree's nodes become blocks without entries.
// Whoever finds names by the tree would not find those that are added.
k::status drop_index(change& by, inode& of) noexcept {
    volume& on = by.on();
    if (!(of.record.flags & inode_is_indexed)) return {};
    const u64 blocks = of.disk_size() >> on.block_shift();
    for (u64 n = 0; n < blocks; n++) {
        const metadata_ref there = TRY(entries_of(on, of, n));
        const std::span block = there->bytes();
        if (n && !is_index_node(block)) continue;
        // In the first block the tree stands in what belongs to "..".
        std::size_t at = 0;
        if (!n) {
            entry_header up = header_at(block, needed_for(1));
            if (header_at(block, 0).bytes != needed_for(1) || up.name_bytes != 2 ||
                needed_for(1) + up.bytes != block.size())
                return on.damaged("a bad root of the index of the directory", of.number);
            at = needed_for(1) + needed_for(2);
            up.bytes = static_cast<u16>(entries_end(on) - needed_for(1));
            put_header(block, needed_for(1), up);
        } else {
            put_header(block, 0, {0, static_cast<u16>(entries_end(on)), 0, 0});
            at = sizeof(entry_header);
        }
        std::memset(block.data() + at, 0, block.size() - at);
        changed_entries(by, of, *there);
    }
    of.record.flags &= ~u32{inode_is_indexed};
    of.record_is_changed();
    return {};
}

// Finds a name: calls edit(block, at, before) in its block, `before` where the entry before it begins (or `at`).
// ENOENT.
template <class Edit>
k::status change_entry(change& by, inode& in, std::string_view name, u32 expected, Edit edit) noexcept {
    return for_blocks_of(by.on(), in, name, [&](metadata_block& there) -> k::result<bool> {
        const std::span block = there.bytes();
        std::size_t at, before;
        if (!find_in(block, name, at, before)) return false;
        if (header_at(block, at).inode != expected) return k::error::noent;
        edit(block, at, before);
        changed_entries(by, in, there);
        return true;
    });
}

} // namespace

// Into the leaf of a hash tree, which is made when the first block is full; without one into any block.
k::status add_entry(change& by, inode& in, std::string_view name, u32 number, vfs::node_type type) noexcept {
    volume& on = by.on();
    const u8 kind = type_byte(on, type);
    if (auto tree = hash_tree::open(on, in)) {
        const k::status added = tree->add(by, name, number, kind);
        if (added || added.error() != k::error::fbig) return added;
    } else if (tree.error() != k::error::noent) {
        return tree.error();
    }
    TRY(drop_index(by, in)); // it cannot be kept
    const u64 blocks = in.disk_size() >> on.block_shift();
    for (u64 n = 0; n < blocks; n++) {
        const u64 at = (in.block_with_room + n) % blocks;
        const metadata_ref block = TRY(entries_of(on, in, at));
        if (!put_into(on, block->bytes(), name, number, kind)) continue;
        in.block_with_room = at;
        changed_entries(by, in, *block);
        return {};
    }
    if (blocks == 1) {
        TRY(hash_tree::make(by, in));
        if (in.record.flags & inode_is_indexed) return TRY(hash_tree::open(on, in)).add(by, name, number, kind);
    }
    const metadata_ref block = TRY(in.add_block(by));
    put_header(block->bytes(), 0, {0, static_cast<u16>(entries_end(on)), 0, 0});
    (void)put_into(on, block->bytes(), name, number, kind);
    changed_entries(by, in, *block);
    in.block_with_room = blocks;
    return {};
}

k::status remove_entry(change& by, inode& in, std::string_view name, u32 expected) noexcept {
    return change_entry(by, in, name, expected, [&](std::span<std::byte> block, std::size_t at, std::size_t before) {
        entry_header h = header_at(block, at);
        if (at == before) {
            h.inode = 0;
            put_header(block, at, h);
            return;
        }
        entry_header front = header_at(block, before);
        front.bytes = static_cast<u16>(front.bytes + h.bytes);
        put_header(block, before, front);
    });
}

k::status set_entry(change& by, inode& in, std::string_view name, u32 expected, u32 number,
                    vfs::node_type type) noexcept {
    if (name == "..") {
        if (auto tree = hash_tree::open(by.on(), in)) {
            if (TRY(find_entry(by.on(), in, name)) != expected) return k::error::noent;
            tree->set_parent(by, number);
            return {};
        }
        TRY(drop_index(by, in)); // none, or none that is known
    }
    return change_entry(by, in, name, expected, [&](std::span<std::byte> block, std::size_t at, std::size_t) {
        entry_header h = header_at(block, at);
        h.inode = number;
        h.type = type_byte(by.on(), type);
        put_header(block, at, h);
    });
}

k::status make_first_entries(change& by, inode& of, u32 parent) noexcept {
    volume& on = by.on();
    const metadata_ref fresh = TRY(of.add_block(by));
    const std::span block = fresh->bytes();
    const u8 kind = type_byte(on, vfs::node_type::directory);
    const std::size_t second = needed_for(1);
    put_entry(block, 0, {of.number, static_cast<u16>(second), 1, kind}, ".");
    put_entry(block, second, {parent, static_cast<u16>(entries_end(on) - second), 2, kind}, "..");
    changed_entries(by, of, *fresh);
    return {};
}

} // namespace ext
