// Building lists: every length around every limit, all of it or nothing.
#include "kernel/selftest/selftest.h"
#include "sys/xio/checksum.h"
#include "sys/xio/walk.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

#include <algorithm>

using vm::hold;
using xio::sink;
using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;
constexpr std::size_t slots_inline = 4, slots_chained = 63;

k::u64 extents_of(const source& s) {
    k::u64 count = 0;
    xio::for_each_run(xio::walker(s), [&](std::byte*, k::u64) { count++; });
    return count;
}

} // namespace

SELFTEST(xio, every_length_around_a_page_is_exact) {
    support::page_set<4> pages;
    support::buffer out(4 * page);
    REQUIRE(pages.allocate() && out);
    for (unsigned i = 0; i < 4; i++)
        support::fill_pattern({pages.data(i), page}, i);
    for (k::u64 offset : {k::u64{0}, k::u64{1}, page - 1, page, page + 1})
        for (k::u64 bytes : {k::u64{0}, k::u64{1}, page - 1, page, page + 1, 2 * page}) {
            auto from = source::over_pages(pages.span(), offset, bytes);
            REQUIRE(from);
            EXPECT_EQ(from->size(), bytes);
            REQUIRE(from->read(0, out.first(bytes)));
            for (k::u64 i = 0; i < bytes; i++)
                if (out.bytes()[i] != pages.data((offset + i) / page)[(offset + i) % page])
                    return selftest::fail(k::where::here(), "offset {}, bytes {}: byte {}", offset, bytes, i);
        }
}

SELFTEST(xio, lists_of_any_number_of_extents) {
    constexpr std::size_t block_ends[] = {slots_inline, slots_inline + slots_chained, slots_inline + 2 * slots_chained};
    constexpr std::size_t most = block_ends[2] + 1;
    support::page_set<3> three;
    REQUIRE(three.allocate());
    // The outer two of three pages are no neighbours in memory: each place becomes an extent.
    vm::page* high = std::max({three[0], three[1], three[2]});
    vm::page* low = std::min({three[0], three[1], three[2]});
    support::fill_pattern({static_cast<std::byte*>(vm::direct(high)), page}, 1);
    support::fill_pattern({static_cast<std::byte*>(vm::direct(low)), page}, 2);
    support::buffer list(most * sizeof(vm::page*)), seen(page);
    REQUIRE(list && seen);
    auto* pages = reinterpret_cast<vm::page**>(list.data());
    for (std::size_t i = 0; i < most; i++)
        pages[i] = i % 3 ? high : low; // low high high low ...: a page may stand beside itself
    for (std::size_t end : block_ends)
        for (std::size_t count = end - 1; count <= end + 1; count++) {
            auto s = source::over_pages({pages, count}, 0, count * page);
            REQUIRE(s);
            EXPECT_EQ(s->size(), count * page);
            EXPECT_EQ(extents_of(*s), count);
            const k::u64 lows = (count + 2) / 3;
            EXPECT_EQ(low->holds.count(hold::source_pin), lows);
            EXPECT_EQ(high->holds.count(hold::source_pin), count - lows);
            for (std::size_t i = 0; i < count; i++) {
                REQUIRE(s->read(i * page, seen.bytes()));
                EXPECT(support::has_pattern(seen.bytes(), i % 3 ? 1 : 2));
            }
        }
    EXPECT_EQ(low->holds.count(hold::source_pin), 0u);
    EXPECT_EQ(high->holds.count(hold::source_pin), 0u);
}

SELFTEST(xio, the_same_page_many_times_is_not_merged_away) {
    support::page_set<1> pages;
    support::buffer out(page);
    REQUIRE(pages.allocate() && out);
    support::fill_pattern({pages.data(0), page}, 5);
    vm::page* const same[5] = {pages[0], pages[0], pages[0], pages[0], pages[0]};
    xio::payer payer;
    auto from = source::over_pages(same, 10, 5 * page - 20, {payer});
    auto to = sink::over_pages(same, 0, 5 * page, {payer});
    REQUIRE(from && to);
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 5u);
    EXPECT_EQ(pages[0]->holds.count(hold::sink_pin), 5u);
    EXPECT_EQ(payer.source_pages(), 5u);
    EXPECT_EQ(payer.sink_pages(), 5u);
    EXPECT_EQ(extents_of(*from), 5u);
    REQUIRE(from->read(3 * page - 10, out.bytes()));
    EXPECT(support::has_pattern(out.bytes(), 5));
    REQUIRE(to->write_value<k::u64>(4 * page, 0x1122334455667788));
    EXPECT(from->read_value<k::u32>(page - 10).value_or(0) == 0x55667788); // seen through each of its places
}

