#include "sys/ext/names.h"

#include "sys/vfs/name.h"

#include <cstring>

namespace ext {

namespace {

entry_header header_at(std::span<const std::byte> block, std::size_t at) {
    entry_header h;
    std::memcpy(&h, block.data() + at, sizeof(h));
    return h;
}

} // namespace

k::status check_entries(volume& on, inode& of, std::span<const std::byte> block) noexcept {
    for (std::size_t at = 0; at < block.size();) {
        const entry_header h = header_at(block, at);
        const std::size_t left = block.size() - at;
        const unsigned name_bytes = on.names_have_types() ? h.name_bytes : h.name_bytes | unsigned{h.type} << 8;
        if (h.bytes % 4 || h.bytes < sizeof(h) || h.bytes > left || sizeof(h) + name_bytes > h.bytes ||
            name_bytes > vfs::longest_name || (left > h.bytes && left - h.bytes < sizeof(h)))
            return on.damaged("a bad entry in the directory", of.number);
        at += h.bytes;
    }
    if (!on.keeps_sums()) return {};
    const std::size_t tail_at = block.size() - sizeof(entry_tail);
    entry_tail tail;
    std::memcpy(&tail, block.data() + tail_at, sizeof(tail));
    // Nodes of the hash tree keep theirs elsewhere; nothing is read from them.
    if (tail.looks.inode || tail.looks.bytes != sizeof(tail) || tail.looks.name_bytes || tail.looks.type != tail_type)
        return of.record.flags & inode_is_indexed ? k::status()
                                                  : k::status(on.damaged("no checksum in the directory", of.number));
    if (on.sum(block.first(tail_at), of.checksum_seed()) != tail.checksum)
        return on.damaged("the checksum is wrong in the directory", of.number);
    return {};
}

k::result<directory_reader> directory_reader::create(volume& on, inode& of, u64 offset) noexcept {
    return directory_reader(on, of, offset, TRY(buffer::create(on.block_bytes())));
}

k::result<entry> directory_reader::next() noexcept {
    const u64 size = of_.disk_size();
    for (;;) {
        const std::size_t in_block = at_ % on_.block_bytes();
        if (!in_block || !loaded_) {
            if (at_ >= size) return k::error::noent;
            if (size % on_.block_bytes()) return on_.damaged("impossible size of the directory", of_.number);
            TRY(of_.read_block(at_ >> on_.block_shift(), room_.bytes()));
            TRY(check_entries(on_, of_, room_.bytes()));
            loaded_ = true;
        }
        const std::span<const std::byte> block = room_.bytes();
        const entry_header h = header_at(block, in_block);
        const u64 here = at_;
        at_ += h.bytes;
        if (!h.inode || !h.name_bytes || here < wanted_) continue;
        const std::string_view name(reinterpret_cast<const char*>(block.data()) + in_block + sizeof(h), h.name_bytes);
        return entry{h.inode, on_.names_have_types() ? static_cast<entry_type>(h.type) : entry_type::unknown, name,
                     at_};
    }
}

k::result<u32> find_entry(volume& on, inode& in, std::string_view name) noexcept {
    directory_reader reader = TRY(directory_reader::create(on, in, 0));
    for (;;) {
        const entry e = TRY(reader.next());
        if (e.name == name) return e.inode;
    }
}

k::result<bool> has_no_entries(volume& on, inode& in) noexcept {
    directory_reader reader = TRY(directory_reader::create(on, in, 0));
    for (;;) {
        auto e = reader.next();
        if (!e) return e.error() == k::error::noent ? k::result<bool>(true) : k::result<bool>(e.error());
        if (e->name != "." && e->name != "..") return false;
    }
}

} // namespace ext
