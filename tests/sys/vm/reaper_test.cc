// Loans end: what is kept too long becomes a copy, the owner has its pages back, and whoever reads notices nothing.
#include "sys/vm/reaper.h"

#include "kernel/mem/fault_injection.h"
#include "kernel/selftest/selftest.h"
#include "sys/vm/object.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/support/lender.h"

using namespace tests;
using arch::page_size;
using lwkt_test::crew;

namespace {

constexpr k::u64 pages = lent_pages, bytes = lent_bytes;

struct kept_loan {
    lender l;
    vm::kept_source kept;

    bool keep() {
        auto lent = l.lend();
        if (!lent) return false;
        kept.keep(*std::move(lent));
        return true;
    }
    // The number in a page of what is kept.
    k::u32 page(unsigned i) {
        auto part = kept.slice(i * page_size, page_size);
        return part ? number_in(*part, 0) : ~0u;
    }
    k::u64 charged() { return l.s->payer().source_pages(); }
};

// Writes to all pages and gives the bytes that this copied.
k::u64 copied_by_writing(lender& l, k::u32 first) {
    const k::u64 before = copied_for(xio::reason::copy_on_write);
    for (unsigned i = 0; i < pages; i++)
        EXPECT(l.set(i, first + i));
    return copied_for(xio::reason::copy_on_write) - before;
}

} // namespace

SELFTEST(reaper, a_loan_that_lasts_too_long_becomes_a_copy) {
    kept_loan k;
    const ktime::ns start = ktime::now();
    const k::u64 before = copied_for(xio::reason::loan_ended);
    REQUIRE(k.keep());
    EXPECT_EQ(k.charged(), pages);
    lwkt_test::wait_until([&] { return k.charged() == 0; });
    if (!vm::memory_is_short()) EXPECT(ktime::now() - start >= vm::longest_loan);
    EXPECT_EQ(copied_for(xio::reason::loan_ended) - before, bytes);
    EXPECT_EQ(copied_by_writing(k.l, 500), 0u);
    for (unsigned i = 0; i < pages; i++) {
        EXPECT_EQ(k.page(i), 100 + i);
        EXPECT_EQ(k.l.page(i), 500 + i);
    }
}

SELFTEST(reaper, a_loan_that_ends_in_time_is_not_copied) {
    const k::u64 before = copied_for(xio::reason::loan_ended);
    {
        kept_loan k;
        REQUIRE(k.keep());
        EXPECT_EQ(copied_by_writing(k.l, 500), bytes); // it still counts
        EXPECT_EQ(k.page(1), 101u);
    }
    vm::reap_all_loans();
    EXPECT_EQ(copied_for(xio::reason::loan_ended), before);
}

SELFTEST(reaper, a_reader_goes_on_with_what_it_began_to_read) {
    kept_loan k;
    REQUIRE(k.keep());
    auto part = k.kept.slice(3 * page_size, page_size);
    REQUIRE(part);
    vm::reap_all_loans();
    EXPECT_EQ(k.charged(), pages); // of one list, until its last holder lets go
    EXPECT(k.l.set(3, 7));
    EXPECT_EQ(number_in(*part, 0), 103u);
    EXPECT_EQ(k.page(3), 103u);
    part = xio::source();
    EXPECT_EQ(k.charged(), 0u);
}

SELFTEST(reaper, what_was_read_already_is_not_copied) {
    kept_loan k;
    REQUIRE(k.keep());
    k.kept.forget_before(10 * page_size + 100);
    const k::u64 before = copied_for(xio::reason::loan_ended);
    vm::reap_all_loans();
    EXPECT_EQ(copied_for(xio::reason::loan_ended) - before, bytes - 10 * page_size - 100);
    EXPECT_EQ(k.charged(), 0u);
    EXPECT_EQ(k.page(11), 111u);
    EXPECT_EQ(k.page(pages - 1), 100 + pages - 1);
    EXPECT(!k.kept.slice(10 * page_size, page_size));
    EXPECT(!k.kept.slice(11 * page_size, bytes));
}

SELFTEST(reaper, everything_read_leaves_nothing_to_copy) {
    kept_loan k;
    REQUIRE(k.keep());
    k.kept.forget_before(bytes);
    const k::u64 before = copied_for(xio::reason::loan_ended);
    vm::reap_all_loans();
    EXPECT_EQ(copied_for(xio::reason::loan_ended), before);
    EXPECT_EQ(k.charged(), 0u);
}