SELFTEST(xio, a_gibibyte_of_one_page) {
    constexpr std::size_t count = (k::u64{1} << 30) / page;
    support::page_set<1> pages;
    support::buffer list(count * sizeof(vm::page*));
    REQUIRE(pages.allocate() && list);
    auto* places = reinterpret_cast<vm::page**>(list.data());
    std::fill_n(places, count, pages[0]);
    std::memset(pages.data(0), 0x5a, page);
    auto s = source::over_pages({places, count}, 0, k::u64{1} << 30);
    REQUIRE(s);
    EXPECT_EQ(s->size(), k::u64{1} << 30);
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), count);
    auto end = s->slice((k::u64{1} << 30) - 7, 7);
    REQUIRE(end);
    EXPECT_EQ(end->read_value<k::u32>(3).value_or(0), 0x5a5a5a5au);
    EXPECT(!s->slice(1, k::u64{1} << 30));
    EXPECT(!s->read_value<k::u32>((k::u64{1} << 30) - 3));
    *s = source();
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), count); // a slice of seven bytes holds the whole list
    *end = source();
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 0u);
}

SELFTEST(xio, a_gibibyte_of_one_block) {
    vm::page_ref block = support::allocate_block(8);
    REQUIRE(block);
    auto grown = source::over_run(block.get(), 0, block.size());
    REQUIRE(grown);
    while (grown->size() < k::u64{1} << 30) {
        auto twice = source::append(*grown, *grown);
        REQUIRE(twice);
        *grown = std::move(*twice);
    }
    EXPECT_EQ(grown->size(), k::u64{1} << 30);
    EXPECT_EQ(block->holds.count(hold::source_pin), 1024u); // one a place, however many pages
    *grown = source();
    EXPECT_EQ(block->holds.count(hold::source_pin), 0u);
}

SELFTEST(xio, lengths_that_overflow_are_refused_with_nothing_held) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    constexpr k::u64 last = ~k::u64{0};
    struct range {
        k::u64 offset, bytes;
    };
    constexpr range too_long[] = {
        {0, xio::max_bytes + 1}, {0, last}, {1, last}, {last, 1}, {last, last}, {page, last - page}, {last - 10, 11},
        {xio::max_bytes + 1, 1}};
    for (const range& r : too_long) {
        auto run = source::over_run(pages[0], r.offset, r.bytes);
        auto scattered = source::over_pages(pages.span(), r.offset, r.bytes);
        auto filled = sink::over_run(pages[0], r.offset, r.bytes);
        auto fills = sink::over_pages(pages.span(), r.offset, r.bytes);
        EXPECT(!run && run.error() == k::error::overflow);
        EXPECT(!scattered && scattered.error() == k::error::overflow);
        EXPECT(!filled && filled.error() == k::error::overflow);
        EXPECT(!fills && fills.error() == k::error::overflow);
    }
    auto fresh = sink::fresh(last), longest = sink::fresh(xio::max_bytes + 1);
    EXPECT(!fresh && fresh.error() == k::error::overflow);
    EXPECT(!longest && longest.error() == k::error::overflow);
    for (vm::page* p : pages.span())
        EXPECT(p->holds.only(hold::reference));
}

SELFTEST(xio, parts_that_overflow_together_are_refused_for_the_first_reason) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    xio::payer payer;
    auto part = source::over_run(pages[0], 0, page);
    REQUIRE(part);
    constexpr k::u64 nearly = xio::max_bytes - page + 1;
    for (unsigned way = 0; way < 4; way++) {
        xio::list_builder builder(payer, xio::pin_kind::source, xio::stability::stable);
        if (way == 0) builder.add(pages[0], 0, xio::max_bytes + 1);
        builder.add(pages[0], 0, page);
        if (way == 1) builder.add(pages[0], 0, nearly);
        if (way == 2) builder.add_pages(pages.span(), 0, nearly);
        if (way == 3) builder.add(part->start(), nearly);
        builder.add_pages(pages.span(), page, 1); // too few pages: too late to matter
        EXPECT(builder.failed());
        auto list = builder.finish();
        EXPECT(!list && list.error() == k::error::overflow);
        EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 1u);
        EXPECT_EQ(payer.source_pages(), 0u);
    }
}

