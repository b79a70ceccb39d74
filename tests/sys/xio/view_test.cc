// Views: contiguous bytes are where they are, scattered pages are shown at contiguous addresses.
#include "sys/xio/view.h"

#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"
#include "tests/support/threads.h"

#include <algorithm>

using xio::sink;
using xio::sink_view;
using xio::source;
using xio::source_view;

namespace {

constexpr k::u64 page = xio::platform::page_size;

k::u64 windows_opened() {
    return xio::read_ledger().count[unsigned(xio::happening::mapped)];
}

// Pages that lie apart: every other one of a block.
struct scattered_pages {
    vm::page_ref block = support::allocate_block(4);
    vm::page* pages[8];
    scattered_pages() {
        for (unsigned i = 0; i < 8; i++)
            pages[i] = block.get() + 2 * (7 - i);
    }
    std::byte* data(unsigned i) const { return static_cast<std::byte*>(vm::direct(pages[i])); }
};

} // namespace

SELFTEST(xio, a_view_of_one_run_is_the_direct_map) {
    vm::page_ref block = support::allocate_block(2);
    REQUIRE(block);
    auto from = source::over_run(block.get(), 10, 3 * page);
    auto to = sink::over_run(block.get(), page, 100);
    REQUIRE(from && to);
    const k::u64 opened = windows_opened(), objects = mem::objects_in_use();
    auto reading = source_view::map(*from);
    auto filling = sink_view::map(*to);
    REQUIRE(reading && filling);
    EXPECT(reading->bytes().data() == static_cast<std::byte*>(block.data()) + 10);
    EXPECT_EQ(reading->bytes().size(), 3 * page);
    EXPECT(filling->bytes().data() == static_cast<std::byte*>(block.data()) + page);
    EXPECT_EQ(windows_opened(), opened);
    EXPECT_EQ(mem::objects_in_use(), objects);
}

SELFTEST(xio, scattered_pages_are_contiguous_in_a_view) {
    scattered_pages apart;
    REQUIRE(apart.block);
    for (unsigned i = 0; i < 8; i++)
        support::fill_pattern({apart.data(i), page}, i);
    for (k::u64 offset : {k::u64{0}, k::u64{1}, page - 1})
        for (k::u64 bytes : {page + 1, 3 * page, 7 * page}) {
            auto from = source::over_pages(apart.pages, offset, bytes);
            REQUIRE(from);
            const k::u64 opened = windows_opened(), copied = xio::read_ledger().copied_bytes();
            auto view = source_view::map(*from);
            REQUIRE(view);
            EXPECT_EQ(windows_opened(), opened + 1);
            REQUIRE(view->bytes().size() == bytes);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view->bytes().data()) % page, offset);
            bool same = true;
            for (k::u64 i = 0; i < bytes; i++)
                same = same && view->bytes()[i] == apart.data((offset + i) / page)[(offset + i) % page];
            EXPECT(same);
            EXPECT_EQ(xio::read_ledger().copied_bytes(), copied);
        }
}

SELFTEST(xio, what_is_written_through_a_sinks_view_is_in_the_pages) {
    scattered_pages apart;
    REQUIRE(apart.block);
    auto to = sink::over_pages(apart.pages, 100, 2 * page);
    REQUIRE(to);
    {
        auto view = sink_view::map(*to);
        REQUIRE(view);
        support::fill_pattern(view->bytes(), 8);
    }
    support::buffer expected(2 * page);
    REQUIRE(expected);
    support::fill_pattern(expected.bytes(), 8);
    EXPECT(support::same_bytes({apart.data(0) + 100, page - 100}, expected.bytes().first(page - 100)));
    EXPECT(support::same_bytes({apart.data(1), page}, expected.bytes().subspan(page - 100, page)));
    EXPECT(support::same_bytes({apart.data(2), 100}, expected.bytes().subspan(2 * page - 100)));
    EXPECT(support::all_bytes_are({apart.data(0), 100}, 0));
    EXPECT(support::all_bytes_are({apart.data(2) + 100, page - 100}, 0));
}

