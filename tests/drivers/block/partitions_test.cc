// drivers/block/partitions: sound tables are read, and whatever else stands there ends in an answer within the disk.
#include "kernel/lib/random.h"
#include "tests/drivers/block/table_disk.h"

#include <algorithm>

using namespace partition_test;

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