SELFTEST(xio, too_few_pages_are_refused_with_nothing_held) {
    support::page_set<3> pages;
    REQUIRE(pages.allocate());
    struct range {
        k::u64 offset, bytes;
        bool enough;
    };
    constexpr range ranges[] = {
        {0, 3 * page, true},      {0, 3 * page + 1, false},   {1, 3 * page, false},
        {1, 3 * page - 1, true},  {3 * page - 1, 1, true},    {3 * page, 1, false},
        {3 * page - 1, 2, false}, {0, xio::max_bytes, false}, {xio::max_bytes, 1, false},
    };
    for (const range& r : ranges) {
        auto from = source::over_pages(pages.span(), r.offset, r.bytes);
        auto to = sink::over_pages(pages.span(), r.offset, r.bytes);
        EXPECT_EQ(bool(from), r.enough);
        EXPECT_EQ(bool(to), r.enough);
        if (!from) EXPECT_EQ(from.error(), k::error::inval);
        if (!to) EXPECT_EQ(to.error(), k::error::inval);
    }
    for (vm::page* p : pages.span())
        EXPECT(p->holds.only(hold::reference));
    auto none = source::over_pages({}, 0, 1);
    EXPECT(!none && none.error() == k::error::inval);
}

SELFTEST(xio, a_list_that_outgrows_the_pin_count_is_refused) {
    vm::page_ref block = support::allocate_block(0);
    REQUIRE(block);
    auto grown = source::over_run(block.get(), 0, block.size());
    REQUIRE(grown);
    k::u32 pins = 1;
    for (;; pins *= 2) {
        auto twice = source::append(*grown, *grown);
        if (!twice) {
            EXPECT_EQ(twice.error(), k::error::again);
            break;
        }
        *grown = std::move(*twice);
        REQUIRE(pins <= vm::hold_counts::limit(hold::source_pin));
    }
    EXPECT_EQ(block->holds.count(hold::source_pin), pins); // the list before, and nothing of the one refused
    EXPECT(3 * pins > vm::hold_counts::limit(hold::source_pin));
}

SELFTEST(xio, lists_from_odd_pieces_read_as_one) {
    support::page_set<6> pages;
    support::buffer out(6 * page), expected(6 * page);
    REQUIRE(pages.allocate() && out && expected);
    source list;
    k::u64 total = 0;
    for (unsigned i = 0; i < 6; i++) {
        support::fill_pattern({pages.data(i), page}, i);
        const k::u64 offset = 17 * i, bytes = 1 + 700 * i;
        std::memcpy(expected.data() + total, pages.data(i) + offset, bytes);
        total += bytes;
        auto piece = source::over_run(pages[i], offset, bytes);
        REQUIRE(piece);
        auto longer = source::append(list, *piece);
        REQUIRE(longer);
        list = std::move(*longer);
    }
    EXPECT_EQ(list.size(), total);
    for (k::u64 at = 0; at < total; at += 613) {
        const k::u64 bytes = std::min<k::u64>(total - at, 2000);
        REQUIRE(list.read(at, out.first(bytes)));
        EXPECT(support::same_bytes(out.first(bytes), expected.bytes().subspan(at, bytes)));
    }
}

SELFTEST(xio, kernel_memory_is_lent_where_it_is) {
    support::buffer heap(3 * page), small(100);
    REQUIRE(heap && small);
    support::fill_pattern(heap.bytes(), 1);
    support::fill_pattern(small.bytes(), 2);
    for (std::span<std::byte> bytes : {heap.bytes().subspan(3000, 6000), small.bytes()}) {
        auto from = source::over_kernel(bytes);
        REQUIRE(from);
        EXPECT(xio::walker(*from).address() == bytes.data());
        EXPECT_EQ(xio::walker(*from).run(), bytes.size());
        auto to = sink::over_kernel(bytes);
        REQUIRE(to);
        REQUIRE(to->write_value<k::u8>(1, 0x77));
        EXPECT(bytes[1] == std::byte{0x77});
    }
}

SELFTEST(xio, a_copy_is_its_own_and_counted) {
    support::buffer bytes(2 * page + 1), out(2 * page + 1);
    REQUIRE(bytes && out);
    support::fill_pattern(bytes.bytes(), 9);
    const xio::ledger before = xio::read_ledger();
    auto copy = source::copy_of(bytes.bytes(), {}, xio::reason::pins_full);
    REQUIRE(copy);
    const xio::ledger after = xio::read_ledger();
    constexpr auto why = unsigned(xio::reason::pins_full);
    EXPECT_EQ(after.copied[why] - before.copied[why], bytes.size());
    EXPECT_EQ(after.copied_bytes() - before.copied_bytes(), bytes.size());
    std::memset(bytes.data(), 0, bytes.size());
    REQUIRE(copy->read(0, out.bytes()));
    EXPECT(support::has_pattern(out.bytes(), 9));
}
