// A disk of 1 MiB that has a partition table, sound or not, for tests of drivers/block/partitions.h.
#pragma once

#include "drivers/block/partitions.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

#include <array>

namespace partition_test {

using block::partition;

inline constexpr k::u64 sectors = 2048; // of 512 bytes
inline constexpr k::u8 type_linux = 0x83, type_extended = 0x05, type_gpt = 0xee;

// A disk's first and last sectors are what tables are made of: the whole disk is 1 MiB here.
class table_disk final : public block::sector_reader {
  public:
    explicit table_disk(k::u32 block_bytes = 512) : block(block_bytes) {}
    explicit operator bool() const { return bool(content); }

    k::status read(k::u64 sector, std::span<std::byte> to) noexcept override {
        reads++;
        const k::u64 at = sector * 512;
        EXPECT(at % block == 0 && to.size() % block == 0);
        EXPECT(at <= content.size() && to.size() <= content.size() - at); // nothing outside is asked for
        if (at > content.size() || to.size() > content.size() - at) return k::error::io;
        if (sector == bad_sector) return k::error::io;
        std::memcpy(to.data(), content.data() + at, to.size());
        return {};
    }
    template <class T> void put(k::u64 at, T value) { std::memcpy(content.data() + at, &value, sizeof(T)); }
    template <class T> T get(k::u64 at) const {
        T value;
        std::memcpy(&value, content.data() + at, sizeof(T));
        return value;
    }

    // --- MBR, counted in blocks
    void put_boot_record(k::u64 at) { put<k::u16>(at * block + 510, 0xaa55); }
    void put_entry(k::u64 at, unsigned i, k::u8 type, k::u32 first, k::u32 count) {
        const k::u64 entry = at * block + 446 + 16 * i;
        put(entry + 4, type);
        put(entry + 8, first);
        put(entry + 12, count);
    }

    // --- GPT
    static constexpr k::u32 entries = 128, each = 128;
    k::u64 blocks() const { return sectors * 512 / block; }
    k::u64 table_blocks() const { return entries * each / block; }
    void put_gpt_entry(unsigned i, k::u64 first, k::u64 last) {
        for (const k::u64 table : {k::u64{2}, blocks() - 1 - table_blocks()}) {
            const k::u64 at = table * block + i * each;
            put<k::u64>(at, 0x1234 + i); // a type, not zero
            put(at + 32, first);
            put(at + 40, last);
        }
    }
    void put_gpt() {
        put_boot_record(0);
        put_entry(0, 0, type_gpt, 1, static_cast<k::u32>(blocks() - 1));
        seal(1, 2);
        seal(blocks() - 1, blocks() - 1 - table_blocks());
    }
    // Writes a header with right sums.
    void seal(k::u64 at, k::u64 table) {
        const k::u64 header = at * block;
        std::memcpy(content.data() + header, "EFI PART", 8);
        put<k::u32>(header + 8, 0x10000);
        put<k::u32>(header + 12, 92);
        put<k::u64>(header + 24, at);
        put<k::u64>(header + 40, 2 + table_blocks());
        put<k::u64>(header + 48, blocks() - 2 - table_blocks());
        put<k::u64>(header + 72, table);
        put<k::u32>(header + 80, entries);
        put<k::u32>(header + 84, each);
        put<k::u32>(header + 88, block::crc32(content.bytes().subspan(table * block, entries * each)));
        seal_header(at);
    }
    void seal_header(k::u64 at) {
        const k::u64 header = at * block;
        put<k::u32>(header + 16, 0);
        put<k::u32>(header + 16, block::crc32(content.bytes().subspan(header, 92)));
    }

    unsigned find() {
        auto count = block::find_partitions(*this, sectors, block, found);
        if (!count) return ~0u;
        for (unsigned i = 0; i < *count; i++) {
            const partition& p = found[i];
            EXPECT(p.number >= 1 && p.number <= found.size());
            EXPECT(p.sectors && p.first < sectors && p.sectors <= sectors - p.first);
            for (unsigned j = 0; j < i; j++) {
                const partition& o = found[j];
                EXPECT(o.number != p.number && (o.first >= p.first + p.sectors || p.first >= o.first + o.sectors));
            }
        }
        return *count;
    }

    const k::u32 block;
    support::buffer content{sectors * 512};
    std::array<partition, 15> found;
    k::u64 reads = 0, bad_sector = ~k::u64{0};
};

} // namespace partition_test
