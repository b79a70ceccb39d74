// Pages that change hands between private memory and a file: nothing is copied until somebody writes, and who writes to
// what he shares is served by copying before long.
#include "kernel/selftest/selftest.h"
#include "tests/support/lender.h"

using namespace tests;
using arch::page_size;

namespace {

constexpr k::u64 count = lent_pages;

struct file_and_lender : lender {
    k::ref<vm::object> file = [] {
        auto made = vm::object::anonymous(count);
        if (!made || !(*made)->fill(0, count)) return k::ref<vm::object>();
        return *std::move(made);
    }();

    // What begins a page of the file.
    k::u32 in_file(k::u64 page) {
        auto lent = file->lend(page * page_size, page_size);
        return lent ? number_in(*lent, 0) : ~0u;
    }
};

} // namespace

SELFTEST(vm_share, pages_change_hands_without_a_copy) {
    file_and_lender l;
    REQUIRE(l.file);
    const k::u64 before = xio::read_ledger().copied_bytes();
    EXPECT_EQ(l.file->take_from(*l.s, l.at, 0, count), count);
    EXPECT_EQ(l.file->give_to(*l.s, l.at, 0, count), count);
    EXPECT_EQ(xio::read_ledger().copied_bytes(), before);
    EXPECT_EQ(l.in_file(3), 103u);
    EXPECT_EQ(l.page(3), 103u);
    // Either side writes to a page of its own.
    EXPECT(l.set(3, 7));
    EXPECT_EQ(l.in_file(3), 103u);
    EXPECT(l.file->change_page(4, [](std::span<std::byte> page) { page[0] = std::byte{9}; }));
    EXPECT_EQ(l.page(4), 104u);
    EXPECT_EQ(l.in_file(4), 9u);
}

SELFTEST(vm_share, a_page_that_somebody_fills_is_not_shared) {
    file_and_lender l;
    REQUIRE(l.file);
    const xio::user_range range{l.at + page_size, page_size};
    const xio::user_ranges ranges{l.s.get(), {&range, 1}};
    k::result<xio::sink> filled = [&] {
        in_space here(*l.s);
        return vm::bind_sink(*l.s, xio::sink::over_user(ranges));
    }();
    REQUIRE(filled);
    EXPECT_EQ(l.file->take_from(*l.s, l.at, 0, count), 0u);
    EXPECT(filled->write_value(0, k::u32{5}));
    *filled = xio::sink();
    EXPECT_EQ(l.file->take_from(*l.s, l.at, 0, count), count);
    EXPECT_EQ(l.in_file(1), 5u);
}

// The same of a file's pages: somebody fills one through a mapping.
SELFTEST(vm_share, a_files_page_that_somebody_fills_is_not_shared) {
    file_and_lender l;
    auto other = vm::object::anonymous(count);
    REQUIRE(l.file && other);
    vm::map_request what{.bytes = lent_bytes, .how = vm::sharing::shared};
    what.what = l.file.share();
    const vm::user_address at = l.s->map(what).value_or(0);
    REQUIRE(at);
    const xio::user_range range{at + 3 * page_size, page_size};
    const xio::user_ranges ranges{l.s.get(), {&range, 1}};
    {
        k::result<xio::sink> filled = [&] {
            in_space here(*l.s);
            return vm::bind_sink(*l.s, xio::sink::over_user(ranges));
        }();
        REQUIRE(filled);
        EXPECT_EQ(l.file->give_to(*l.s, l.at, 0, count), 0u);
        const auto lent = l.file->lend(0, lent_bytes);
        EXPECT(!lent && lent.error() == k::error::again);
        const k::status shared = (*other)->share_pages(0, *l.file, 0, count);
        EXPECT(!shared && shared.error() == k::error::again);
        EXPECT(l.file->lend(4 * page_size, page_size)); // others are nobody's business
    }
    EXPECT_EQ(l.file->give_to(*l.s, l.at, 0, count), count);
    EXPECT((*other)->share_pages(0, *l.file, 0, count));
}

SELFTEST(vm_share, memory_that_cannot_change_hands_is_left_alone) {
    file_and_lender l;
    REQUIRE(l.file);
    EXPECT_EQ(l.file->take_from(*l.s, l.at, 1, count), 0u);         // beyond the file's end
    EXPECT_EQ(l.file->take_from(*l.s, 0, 0, count), 0u);            // nothing is mapped there
    EXPECT_EQ(l.file->give_to(*l.s, arch::user_end, 0, count), 0u); // no user memory
    EXPECT(l.file->punch(2, 1));                                    // a hole
    EXPECT_EQ(l.file->give_to(*l.s, l.at, 0, count), 0u);
    EXPECT(l.s->protect(l.at, lent_bytes, arch::user_read));
    EXPECT_EQ(l.file->give_to(*l.s, l.at, 0, 2), 0u); // may not be written
    EXPECT_EQ(l.page(0), 100u);
    const vm::user_address shared = fresh(*l.s, count, 0, vm::sharing::shared);
    REQUIRE(shared);
    EXPECT_EQ(l.file->give_to(*l.s, shared, 0, 2), 0u);
    EXPECT_EQ(l.file->take_from(*l.s, shared, 0, 2), 0u);
}

SELFTEST(vm_share, who_writes_to_what_he_shares_is_copied_for_a_while) {
    file_and_lender l;
    REQUIRE(l.file);
    EXPECT_EQ(l.file->take_from(*l.s, l.at, 0, count), count);
    EXPECT(l.set(0, 1)); // one page of many is no habit
    EXPECT_EQ(l.file->take_from(*l.s, l.at, 0, count), count);
    for (k::u64 i = 0; i < count; i++)
        EXPECT(l.set(i, 200 + static_cast<k::u32>(i)));
    unsigned declined = 0;
    while (declined < 1000 && !l.file->take_from(*l.s, l.at, 0, count))
        declined++;
    EXPECT(declined > 1);
    EXPECT(declined < 1000); // tried again
    EXPECT_EQ(l.in_file(2), 202u);
}
