// The extended attributes of an inode, in memory: read from where the disk keeps them (behind the inode's record, and
// in a block), changed, and laid out anew. Only bytes are looked at here; inode_attributes.cc knows where they lie.
//
// The areas are what some stranger may have written: whatever leads out of them, or into entries, is EIO.
#pragma once

#include "sys/ext/array.h"
#include "sys/ext/format.h"

#include <optional>
#include <string_view>

namespace ext {

class attribute_list {
  public:
    struct one {
        u8 kind, name_bytes;
        bool by_the_record; // it stood behind the inode's record
        u32 name_at, value_bytes, value_at;
    };

    // Adds what stands in an area: entries from `first` on, values wherever they say. EIO, ENOMEM.
    k::status read(std::span<const std::byte> area, std::size_t first, bool by_the_record) noexcept;

    // Null: none of that name.
    const one* find(u8 kind, std::string_view name) const noexcept;
    std::span<const one> all() const noexcept { return list_.all(); }
    std::string_view name(const one& of) const noexcept {
        return {reinterpret_cast<const char*>(bytes_.all().data()) + of.name_at, of.name_bytes};
    }
    std::span<const std::byte> value(const one& of) const noexcept {
        return bytes_.all().subspan(of.value_at, of.value_bytes);
    }
    // Sets one / takes it out, wherever it stood. ENOMEM, with nothing changed.
    k::status set(u8 kind, std::string_view name, std::span<const std::byte> value) noexcept;
    void remove(u8 kind, std::string_view name) noexcept;

    // Says of each whether it will stand by the record, where there is room for so many bytes of entries, values and
    // the end, or else in the block. False: they do not all fit.
    bool distribute(std::size_t record_room, std::size_t block_room) noexcept;
    // How many stand there.
    std::size_t count(bool by_the_record) const noexcept;
    // Writes those into an area that is zeroed, as read() takes it. Blocks have hashes: what the header says.
    u32 write(std::span<std::byte> area, std::size_t first, bool by_the_record) const noexcept;

  private:
    static std::size_t room_for(const one& of) noexcept;
    k::result<u32> append(std::span<const std::byte> what) noexcept;
    void sort() noexcept;

    array<one> list_;
    array<std::byte> bytes_; // names and values; what was taken out stays
};

// The hash of an entry in a block.
u32 attribute_hash(std::string_view name, std::span<const std::byte> value) noexcept;

} // namespace ext
