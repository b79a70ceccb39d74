// drivers/block/partitions: sound tables are read, and whatever else stands there ends in an answer within the disk.
#include "drivers/block/partitions.h"
#include "kernel/lib/random.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

#include <algorithm>
#include <array>

using block::partition;

namespace {

constexpr k::u64 sectors = 2048; // of 512 bytes
constexpr k::u8 type_linux = 0x83, type_extended = 0x05, type_gpt = 0xee;

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

} // namespace

SELFTEST(partitions, sums_are_those_of_the_standard) {
    constexpr std::string_view text = "123456789";
    const auto bytes = std::as_bytes(std::span(text));
    EXPECT_EQ(block::crc32(bytes), 0xcbf43926u);
    EXPECT_EQ(block::crc32(bytes.subspan(4), block::crc32(bytes.first(4))), 0xcbf43926u);
}

SELFTEST(partitions, a_boot_record_and_its_chain_are_read) {
    table_disk d;
    REQUIRE(d);
    EXPECT_EQ(d.find(), 0u); // nothing there
    d.put_boot_record(0);
    d.put_entry(0, 0, type_linux, 64, 100);
    d.put_entry(0, 2, type_extended, 1000, 1000);
    d.put_boot_record(1000);
    d.put_entry(1000, 0, type_linux, 10, 40);
    d.put_entry(1000, 1, type_extended, 200, 300);
    d.put_boot_record(1200);
    d.put_entry(1200, 0, type_linux, 5, 50);
    REQUIRE(d.find() == 3);
    EXPECT(d.found[0].number == 1 && d.found[0].first == 64 && d.found[0].sectors == 100);
    EXPECT(d.found[1].number == 5 && d.found[1].first == 1010 && d.found[1].sectors == 40);
    EXPECT(d.found[2].number == 6 && d.found[2].first == 1205 && d.found[2].sectors == 50);
    d.bad_sector = 1200;
    EXPECT_EQ(d.find(), ~0u); // the disk's error, not an empty table
}

SELFTEST(partitions, a_chain_that_bites_its_tail_ends) {
    table_disk d;
    REQUIRE(d);
    d.put_boot_record(0);
    d.put_entry(0, 0, type_extended, 100, 1000);
    d.put_boot_record(100);
    d.put_entry(100, 1, type_extended, 50, 10);
    d.put_boot_record(150);
    d.put_entry(150, 1, type_extended, 50, 10);
    EXPECT_EQ(d.find(), 0u);
    EXPECT(d.reads < 200);
}

SELFTEST(partitions, what_lies_outside_or_over_another_is_left_out) {
    table_disk d;
    REQUIRE(d);
    d.put_boot_record(0);
    d.put_entry(0, 0, type_linux, 64, 100);
    d.put_entry(0, 1, type_linux, 100, 10);  // over the first
    d.put_entry(0, 2, type_linux, 2000, 49); // one sector too long
    d.put_entry(0, 3, type_linux, ~0u, ~0u);
    EXPECT_EQ(d.find(), 1u);
}

SELFTEST(partitions, a_gpt_is_read_with_any_block) {
    for (k::u32 block : {512u, 4096u}) {
        table_disk d(block);
        REQUIRE(d);
        const k::u64 first = 2 + d.table_blocks(), in_sectors = block / 512;
        d.put_gpt_entry(0, first, first + 3);
        d.put_gpt_entry(4, first + 10, first + 10);
        d.put_gpt_entry(5, 1, 1);                     // in the table itself
        d.put_gpt_entry(6, first + 9, first + 8);     // backwards
        d.put_gpt_entry(100, first + 20, first + 21); // no number for it
        d.put_gpt();
        REQUIRE(d.find() == 2);
        EXPECT(d.found[0].number == 1 && d.found[0].first == first * in_sectors &&
               d.found[0].sectors == 4 * in_sectors);
        EXPECT(d.found[1].number == 5 && d.found[1].sectors == in_sectors);
        // The first header spoilt: its copy at the end serves.
        d.put<k::u8>(block + 60, 77);
        EXPECT_EQ(d.find(), 2u);
        d.put<k::u8>((d.blocks() - 1) * block + 60, 77);
        EXPECT_EQ(d.find(), 0u);
    }
}

SELFTEST(partitions, a_header_with_a_right_sum_may_still_lie) {
    struct {
        unsigned offset;
        k::u64 value;
        unsigned width;
    } constexpr lies[] = {
        {12, 91, 4},  {12, 0xffffffff, 4}, {24, 5, 8},    {40, 5000, 8}, {48, ~0ull, 8},
        {72, 0, 8},   {72, ~0ull, 8},      {72, 2047, 8}, {80, ~0u, 4},  {80, 100000, 4},
        {84, 127, 4}, {84, 0, 4},          {84, 8192, 4}, {84, 192, 4},  {88, 1, 4},
    };
    for (const auto& lie : lies) {
        table_disk d;
        REQUIRE(d);
        d.put_gpt_entry(0, 100, 200);
        d.put_gpt();
        for (const k::u64 at : {k::u64{1}, d.blocks() - 1}) {
            std::memcpy(d.content.data() + at * 512 + lie.offset, &lie.value, lie.width);
            d.seal_header(at);
        }
        EXPECT_EQ(d.find(), 0u);
    }
}

SELFTEST(partitions, any_mutation_ends_in_an_answer) {
    k::random random(selftest::seed());
    table_disk d;
    support::buffer good(sectors * 512);
    REQUIRE(d && good);
    d.put_boot_record(0);
    for (unsigned i = 0; i < 10; i++)
        d.put_gpt_entry(i, 100 + 20 * i, 110 + 20 * i);
    d.put_gpt();
    std::memcpy(good.data(), d.content.data(), good.size());
    unsigned with_some = 0;
    for (unsigned round = 0; round < 400; round++) {
        std::memcpy(d.content.data(), good.data(), good.size());
        const unsigned changes = 1 + static_cast<unsigned>(random.below(6));
        for (unsigned i = 0; i < changes; i++) {
            constexpr k::u64 interesting[] = {0, 1, 0x7f, 0x80, 0xff};
            const k::u64 where = random.below(4) ? random.below(3 * 512) : random.below(good.size());
            d.content.data()[where] =
                static_cast<std::byte>(random.below(2) ? interesting[random.below(5)] : random.next());
        }
        if (random.below(2)) // with right sums, so that the lie is believed as far as it can be
            for (const k::u64 at : {k::u64{1}, d.blocks() - 1}) {
                const k::u64 table = std::min(d.get<k::u64>(at * 512 + 72), sectors - 40);
                d.put<k::u32>(at * 512 + 88, block::crc32(d.content.bytes().subspan(
                                                 table * 512, table_disk::entries * table_disk::each)));
                d.seal_header(at);
            }
        const unsigned count = d.find();
        with_some += count && count != ~0u;
        EXPECT(d.reads < 4000);
        d.reads = 0;
    }
    EXPECT(with_some > 50);
}
