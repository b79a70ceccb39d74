// The table DMAR as a firmware may have made it, and the memory that it reserves for devices.
#include "drivers/iommu/reserved.h"

#include "kernel/lib/random.h"
#include "kernel/selftest/selftest.h"

#include <cstring>

namespace {

constexpr k::u64 page = arch::page_size;
constexpr arch::paddr hole = k::u64{1} << 38; // no RAM of any machine that runs this

// A table, put together entry by entry.
struct table {
    std::byte bytes[1536] = {};
    std::size_t size = 48, entry_at = 0;

    template <class T> void put(std::size_t at, T value) { std::memcpy(bytes + at, &value, sizeof(value)); }
    void add(k::u16 type, std::size_t length) {
        entry_at = size;
        size += length;
        put<k::u16>(entry_at, type);
        put<k::u16>(entry_at + 2, static_cast<k::u16>(length));
    }
    void unit(arch::paddr registers, k::u16 segment, bool serves_all) {
        add(0, 16);
        put<k::u8>(entry_at + 4, serves_all);
        put<k::u16>(entry_at + 6, segment);
        put<k::u64>(entry_at + 8, registers);
    }
    void reserve(arch::paddr first, arch::paddr last, k::u16 segment = 0) {
        add(1, 24);
        put<k::u16>(entry_at + 6, segment);
        put<k::u64>(entry_at + 8, first);
        put<k::u64>(entry_at + 16, last);
    }
    // Of the last entry: who it is for.
    void scope(k::u8 type, k::u8 bus, std::initializer_list<arch::device_path::step> steps) {
        const auto length = static_cast<k::u8>(6 + 2 * steps.size());
        put<k::u8>(size, type);
        put<k::u8>(size + 1, length);
        put<k::u8>(size + 5, bus);
        std::size_t at = size + 6;
        for (const auto& s : steps) {
            put<k::u8>(at++, s.slot);
            put<k::u8>(at++, s.function);
        }
        size += length;
        put<k::u16>(entry_at + 2, static_cast<k::u16>(size - entry_at));
    }
    arch::dmar_contents parse() const { return arch::parse_dmar({bytes, size}); }
};

// Bridges at 00:01.0, to bus 2, and there at 02:03.1, to buses 5 to 7; nothing else.
class two_bridges final : public pci::config_space {
  public:
    bool lies = false; // the second leads back
    k::u32 read(pci::address at, unsigned offset, unsigned) noexcept override {
        const bool first = at == pci::address{0, 0, 1, 0}, second = at == pci::address{0, 2, 3, 1};
        if (!first && !second) return 0xff;
        switch (offset) {
        case 0x0e: return 0x81;
        case 0x19: return first ? 2 : lies ? 0 : 5;
        case 0x1a: return 7;
        }
        return 0;
    }
    void write(pci::address, unsigned, unsigned, k::u32) noexcept override {}
};

class forgets final : public iommu::forgetter {
  public:
    void forget(k::u16, k::u64, k::u64) noexcept override {}
    void show(const void*, std::size_t) noexcept override {}
};

} // namespace

SELFTEST(dmar, units_and_reserved_memory_are_found) {
    table t;
    t.unit(hole, 0, false);
    t.unit(hole + page, 1, false);
    t.unit(hole + 2 * page, 1, true);
    t.reserve(hole + 16 * page, hole + 20 * page - 1);
    t.scope(1, 0, {{2, 0}});
    t.scope(1, 0, {{1, 0}, {4, 3}});
    t.scope(2, 0, {{1, 0}, {3, 1}});
    t.scope(3, 0, {{7, 0}}); // an IOAPIC: nobody asks for it
    t.add(2, 8);             // a kind that we do not know
    t.reserve(hole + 32 * page, hole + 33 * page - 1, 1);
    t.scope(1, 9, {{31, 7}});
    const auto found = t.parse();
    REQUIRE(found.unit_count == 3 && found.reserved_count == 4);
    EXPECT(found.units[0].serves_all); // alone in its segment
    EXPECT(!found.units[1].serves_all && found.units[2].serves_all);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(found.reserved[i].where.base, hole + 16 * page);
        EXPECT_EQ(found.reserved[i].where.size, 4 * page);
        EXPECT_EQ(found.reserved[i].who.covers_all_behind, i == 2);
    }
    EXPECT_EQ(unsigned{found.reserved[1].who.count}, 2u);
    EXPECT_EQ(unsigned{found.reserved[3].segment}, 1u);
    EXPECT_EQ(unsigned{found.reserved[3].who.first_bus}, 9u);
}

// Ranges that a device must not be given, or that are none.
SELFTEST(dmar, ranges_that_make_no_sense_are_left_out) {
    vm::page_ref ram = vm::page_ref::allocate(0, vm::page_use::test);
    REQUIRE(ram);
    const arch::paddr ours = vm::physical(ram.get());
    const struct {
        arch::paddr first, last;
    } ranges[] = {
        {ours, ours + page - 1},              // the kernel's memory
        {ours - page, ours + 2 * page - 1},   // and around it
        {0, ~k::u64{0}},                      // all there is
        {hole, hole - 1},                     // nothing
        {hole + page, hole},                  // backwards
        {hole + 1, hole + page},              // not whole pages
        {hole, hole + page},                  //
        {hole, hole + (k::u64{2} << 30) - 1}, // too much
        {~k::u64{0} - page + 1, ~k::u64{0}},  // no address of a CPU's
        {k::u64{1} << 63, (k::u64{1} << 63) + page - 1},
    };
    for (const auto& r : ranges) {
        table t;
        t.reserve(r.first, r.last);
        t.scope(1, 0, {{2, 0}});
        EXPECT_EQ(t.parse().reserved_count, 0u);
    }
    table t;
    t.unit(ours, 0, true); // registers in memory
    t.unit(hole + 12, 0, true);
    EXPECT_EQ(t.parse().unit_count, 0u);
}

