// The entries of one block of a directory: what names.cc and hash_tree.cc share. Of blocks that were checked.
#pragma once

#include "sys/ext/names.h"

#include <cstring>

namespace ext {

inline entry_header header_at(std::span<const std::byte> block, std::size_t at) noexcept {
    entry_header h;
    std::memcpy(&h, block.data() + at, sizeof(h));
    return h;
}
inline void put_header(std::span<std::byte> block, std::size_t at, const entry_header& h) noexcept {
    std::memcpy(block.data() + at, &h, sizeof(h));
}
inline std::string_view name_at(std::span<const std::byte> block, std::size_t at) noexcept {
    return {reinterpret_cast<const char*>(block.data()) + at + sizeof(entry_header), header_at(block, at).name_bytes};
}
constexpr std::size_t needed_for(std::size_t name_bytes) noexcept {
    return k::align_up(sizeof(entry_header) + name_bytes, std::size_t{4});
}
// Where entries end in a block.
inline std::size_t entries_end(const volume& on) noexcept {
    return on.block_bytes() - (on.keeps_sums() ? sizeof(entry_tail) : 0);
}
// Puts an entry into a block. False: no room.
bool put_into(const volume& on, std::span<std::byte> block, std::string_view name, u32 number, u8 type) noexcept;
// Entries of a block were changed, and are right; its sum is made when it is written.
void changed_entries(change& by, inode& of, metadata_block& block) noexcept;

} // namespace ext
