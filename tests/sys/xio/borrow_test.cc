// Who borrowed bytes cannot change them: every consumer leaves its source as it was, and in a debug build a stray
// store into lent pages traps.
#include "kernel/selftest/selftest.h"
#include "sys/xio/checksum.h"
#include "sys/xio/segments.h"
#include "sys/xio/view.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

using xio::sink;
using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;

// Can the kernel write to the page where the direct map has it? Tries it, with bytes that change nothing.
bool writable(std::byte* at) {
    std::byte same[64];
    std::memcpy(same, at, sizeof(same));
    const std::size_t left = arch::memory::copy_catching(at, same, sizeof(same));
    EXPECT(left == 0 || left == sizeof(same));
    return left == 0;
}

constexpr bool while_lent = !k::debug_build; // other builds protect nothing

} // namespace

SELFTEST(xio, a_store_into_lent_pages_traps_in_a_debug_build) {
    vm::page_ref block = support::allocate_block(2);
    support::page_set<1> other;
    REQUIRE(block && other.allocate());
    auto* const base = static_cast<std::byte*>(block.data());
    EXPECT(writable(base));
    auto first = source::over_run(block.get(), page + 10, 2 * page - 20); // the two in the middle
    REQUIRE(first);
    EXPECT_EQ(writable(base + page), while_lent);
    EXPECT_EQ(writable(base + 3 * page - 64), while_lent);
    EXPECT(writable(base) && writable(base + 3 * page) && writable(other.data(0)));
    auto second = source::over_run(block.get() + 2, 0, 1);
    source slice = first->clone();
    REQUIRE(second);
    *first = source();
    EXPECT_EQ(writable(base + page), while_lent);
    slice = source();
    EXPECT(writable(base + page));
    EXPECT_EQ(writable(base + 2 * page), while_lent); // lent twice
    *second = source();
    EXPECT(writable(base + 2 * page));
}

SELFTEST(xio, a_page_that_is_being_filled_stays_writable) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    auto filled = sink::over_run(pages[0], 0, page);
    auto lent = source::over_pages(pages.span(), 0, 2 * page);
    REQUIRE(filled && lent);
    EXPECT(writable(pages.data(0)));
    EXPECT_EQ(writable(pages.data(1)), while_lent);
    auto late = sink::over_run(pages[1], 0, page); // a sink that comes after the loan
    REQUIRE(late);
    EXPECT(writable(pages.data(1)));
    EXPECT(late->write_value<k::u64>(8, 1));
    *late = sink();
    *filled = sink();
    EXPECT_EQ(writable(pages.data(0)), while_lent); // the filling is over, the loan is not
    EXPECT_EQ(writable(pages.data(1)), while_lent);
    *lent = source();
    EXPECT(writable(pages.data(0)) && writable(pages.data(1)));
}

SELFTEST(xio, protection_follows_from_sink_to_source_and_back) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    auto filled = sink::over_run(pages[0], 0, page);
    REQUIRE(filled);
    std::byte* const at = pages.data(0);
    auto lent = filled->into_source();
    REQUIRE(lent);
    EXPECT_EQ(writable(at), while_lent);
    auto refused = lent->into_sole_sink();
    EXPECT(!refused);
    EXPECT_EQ(writable(at), while_lent);
    pages.drop_all();
    auto owned = lent->into_sole_sink();
    REQUIRE(owned);
    EXPECT(writable(at));
    EXPECT(owned->write_value<k::u64>(0, ~k::u64{0}));
}

SELFTEST(xio, a_page_that_was_lent_can_be_used_again_by_anybody) {
    for (unsigned round = 0; round < 3; round++) {
        support::page_set<4> pages; // the same frames come back from the CPU's cache
        REQUIRE(pages.allocate());
        vm::page* const twice[] = {pages[0], pages[0], pages[1]};
        auto lent = source::over_pages(twice, 0, 3 * page);
        auto refused = source::over_pages(twice, 0, 4 * page);
        REQUIRE(lent && !refused);
        pages.drop_all();
    }
    support::page_set<4> pages;
    REQUIRE(pages.allocate());
    for (unsigned i = 0; i < 4; i++)
        EXPECT(writable(pages.data(i)));
}

// "Copy Fail": one source through every operation that takes one.
SELFTEST(xio, no_consumer_changes_what_it_borrowed) {
    constexpr unsigned count = 4;
    support::page_set<count> pages, others;
    support::buffer saved(count * page), out(count * page);
    REQUIRE(pages.allocate() && others.allocate() && saved && out);
    support::fill_pattern(saved.bytes(), 12);
    for (unsigned i = 0; i < count; i++)
        std::memcpy(pages.data(i), saved.data() + i * page, page);
    auto unchanged = [&] {
        for (unsigned i = 0; i < count; i++)
            if (!support::same_bytes({pages.data(i), page}, saved.bytes().subspan(i * page, page))) return false;
        return true;
    };
    auto lent = source::over_pages(pages.span(), 0, count * page);
    auto target = sink::over_pages(others.span(), 0, count * page);
    REQUIRE(lent && target);
    EXPECT(lent->read(0, out.bytes()) && unchanged());
    EXPECT(lent->read_value<k::u64>(page - 3) && unchanged());
    EXPECT(xio::copy(*lent, *target) && unchanged());
    EXPECT(xio::equal(*lent, *lent) && unchanged());
    (void)xio::crc32c(*lent);
    (void)xio::internet_checksum(*lent);
    EXPECT(unchanged());
    EXPECT(xio::for_each_segment(*lent, {512, 0, 65536}, [](xio::segment) {}) && unchanged());
    {
        auto view = xio::source_view::map(*lent);
        REQUIRE(view);
        EXPECT(support::same_bytes(view->bytes(), saved.bytes()) && unchanged());
        auto copy = source::copy_of(view->bytes());
        REQUIRE(copy);
        auto mine = copy->into_sole_sink(); // in-place work happens on one's own copy
        REQUIRE(mine && mine->zero(0, count * page));
        EXPECT(unchanged());
    }
    auto longer = source::append(*lent, *lent);
    REQUIRE(longer);
    source front = longer->split_front(page + 5);
    EXPECT(!front.into_sole_sink() && !lent->into_sole_sink() && unchanged());
    EXPECT(target->zero(0, count * page) && unchanged());
    front = source();
    *longer = source();
    *lent = source();
    EXPECT(unchanged());
}