SELFTEST(dmar, lengths_that_make_no_sense_end_it) {
    table good;
    good.reserve(hole, hole + page - 1);
    good.scope(1, 0, {{2, 0}});
    const std::size_t scope_at = good.size - 8;
    REQUIRE(good.parse().reserved_count == 1);
    for (unsigned length : {0u, 1u, 5u, 6u, 7u, 9u, 255u}) { // of the scope
        table t = good;
        t.put<k::u8>(scope_at + 1, static_cast<k::u8>(length));
        EXPECT_EQ(t.parse().reserved_count, 0u);
    }
    for (unsigned length : {0u, 3u, 4u, 23u, 24u, 33u, 65535u}) { // of the entry
        table t = good;
        t.put<k::u16>(t.entry_at + 2, static_cast<k::u16>(length));
        EXPECT_EQ(t.parse().reserved_count, 0u);
    }
    for (std::size_t size = 0; size < good.size; size++)
        EXPECT_EQ(arch::parse_dmar({good.bytes, size}).reserved_count, 0u);
    for (arch::device_path::step s : {arch::device_path::step{32, 0}, {0, 8}, {255, 255}}) {
        table t;
        t.reserve(hole, hole + page - 1);
        t.scope(1, 0, {s});
        t.scope(1, 0, {{1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}}); // too long a way
        EXPECT_EQ(t.parse().reserved_count, 0u);
    }
    table many;
    for (unsigned i = 0; i < 36; i++) {
        many.reserve(hole, hole + page - 1);
        many.scope(1, 0, {{1, 0}});
    }
    for (unsigned i = 0; i < 12; i++)
        many.unit(hole + i * page, 0, true);
    EXPECT_EQ(many.parse().reserved_count, 32u);
    EXPECT_EQ(many.parse().unit_count, 8u);
    // And whatever else stands there.
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 2000; round++) {
        table t = good;
        for (unsigned n = 0; n < 4; n++)
            t.put<k::u8>(48 + random.below(64), static_cast<k::u8>(random.next()));
        t.size = 48 + random.below(64);
        const auto found = t.parse();
        for (const auto& r : std::span(found.reserved).first(found.reserved_count))
            EXPECT(arch::bus::is_device_memory(r.where.base, r.where.size));
    }
}

SELFTEST(iommu, what_is_reserved_for_a_function_stays_open_to_it) {
    table t;
    t.reserve(hole, hole + 2 * page - 1);
    t.scope(1, 0, {{2, 0}});
    t.reserve(hole + 8 * page, hole + 9 * page - 1);
    t.scope(1, 0, {{1, 0}, {4, 3}});
    t.reserve(hole + 16 * page, hole + 17 * page - 1);
    t.scope(2, 0, {{1, 0}, {3, 1}});
    const auto found = t.parse();
    REQUIRE(found.reserved_count == 3);
    const auto all = std::span(found.reserved).first(3);
    two_bridges space;
    forgets hardware;
    // Which of the three a function sees.
    const auto sees = [&](pci::address at) {
        auto d = iommu::domain::create(hardware, 7, 4, "a model");
        EXPECT(d && iommu::open_reserved(**d, at, space, all));
        unsigned seen = 0;
        for (unsigned i = 0; d && i < 3; i++) {
            const unsigned rights = (*d)->permissions(hole + 8 * i * page);
            EXPECT(rights == 0 || rights == 3);
            seen |= (rights != 0) << i;
            EXPECT_EQ((*d)->permissions(hole + (8 * i + 2) * page), 0u);
        }
        return seen;
    };
    EXPECT_EQ(sees({0, 0, 2, 0}), 1u);
    EXPECT_EQ(sees({0, 0, 2, 1}), 0u);
    EXPECT_EQ(sees({1, 0, 2, 0}), 0u);
    EXPECT_EQ(sees({0, 2, 4, 3}), 2u);
    EXPECT_EQ(sees({0, 0, 4, 3}), 0u);
    EXPECT_EQ(sees({0, 2, 3, 1}), 4u); // the bridge itself
    EXPECT_EQ(sees({0, 5, 0, 0}), 4u);
    EXPECT_EQ(sees({0, 7, 31, 7}), 4u);
    EXPECT_EQ(sees({0, 8, 0, 0}), 0u);
    space.lies = true;
    EXPECT_EQ(sees({0, 5, 0, 0}), 0u);
    EXPECT_EQ(sees({0, 0, 2, 0}), 1u);
    // Beyond the tables of a small domain: left out.
    auto small = iommu::domain::create(hardware, 7, 3, "a model");
    const arch::reserved_memory far{{k::u64{1} << 39, page}, 0, {0, 1, {{{2, 0}}}, false}};
    REQUIRE(small);
    EXPECT(iommu::open_reserved(**small, {0, 0, 2, 0}, space, {&far, 1}));
    EXPECT_EQ((*small)->permissions(k::u64{1} << 39 | 0), 0u);
}