SELFTEST(xio, a_sources_window_cannot_be_written) {
    scattered_pages apart;
    REQUIRE(apart.block);
    auto from = source::over_pages(apart.pages, 0, 2 * page);
    auto to = sink::over_pages(apart.pages, 0, 2 * page);
    REQUIRE(from && to);
    auto reading = source_view::map(*from);
    auto filling = sink_view::map(*to);
    REQUIRE(reading && filling);
    const k::u64 word = 0x1111;
    for (k::u64 at : {k::u64{0}, page + 8}) {
        auto* const_bytes = const_cast<std::byte*>(reading->bytes().data() + at);
        EXPECT_EQ(arch::memory::copy_catching(const_bytes, &word, sizeof(word)), sizeof(word));
        EXPECT_EQ(arch::memory::copy_catching(filling->bytes().data() + at, &word, sizeof(word)), 0u);
        EXPECT_EQ(std::to_integer<unsigned>(reading->bytes()[at]), 0x11u); // one memory, two ways to see it
    }
}

SELFTEST(xio, odd_pieces_cannot_be_seen_as_one) {
    scattered_pages apart;
    REQUIRE(apart.block);
    auto whole = source::over_pages(apart.pages, 0, 4 * page);
    REQUIRE(whole);
    struct cut {
        k::u64 front_offset, front_bytes, back_offset, back_bytes;
        bool possible;
    };
    constexpr cut cuts[] = {
        {0, page, page, page, true},
        {100, page - 100, page, 10, true},
        {0, page - 1, page, page, false},
        {0, page, page + 1, 10, false},
        {0, 10, 2 * page, page, false},
        {5, page - 5, 3 * page, page, true},
        {0, 2 * page, 3 * page, page - 1, true},
        {0, page + 1, 2 * page, 1, false},
    };
    const k::u64 objects = mem::objects_in_use();
    for (const cut& c : cuts) {
        auto front = whole->slice(c.front_offset, c.front_bytes), back = whole->slice(c.back_offset, c.back_bytes);
        REQUIRE(front && back);
        auto both = source::append(*front, *back);
        REQUIRE(both);
        auto view = source_view::map(*both);
        EXPECT_EQ(bool(view), c.possible);
        if (!view) EXPECT_EQ(view.error(), k::error::opnotsupp);
    }
    EXPECT_EQ(mem::objects_in_use(), objects);
}

SELFTEST(xio, no_bytes_have_a_view_too) {
    auto reading = source_view::map(source());
    sink nowhere;
    auto filling = sink_view::map(nowhere);
    REQUIRE(reading && filling);
    EXPECT(reading->bytes().empty() && filling->bytes().empty());
}

SELFTEST(xio, windows_are_given_back) {
    scattered_pages apart;
    REQUIRE(apart.block);
    auto from = source::over_pages(apart.pages, 0, 8 * page);
    REQUIRE(from);
    std::uintptr_t first = 0;
    const k::u64 objects = mem::objects_in_use();
    for (unsigned i = 0; i < 200; i++) {
        auto view = source_view::map(*from);
        REQUIRE(view);
        const auto at = reinterpret_cast<std::uintptr_t>(view->bytes().data());
        if (!first) first = at;
        EXPECT_EQ(at, first); // the addresses are free again each time
    }
    EXPECT_EQ(mem::objects_in_use(), objects);
}

SELFTEST(xio, a_moved_view_stays_open) {
    scattered_pages apart;
    REQUIRE(apart.block);
    auto from = source::over_pages(apart.pages, 0, 2 * page);
    REQUIRE(from);
    auto made = source_view::map(*from);
    REQUIRE(made);
    source_view moved = std::move(*made);
    EXPECT_EQ(moved.bytes().size(), 2 * page);
    EXPECT(support::all_bytes_are(moved.bytes(), 0));
}

SELFTEST(xio, every_cpu_has_windows_of_its_own) {
    scattered_pages apart;
    REQUIRE(apart.block);
    support::fill_pattern({apart.data(0), page}, 0);
    support::fill_pattern({apart.data(1), page}, 1);
    auto from = source::over_pages(apart.pages, 0, 2 * page);
    REQUIRE(from);
    auto here = source_view::map(*from);
    REQUIRE(here);
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        EXPECT(support::run_on(cpu, [&] {
            const source mine = from->clone();
            auto view = source_view::map(mine);
            EXPECT(view);
            if (!view) return;
            EXPECT(view->bytes().data() != here->bytes().data());
            EXPECT(support::has_pattern(view->bytes().first(page), 0));
            EXPECT(support::has_pattern(view->bytes().subspan(page), 1));
        }));
}
