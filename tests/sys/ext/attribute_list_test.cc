// The layout of extended attributes: what is written is read again, against a model; and bytes that make no sense.
#include "kernel/lib/format.h"
#include "kernel/lib/random.h"
#include "kernel/selftest/selftest.h"
#include "sys/ext/attribute_list.h"

namespace {

using namespace ext;

constexpr std::size_t record_room = 92, block_bytes = 1024, header_bytes = sizeof(attributes_header);
constexpr unsigned names = 12;

// As a disk has them: behind a record, and in a block.
struct disk {
    std::byte record[record_room] = {}, block[block_bytes] = {};

    k::status read(attribute_list& to) const noexcept {
        TRY(to.read(record, 0, true));
        return to.read(block, header_bytes, false);
    }
    bool write(attribute_list& from) noexcept {
        if (!from.distribute(record_room, block_bytes - header_bytes)) return false;
        std::memset(record, 0, sizeof(record));
        std::memset(block, 0, sizeof(block));
        (void)from.write(record, 0, true);
        (void)from.write(block, header_bytes, false);
        return true;
    }
};

struct text {
    char room[24];
    std::size_t length;
    explicit text(unsigned number) {
        k::buffer_sink to(room);
        k::format_to(to, "{}{}", std::string_view("name-of-it-").substr(0, number), number);
        length = to.view().size();
    }
    operator std::string_view() const { return {room, length}; }
};

std::span<const std::byte> value_of(unsigned number, std::size_t bytes) {
    static constexpr auto pattern = [] {
        std::array<std::byte, 512> made{};
        for (std::size_t i = 0; i < made.size(); i++)
            made[i] = static_cast<std::byte>(i * 7);
        return made;
    }();
    return std::span(pattern).subspan(number, bytes);
}

} // namespace

SELFTEST(ext_attributes, what_is_written_is_read_again) {
    k::random random(selftest::seed());
    disk on;
    k::i32 model[names]; // lengths of values; -1: none
    std::ranges::fill(model, -1);
    unsigned refused = 0;
    for (unsigned step = 0; step < 3000; step++) {
        attribute_list all;
        REQUIRE(on.read(all));
        unsigned known = 0;
        for (unsigned n = 0; n < names; n++) {
            const attribute_list::one* const there = all.find(attribute_user, text(n));
            EXPECT_EQ(there != nullptr, model[n] >= 0);
            if (!there || model[n] < 0) continue;
            known++;
            EXPECT(std::ranges::equal(all.value(*there), value_of(n, static_cast<std::size_t>(model[n]))));
        }
        EXPECT_EQ(all.all().size(), known);
        EXPECT(!all.find(attribute_trusted, text(0)));
        const auto n = static_cast<unsigned>(random.below(names));
        const k::i32 bytes = random.below(3) ? static_cast<k::i32>(random.below(random.below(2) ? 40 : 400)) : -1;
        if (bytes < 0)
            all.remove(attribute_user, text(n));
        else
            REQUIRE(all.set(attribute_user, text(n), value_of(n, static_cast<std::size_t>(bytes))));
        if (on.write(all))
            model[n] = bytes;
        else
            refused++; // and then nothing is written
    }
    EXPECT(refused > 0);
}

SELFTEST(ext_attributes, what_fits_nowhere_is_refused) {
    attribute_list all;
    REQUIRE(all.set(attribute_user, "large", value_of(0, 500)));
    EXPECT(all.distribute(record_room, block_bytes - header_bytes));
    EXPECT_EQ(all.count(true), 0u);
    REQUIRE(all.set(attribute_user, "other", value_of(0, 500)));
    EXPECT(!all.distribute(record_room, block_bytes - header_bytes));
    all.remove(attribute_user, "other");
    REQUIRE(all.set(attribute_user, "small", value_of(0, 8)));
    EXPECT(all.distribute(record_room, block_bytes - header_bytes));
    EXPECT_EQ(all.count(true), 1u);
}

// Each step turns what was there by 5 bits (names) or 16 (values, padded with zeroes).
SELFTEST(ext_attributes, entries_have_the_hashes_of_the_format) {
    EXPECT_EQ(attribute_hash("a", {}), 0x61u);
    EXPECT_EQ(attribute_hash("ab", {}), 0x61u << 5 ^ 0x62u);
    const std::byte word[] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}};
    EXPECT_EQ(attribute_hash("", word), std::rotl(0x04030201u, 16) ^ 5u);
}

// Whatever stands there: it is refused, or what is read lies in it.
SELFTEST(ext_attributes, nonsense_leads_nowhere) {
    k::random random(selftest::seed());
    unsigned read = 0, refused = 0;
    for (unsigned round = 0; round < 3000; round++) {
        disk on;
        attribute_list all;
        for (unsigned n = 0; n < 6; n++)
            REQUIRE(all.set(attribute_user, text(n), value_of(n, random.below(60))));
        REQUIRE(on.write(all));
        const std::span target =
            random.below(2) ? std::span<std::byte>(on.record) : std::span(on.block).subspan(header_bytes, 160);
        for (unsigned flips = 0; flips < 1 + random.below(4); flips++)
            target[random.below(target.size())] = static_cast<std::byte>(random.below(256));
        attribute_list found;
        if (!on.read(found)) {
            refused++;
            continue;
        }
        read++;
        std::size_t bytes = 0;
        for (const attribute_list::one& o : found.all())
            bytes += found.value(o).size() + found.name(o).size();
        EXPECT(bytes <= std::size_t{2} * (record_room + block_bytes));
    }
    EXPECT(read > 0);
    EXPECT(refused > 0);
}