SELFTEST(reaper, what_is_nobodys_or_shared_on_purpose_is_left_alone) {
    lender l;
    const k::u32 number = 42;
    auto own = xio::source::copy_of(std::as_bytes(std::span(&number, 1)));
    auto live = l.lend(xio::stability::live);
    REQUIRE(own && live);
    vm::kept_source first, second;
    first.keep(*std::move(own));
    second.keep(*std::move(live));
    const k::u64 before = copied_for(xio::reason::loan_ended);
    vm::reap_all_loans();
    EXPECT_EQ(copied_for(xio::reason::loan_ended), before);
    auto part = second.slice(0, page_size);
    REQUIRE(part && l.set(0, 9));
    EXPECT_EQ(l.s->payer().source_pages(), pages);
}

SELFTEST(reaper, without_memory_a_loan_stays_until_there_is_some) {
    kept_loan k;
    REQUIRE(k.keep());
    // The reaper's allocations are the only ones on a machine that waits for it; if not, nothing is shown.
    for (k::u64 n = 1; n < 8; n++) {
        mem::fault_injection::fail_nth(n);
        vm::reap_all_loans();
        mem::fault_injection::fail_nth(0);
        EXPECT(k.charged() == pages || k.charged() == 0);
        EXPECT_EQ(k.page(pages - 1), 100 + pages - 1);
    }
    vm::reap_all_loans();
    EXPECT_EQ(k.charged(), 0u);
    EXPECT_EQ(k.page(0), 100u);
}

SELFTEST(reaper, an_owner_that_has_ended_leaves_nothing_behind) {
    vm::kept_source kept;
    const k::u64 before = vm::account().in_use[static_cast<unsigned>(vm::page_use::object)];
    {
        lender l;
        auto lent = l.lend();
        REQUIRE(lent);
        kept.keep(*std::move(lent));
    }
    EXPECT_EQ(vm::account().in_use[static_cast<unsigned>(vm::page_use::object)], before + pages);
    vm::reap_all_loans();
    EXPECT_EQ(vm::account().in_use[static_cast<unsigned>(vm::page_use::object)], before);
    auto all = kept.slice(0, bytes);
    REQUIRE(all);
    for (unsigned i = 0; i < pages; i++)
        EXPECT_EQ(number_in(*all, i), 100 + i);
}

SELFTEST(reaper, the_reaper_races_readers_and_ends) {
    std::atomic<unsigned> at_work = arch::cpu::count();
    auto body = [&](unsigned number) {
        lender l(1000 * number);
        for (unsigned round = 0; round < 200; round++) {
            vm::kept_source kept;
            auto lent = l.lend();
            if (!lent) continue;
            const unsigned page = round % pages;
            const k::u32 was = number_in(*lent, page);
            kept.keep(*std::move(lent));
            EXPECT(l.set(page, was + 1));
            if (round % 3) lwkt::yield();
            kept.forget_before(page * page_size);
            auto part = kept.slice(page * page_size, page_size);
            if (part) EXPECT_EQ(number_in(*part, 0), was);
            EXPECT(part);
            if (round % 5 == 0) lwkt::yield();
        }
        at_work--;
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    while (at_work.load()) {
        vm::reap_all_loans();
        lwkt::yield();
    }
}

SELFTEST(reaper, all_of_a_kept_loan_is_what_it_was_before_and_after_it_ended) {
    kept_loan k;
    REQUIRE(k.keep());
    const xio::source before = k.kept.all();
    EXPECT_EQ(before.size(), bytes);
    vm::reap_all_loans();
    EXPECT_EQ(k.charged(), pages); // somebody has the old one
    const xio::source after = k.kept.all();
    EXPECT(after.paid_by() == &xio::kernel_payer && after.size() == bytes);
    for (unsigned i = 0; i < pages; i++) {
        EXPECT_EQ(number_in(before, i), 100 + i);
        EXPECT_EQ(number_in(after, i), 100 + i);
    }
    // What was forgotten is not copied.
    kept_loan part;
    REQUIRE(part.keep());
    part.kept.forget_before(3 * page_size);
    vm::reap_all_loans();
    EXPECT_EQ(part.kept.all().size(), bytes - 3 * page_size);
    EXPECT_EQ(number_in(part.kept.all(), 0), 103u);
}
