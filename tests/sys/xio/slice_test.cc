// Slices, clones, appended and split lists: they share pages and copy nothing.
#include "kernel/selftest/selftest.h"
#include "sys/xio/walk.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

#include <type_traits>

using vm::hold;
using xio::sink;
using xio::source;

// The types are the guard: nothing turns a borrower into a writer, and no holder is made by accident.
static_assert(!std::is_constructible_v<sink, source> && !std::is_constructible_v<source, sink>);
static_assert(!std::is_assignable_v<sink&, source> && !std::is_assignable_v<source&, sink>);
static_assert(!std::is_copy_constructible_v<source> && !std::is_copy_assignable_v<source>);
static_assert(!std::is_copy_constructible_v<sink> && !std::is_copy_assignable_v<sink>);
static_assert(std::is_nothrow_move_constructible_v<source> && std::is_nothrow_move_assignable_v<sink>);

namespace {

std::byte* address_of(const xio::slice_base& slice) {
    return xio::walker(slice).address();
}

} // namespace

SELFTEST(xio, slices_share_pages_and_copy_nothing) {
    support::page_set<8> pages;
    REQUIRE(pages.allocate());
    const xio::ledger before = xio::read_ledger();
    auto whole = source::over_pages(pages.span(), 100, 7 * xio::platform::page_size);
    REQUIRE(whole);
    auto slice = whole->slice(5000, 9000);
    REQUIRE(slice);
    auto inner = slice->slice(1000, 4096);
    REQUIRE(inner);
    source clone = inner->clone();
    source front = clone.split_front(96);
    EXPECT_EQ(slice->size(), 9000u);
    EXPECT_EQ(front.size(), 96u);
    EXPECT_EQ(clone.size(), 4000u);
    EXPECT(address_of(front) == pages.data(1) + 100 + 5000 + 1000 - 4096);
    EXPECT(address_of(clone) == pages.data(1) + 100 + 5000 + 1000 - 4096 + 96);
    EXPECT(address_of(*inner) == address_of(front));
    for (vm::page* p : pages.span())
        EXPECT_EQ(p->holds.count(hold::source_pin), 1u); // the list's, however many slices there are
    const xio::ledger after = xio::read_ledger();
    EXPECT_EQ(after.copied_bytes(), before.copied_bytes());
    EXPECT_EQ(after.count[unsigned(xio::happening::built)] - before.count[unsigned(xio::happening::built)], 1u);
}

SELFTEST(xio, slicing_and_cloning_allocate_nothing) {
    auto whole = source::copy_of(std::as_bytes(std::span("some bytes to be cut up")));
    REQUIRE(whole);
    const k::u64 objects = mem::objects_in_use();
    auto slice = whole->slice(2, 10);
    REQUIRE(slice);
    source clone = slice->clone();
    source front = clone.split_front(3);
    EXPECT_EQ(mem::objects_in_use(), objects);
    char text[8] = {};
    EXPECT(front.read(0, std::as_writable_bytes(std::span(text, 3))));
    EXPECT(clone.read(0, std::as_writable_bytes(std::span(text + 3, 5))));
    EXPECT(std::string_view(text, 8) == "me bytes");
}

SELFTEST(xio, a_slice_must_lie_inside) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    auto whole = source::over_pages(pages.span(), 0, 5000);
    auto target = sink::over_pages(pages.span(), 0, 5000);
    REQUIRE(whole && target);
    struct range {
        k::u64 offset, bytes;
        bool inside;
    };
    constexpr k::u64 last = ~k::u64{0};
    constexpr range ranges[] = {
        {0, 0, true},     {0, 5000, true},  {5000, 0, true},     {4999, 1, true},      {1, 4999, true},
        {0, 5001, false}, {5001, 0, false}, {5000, 1, false},    {1, 5000, false},     {last, 1, false},
        {1, last, false}, {last, 0, false}, {last, last, false}, {2, last - 1, false}, {4096, last - 4095, false},
    };
    std::byte one[1] = {};
    for (const range& r : ranges) {
        auto a = whole->slice(r.offset, r.bytes);
        auto b = target->slice(r.offset, r.bytes);
        EXPECT_EQ(bool(a), r.inside);
        EXPECT_EQ(bool(b), r.inside);
        if (a) EXPECT_EQ(a->size(), r.bytes);
        if (b) EXPECT_EQ(b->size(), r.bytes);
        if (!a) EXPECT_EQ(a.error(), k::error::inval);
        if (!b) EXPECT_EQ(b.error(), k::error::inval);
        EXPECT_EQ(bool(target->zero(r.offset, r.bytes)), r.inside);
    }
    for (k::u64 offset : {k::u64{5000}, k::u64{5001}, last}) {
        EXPECT(!whole->read(offset, one));
        EXPECT(!target->write(offset, one));
        EXPECT(!whole->read_value<k::u32>(offset - 3));
        EXPECT(!target->write_value<k::u32>(offset - 3, 0));
    }
}

SELFTEST(xio, no_bytes_hold_nothing) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    auto none = source::over_pages(pages.span(), 0, 0);
    auto nobody = source::over_pages({}, 0, 0);
    auto nowhere = sink::over_run(pages[0], 17, 0);
    auto nil = source::over_kernel({});
    auto copied = source::copy_of({});
    auto fresh = sink::fresh(0);
    auto whole = source::over_run(pages[0], 0, 10);
    REQUIRE(none && nobody && nowhere && nil && copied && fresh && whole);
    EXPECT(none->empty() && nobody->empty() && nowhere->empty() && nil->empty() && copied->empty() && fresh->empty());
    EXPECT_EQ(none->birth_ns(), 0u);
    EXPECT_EQ(pages[0]->holds.count(hold::sink_pin), 0u);
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 1u);
    auto part = whole->slice(10, 0);
    REQUIRE(part);
    source empty = part->clone(), moved = std::move(empty);
    auto joined = source::append(moved, *none);
    REQUIRE(joined);
    EXPECT(joined->empty() && xio::equal(*joined, *none));
    EXPECT(xio::copy(*joined, *nowhere));
    EXPECT(joined->read(0, {}));
}

SELFTEST(xio, a_source_that_was_split_to_its_end_holds_nothing) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    auto whole = source::over_run(pages[0], 0, 4096);
    REQUIRE(whole);
    {
        source front = whole->split_front(4000);
        source rest = whole->split_front(96);
        EXPECT(whole->empty());
        EXPECT_EQ(front.size() + rest.size(), 4096u);
        EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 1u);
    }
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 0u);
    EXPECT(whole->split_front(0).empty());
}

SELFTEST(xio, a_moved_handle_takes_its_hold_along) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    auto first = source::over_run(pages[0], 0, 10), second = source::over_run(pages[1], 0, 20);
    REQUIRE(first && second);
    {
        source moved = std::move(*first);
        EXPECT(first->empty());
        EXPECT_EQ(moved.size(), 10u);
        *first = std::move(*second);
        EXPECT_EQ(first->size(), 20u);
        source& same = *first;
        *first = std::move(same);
        EXPECT_EQ(first->size(), 20u);
    }
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 0u);
    EXPECT_EQ(pages[1]->holds.count(hold::source_pin), 1u);
}

SELFTEST(xio, append_shares_the_pages_of_both) {
    support::page_set<3> pages;
    REQUIRE(pages.allocate());
    for (unsigned i = 0; i < 3; i++)
        support::fill_pattern({pages.data(i), 4096}, i);
    const k::u64 copied = xio::read_ledger().copied_bytes();
    auto front = source::over_run(pages[0], 4000, 96), back = source::over_pages(pages.span().subspan(1), 1, 5000);
    REQUIRE(front && back);
    auto both = source::append(*front, *back);
    REQUIRE(both);
    EXPECT_EQ(xio::read_ledger().copied_bytes(), copied);
    EXPECT_EQ(both->size(), 5096u);
    *front = source();
    *back = source();
    for (vm::page* p : pages.span())
        EXPECT_EQ(p->holds.count(hold::source_pin), 1u);
    std::byte* const expected[] = {pages.data(0) + 4000, pages.data(1) + 1, pages.data(2)};
    unsigned run = 0;
    k::u64 total = 0;
    xio::for_each_run(xio::walker(*both), [&](std::byte* at, k::u64 bytes) {
        // Pages that happen to be neighbours make one run.
        if (run < 3 && at == expected[run]) run += bytes > 4096 ? 2 : 1;
        total += bytes;
    });
    EXPECT_EQ(run, 3u);
    EXPECT_EQ(total, 5096u);
}

SELFTEST(xio, appended_bytes_promise_no_more_than_the_weaker_part) {
    using xio::stability;
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    xio::payer payer;
    auto make = [&](stability promise) { return source::over_run(pages[0], 0, 1, {payer, promise}); };
    constexpr stability all[] = {stability::blocked, stability::stable, stability::live};
    for (stability a : all)
        for (stability b : all) {
            auto front = make(a), back = make(b);
            REQUIRE(front && back);
            auto both = source::append(*front, *back);
            REQUIRE(both);
            EXPECT_EQ(both->promise() == stability::stable, a == stability::stable && b == stability::stable);
            EXPECT_EQ(both->promise() == stability::live, a == stability::live || b == stability::live);
        }
    for (stability a : all) { // no bytes promise nothing and take nothing away
        auto bytes = make(a);
        REQUIRE(bytes);
        auto front = source::append(*bytes, source()), back = source::append(source(), *bytes);
        REQUIRE(front && back);
        EXPECT_EQ(front->promise(), a);
        EXPECT_EQ(back->promise(), a);
    }
}
