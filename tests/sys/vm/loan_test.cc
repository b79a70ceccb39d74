// Loans: a lender may change its memory at once, a filler's page is never exchanged under it, and whoever holds pages
// last gives them back, whatever became of the lender.
#include "kernel/lwkt/ipiq.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/lender.h"
#include "tests/support/threads.h"

using namespace tests;
using arch::page_size;
using vm::space;
using xio::stability;

namespace {

constexpr k::u64 pages = lent_pages, bytes = lent_bytes;

} // namespace

SELFTEST(loan, a_write_during_a_loan_gets_a_copy_and_the_loan_keeps_the_old_bytes) {
    lender l;
    auto lent = l.lend();
    REQUIRE(lent);
    EXPECT_EQ(lent->size(), bytes);
    const k::u64 before = copied_for(xio::reason::copy_on_write);
    EXPECT(l.set(3, 7));
    EXPECT_EQ(copied_for(xio::reason::copy_on_write) - before, page_size);
    EXPECT_EQ(number_in(*lent, 3), 103u);
    EXPECT_EQ(l.page(3), 7u);
    EXPECT(l.set(3, 8)); // the copy is its own: no other is made
    EXPECT_EQ(copied_for(xio::reason::copy_on_write) - before, page_size);
    EXPECT_EQ(l.page(4), number_in(*lent, 4));
}

SELFTEST(loan, the_kernels_change_of_a_lent_page_leaves_the_loan_alone) {
    auto kept = vm::object::anonymous(1);
    auto made = space::create();
    REQUIRE(kept && made);
    space& s = **made;
    auto set = [&](k::u32 value) {
        return (*kept)->change_page(
            0, [&](std::span<std::byte> page) { std::memcpy(page.data(), &value, sizeof(value)); });
    };
    EXPECT(set(1));
    vm::map_request what{.bytes = page_size, .access = arch::user_read};
    what.what = kept->share();
    const vm::user_address at = s.map(what).value_or(0);
    REQUIRE(at);
    EXPECT_EQ(get(s, at).value_or(0), 1u);
    const k::u64 before = copied_for(xio::reason::copy_on_write);
    EXPECT(set(2)); // in place: who only looks holds nothing
    EXPECT_EQ(get(s, at).value_or(0), 2u);
    EXPECT_EQ(copied_for(xio::reason::copy_on_write), before);
    {
        const xio::user_range range{at, page_size};
        const xio::user_ranges ranges{&s, {&range, 1}};
        k::result<xio::source> lent = [&] {
            in_space here(s);
            return vm::bind_source(s, xio::source::over_user(ranges), stability::stable);
        }();
        REQUIRE(lent);
        EXPECT(set(3));
        EXPECT_EQ(number_in(*lent, 0), 2u);
        EXPECT_EQ(get(s, at).value_or(0), 3u);
    }
    EXPECT(s.protect(at, page_size, arch::user_read | arch::user_write));
    EXPECT(put(s, at, 4)); // a private copy
    EXPECT(set(5));
    EXPECT_EQ(get(s, at).value_or(0), 4u);
    const k::status beyond = (*kept)->change_page(1, [](std::span<std::byte>) {});
    EXPECT(!beyond && beyond.error() == k::error::io);
}

SELFTEST(loan, a_loan_that_ended_first_costs_no_copy) {
    lender l;
    {
        auto lent = l.lend();
        REQUIRE(lent);
    }
    const k::u64 before = xio::read_ledger().copied_bytes();
    {
        in_space here(*l.s);
        EXPECT(l.s->fault(l.at, arch::user_write));
    }
    EXPECT_EQ(xio::read_ledger().copied_bytes(), before);
    EXPECT(l.set(0, 9));
    EXPECT_EQ(l.page(0), 9u);
}

SELFTEST(loan, lending_copies_nothing) {
    lender l;
    const k::u64 before = xio::read_ledger().copied_bytes();
    auto lent = l.lend();
    REQUIRE(lent);
    EXPECT_EQ(xio::read_ledger().copied_bytes(), before);
    EXPECT_EQ(l.s->payer().source_pages(), pages);
}

SELFTEST(loan, what_is_small_is_copied_and_the_books_say_so) {
    lender l;
    l.range.bytes = 100;
    const k::u64 before = copied_for(xio::reason::too_small);
    auto lent = l.lend();
    REQUIRE(lent);
    EXPECT_EQ(copied_for(xio::reason::too_small) - before, 100u);
    EXPECT_EQ(l.s->payer().source_pages(), 1u);
    EXPECT(l.set(0, 1));
    EXPECT_EQ(number_in(*lent, 0), 100u);
}

SELFTEST(loan, thresholds_are_measured_and_stay_near_to_where_they_begin) {
    for (unsigned turn = 0; turn < 2; turn++) {
        const auto& begin = vm::initial_thresholds;
        const auto& now = vm::thresholds();
        const auto near = [](k::u64 is, k::u64 was) { return is >= was / 2 && is <= was * 4; };
        EXPECT(near(now.blocked, begin.blocked));
        EXPECT(near(now.stable_one_cpu, begin.stable_one_cpu));
        EXPECT(near(now.stable_many, begin.stable_many));
        EXPECT(near(now.deliver, begin.deliver));
        EXPECT(now.stable_one_cpu <= now.stable_many);
        EXPECT_EQ(now.pages_a_space, begin.pages_a_space);
        vm::calibrate_loans();
    }
}

SELFTEST(loan, a_loan_begins_at_the_threshold) {
    lender l;
    for (bool enough : {false, true}) {
        l.range.bytes = vm::thresholds().stable_one_cpu - !enough;
        const k::u64 before = copied_for(xio::reason::too_small);
        auto lent = l.lend();
        REQUIRE(lent);
        EXPECT_EQ(copied_for(xio::reason::too_small) - before, enough ? 0 : l.range.bytes);
    }
}

SELFTEST(loan, a_blocked_loan_tells_no_cpu) {
    lender l;
    const auto before = vm::read_shootdowns();
    auto lent = l.lend(stability::blocked);
    REQUIRE(lent);
    EXPECT_EQ(vm::read_shootdowns().flushes, before.flushes);
}

SELFTEST(loan, two_loans_of_one_page_are_told_apart) {
    lender l;
    auto first = l.lend();
    REQUIRE(first && l.set(0, 1));
    auto second = l.lend();
    REQUIRE(second && l.set(0, 2));
    EXPECT_EQ(number_in(*first, 0), 100u);
    EXPECT_EQ(number_in(*second, 0), 1u);
    EXPECT_EQ(l.page(0), 2u);
    first = xio::source();
    EXPECT_EQ(number_in(*second, 0), 1u);
}

SELFTEST(loan, fork_during_a_source_leaves_three_that_see_their_own) {
    lender l;
    auto lent = l.lend();
    REQUIRE(lent);
    auto child = l.s->fork();
    REQUIRE(child);
    EXPECT(l.set(0, 1));
    EXPECT(put(**child, l.at, 2));
    EXPECT_EQ(number_in(*lent, 0), 100u);
    EXPECT_EQ(l.page(0), 1u);
    EXPECT_EQ(get(**child, l.at).value_or(0), 2u);
}

SELFTEST(loan, fork_during_a_sink_copies_for_the_child_and_the_owner_sees_what_arrives) {
    lender l;
    auto filling = l.lend_to_fill();
    REQUIRE(filling);
    auto child = l.s->fork();
    REQUIRE(child);
    EXPECT(l.set(1, 55)); // the owner writes beside the device: still the same page
    REQUIRE(filling->write_value(0, k::u32{77}));
    EXPECT_EQ(l.page(0), 77u);
    EXPECT_EQ(get(**child, l.at).value_or(0), 100u);
    REQUIRE(filling->write_value(page_size + 8, k::u32{78}));
    EXPECT_EQ(l.page(1), 55u);
    EXPECT_EQ(get(*l.s, l.at + page_size + 8).value_or(0), 78u);
    EXPECT_EQ(get(**child, l.at + page_size).value_or(0), 101u);
}

SELFTEST(loan, unmapping_and_the_owners_end_wait_for_nothing) {
    k::result<xio::source> kept = k::error::inval;
    k::result<xio::sink> filling = k::error::inval;
    {
        lender l;
        kept = l.lend();
        REQUIRE(kept);
        REQUIRE(l.s->unmap(l.at, 8 * page_size));
        EXPECT(!get(*l.s, l.at));
        lender other(200);
        filling = other.lend_to_fill();
        REQUIRE(filling && other.s->unmap(other.at, bytes));
    }
    for (unsigned i = 0; i < pages; i++)
        EXPECT_EQ(number_in(*kept, i), 100 + i);
    EXPECT(filling->zero(0, bytes));
}

SELFTEST(loan, moving_and_protecting_memory_does_not_disturb_a_loan) {
    lender l;
    auto lent = l.lend();
    REQUIRE(lent);
    auto moved = l.s->remap(l.at, bytes, 2 * bytes, true, l.at + 0x4000'0000 < arch::user_end ? 0 : 0, false);
    REQUIRE(moved);
    EXPECT(put(*l.s, *moved, 1));
    REQUIRE(l.s->protect(*moved, bytes, arch::user_read));
    EXPECT(!put(*l.s, *moved, 2));
    EXPECT_EQ(number_in(*lent, 0), 100u);
    EXPECT_EQ(get(*l.s, *moved + page_size).value_or(0), 101u);
}

SELFTEST(loan, a_page_that_is_being_filled_is_not_promised_to_stay) {
    lender l;
    auto filling = l.lend_to_fill();
    REQUIRE(filling);
    const k::u64 before = copied_for(xio::reason::not_lendable);
    auto lent = l.lend();
    REQUIRE(lent);
    EXPECT_EQ(copied_for(xio::reason::not_lendable) - before, bytes);
    REQUIRE(filling->write_value(0, k::u32{1}));
    EXPECT_EQ(number_in(*lent, 0), 100u);
}

SELFTEST(loan, bad_ranges_are_faults_with_nothing_held) {
    lender l;
    l.range.bytes = bytes + page_size;
    REQUIRE(fresh(*l.s, 1, l.at - 4 * page_size)); // (not a neighbour)
    if (l.at + bytes < arch::user_end) (void)l.s->unmap(l.at + bytes, page_size);
    auto lent = l.lend();
    EXPECT(!lent && lent.error() == k::error::fault);
    for (xio::user_range bad : {xio::user_range{0, bytes},
                                {arch::user_end - page_size, bytes},
                                {~k::u64{0} - 10, bytes},
                                {k::u64{1} << 63, bytes},
                                {l.at, k::u64{1} << 50}}) {
        l.range = bad;
        auto source = l.lend();
        EXPECT(!source);
        auto sink = l.lend_to_fill();
        EXPECT(!sink);
    }
    EXPECT_EQ(l.s->payer().source_pages() + l.s->payer().sink_pages(), 0u);
}

SELFTEST(loan, several_ranges_make_one_source) {
    lender l;
    xio::user_range parts[] = {
        {l.at + 10, 3 * page_size}, {l.at, 0}, {l.at + 5 * page_size + 1, 4 * page_size}, {l.at, 20}};
    l.ranges.ranges = parts;
    auto lent = l.lend();
    REQUIRE(lent);
    EXPECT_EQ(lent->size(), 7 * page_size + 20);
    auto last = lent->read_value<k::u32>(7 * page_size);
    EXPECT_EQ(last.has_value() ? *last : 0, 100u);
}

SELFTEST(loan, pages_are_delivered_instead_of_bytes) {
    lender from, to(500);
    auto lent = from.lend();
    REQUIRE(lent);
    const k::u64 before = xio::read_ledger().copied_bytes();
    {
        in_space here(*to.s);
        auto sink = xio::sink::over_user(to.ranges);
        const xio::moved m = vm::deliver(*to.s, sink, *lent);
        EXPECT_EQ(m.bytes, bytes);
        EXPECT(m.status);
    }
    EXPECT_EQ(xio::read_ledger().copied_bytes(), before);
    lent = xio::source();
    for (unsigned i = 0; i < pages; i++)
        EXPECT_EQ(to.page(i), 100 + i);
    EXPECT(from.set(0, 1) && to.set(1, 2));
    EXPECT_EQ(to.page(0), 100u);
    EXPECT_EQ(from.page(1), 101u);
}

SELFTEST(loan, a_delivery_that_does_not_fit_pages_is_copied) {
    lender from, to(500);
    from.range = {from.at + 4, bytes - 8};
    to.range = {to.at + 100, bytes - 200};
    auto lent = from.lend();
    REQUIRE(lent);
    in_space here(*to.s);
    auto sink = xio::sink::over_user(to.ranges);
    const xio::moved m = vm::deliver(*to.s, sink, *lent);
    EXPECT_EQ(m.bytes, bytes - 200);
    EXPECT_EQ(get(*to.s, to.at + 96 + page_size).value_or(0), 101u);
}

SELFTEST(loan, three_see_new_new_and_old_when_shared_memory_breaks) {
    auto object = vm::object::anonymous(pages);
    auto a = space::create(), b = space::create();
    REQUIRE(object && a && b);
    auto map = [&](space& s) {
        vm::map_request what{.bytes = bytes, .how = vm::sharing::shared, .what = object->share()};
        return s.map(what);
    };
    auto at = map(**a), bt = map(**b);
    REQUIRE(at && bt && put(**a, *at, 1));
    EXPECT_EQ(get(**b, *bt).value_or(0), 1u);
    xio::user_range range{*at, bytes};
    xio::user_ranges ranges{a->get(), {&range, 1}};
    k::result<xio::source> lent = k::error::inval;
    {
        in_space here(**a);
        lent = vm::bind_source(**a, xio::source::over_user(ranges), stability::stable);
    }
    REQUIRE(lent);
    EXPECT_EQ((*a)->payer().source_pages(), pages);
    EXPECT(put(**b, *bt, 2));
    EXPECT_EQ(get(**a, *at).value_or(0), 2u);
    EXPECT_EQ(get(**b, *bt).value_or(0), 2u);
    EXPECT_EQ(number_in(*lent, 0), 1u);
}

// The promise is stable already where nothing can be written: nobody needs to be told again.
SELFTEST(loan, lending_again_what_is_protected_tells_no_cpu) {
    lender l;
    auto first = l.lend();
    REQUIRE(first);
    const auto before = vm::read_shootdowns();
    auto second = l.lend();
    REQUIRE(second);
    EXPECT_EQ(vm::read_shootdowns().flushes, before.flushes);
}

// Protection is not taken for granted where somebody has written since.
SELFTEST(loan, what_was_written_in_place_is_protected_again) {
    lender l;
    for (k::u32 round = 0; round < 4; round++) {
        const auto lend = [&] { return round % 2 ? l.lend() : l.lend_as_a_whole(); };
        REQUIRE(lend()); // and has ended
        const k::u64 before = copied_for(xio::reason::copy_on_write);
        EXPECT(l.set(pages - 1, 10 + round)); // the last: none behind it becomes writable with it
        EXPECT_EQ(copied_for(xio::reason::copy_on_write), before);
        auto lent = lend();
        REQUIRE(lent);
        EXPECT(l.set(pages - 1, 20));
        EXPECT_EQ(number_in(*lent, pages - 1), 10 + round);
    }
}

SELFTEST(loan, each_loan_keeps_its_bytes_whatever_was_written_between) {
    lender l;
    for (k::u32 round = 1; round < 40; round++) {
        const k::u32 page = round * 7 % pages, other = round * 5 % pages;
        const k::u32 was = l.page(page);
        auto lent = round % 4 ? l.lend() : l.lend_as_a_whole();
        REQUIRE(lent);
        EXPECT(l.set(page, 1000 + round));
        EXPECT_EQ(number_in(*lent, page), was);
        const k::u32 now = l.page(other);
        auto second = round % 3 ? round % 5 ? l.lend() : l.lend_as_a_whole() : lent->slice(0, bytes);
        REQUIRE(second);
        if (round % 2) *lent = {};
        EXPECT(l.set(other, 2000 + round));
        EXPECT(l.set(page, 3000 + round));
        if (round % 3) EXPECT_EQ(number_in(*second, other), now);
        if (round % 3 && page != other) EXPECT_EQ(number_in(*second, page), 1000 + round);
    }
}

SELFTEST(loan, over_its_limit_a_space_is_served_by_copies) {
    lender l;
    const k::u64 most = vm::thresholds().pages_a_space / pages;
    auto* loans = static_cast<xio::source*>(mem::allocate((most + 1) * sizeof(xio::source)));
    REQUIRE(loans);
    const k::u64 before = copied_for(xio::reason::over_limit);
    k::u64 made = 0;
    for (; made <= most; made++) {
        auto lent = l.lend();
        if (!lent) break;
        new (&loans[made]) xio::source(*std::move(lent));
        EXPECT_EQ(copied_for(xio::reason::over_limit) - before, made < most ? 0 : bytes);
    }
    EXPECT_EQ(made, most + 1);
    EXPECT(l.set(0, 7));
    while (made--) {
        EXPECT_EQ(number_in(loans[made], 0), 100u);
        loans[made].~source();
    }
    mem::free(loans);
}

// A child that keeps a loan and forgets the memory must not see what the parent writes there later.
SELFTEST(loan, a_child_that_lent_and_unmapped_sees_none_of_the_parents_writes) {
    lender l;
    auto child = l.s->fork();
    REQUIRE(child);
    k::result<xio::source> lent = k::error::inval;
    {
        in_space here(**child);
        xio::user_ranges ranges{child->get(), {&l.range, 1}};
        lent = vm::bind_source(**child, xio::source::over_user(ranges), stability::stable);
    }
    REQUIRE(lent && (*child)->unmap(l.at, bytes));
    for (unsigned i = 0; i < pages; i++)
        EXPECT(l.set(i, 500 + i));
    for (unsigned i = 0; i < pages; i++)
        EXPECT_EQ(number_in(*lent, i), 100 + i);
}

SELFTEST(loan, a_sink_after_fork_is_the_owners_alone) {
    lender l;
    auto child = l.s->fork();
    REQUIRE(child);
    auto filling = l.lend_to_fill(); // breaks the sharing before it pins
    REQUIRE(filling && filling->write_value(0, k::u32{77}));
    EXPECT_EQ(l.page(0), 77u);
    EXPECT_EQ(get(**child, l.at).value_or(0), 100u);
}

namespace {

struct mapped_object {
    k::ref<vm::object> object;
    k::ref<space> s;
    xio::user_range range{};
    xio::user_ranges ranges{};

    bool map(vm::sharing how) {
        auto made = vm::object::anonymous(pages);
        auto where = space::create();
        if (!made || !where) return false;
        object = *std::move(made);
        s = *std::move(where);
        vm::map_request what{.bytes = bytes, .how = how, .what = object.share()};
        auto at = s->map(what);
        if (!at) return false;
        range = {*at, bytes};
        ranges = {s.get(), {&range, 1}};
        return true;
    }
    k::u32 number_in_object(k::u64 offset) {
        auto to = xio::sink::fresh(sizeof(k::u32));
        if (!to || object->read(offset, *to).bytes != sizeof(k::u32)) return ~0u;
        auto from = to->into_source();
        return from ? number_in(*from, 0) : ~0u;
    }
};

} // namespace

SELFTEST(loan, filling_a_private_mapping_leaves_the_file_as_it_was) {
    mapped_object m;
    REQUIRE(m.map(vm::sharing::private_copy));
    in_space here(*m.s);
    EXPECT_EQ(m.number_in_object(0), 0u);
    auto filling = vm::bind_sink(*m.s, xio::sink::over_user(m.ranges));
    REQUIRE(filling && filling->write_value(8, k::u32{77}));
    EXPECT_EQ(m.number_in_object(8), 0u);
    k::u32 seen = 0;
    EXPECT_EQ(m.s->copy_in(&seen, m.range.base + 8, sizeof(seen)), sizeof(seen));
    EXPECT_EQ(seen, 77u);
}

SELFTEST(loan, truncating_waits_for_no_loan_and_takes_nothing_from_it) {
    mapped_object m;
    REQUIRE(m.map(vm::sharing::shared));
    REQUIRE(put(*m.s, m.range.base, 5));
    k::result<xio::source> lent = k::error::inval;
    {
        in_space here(*m.s);
        lent = vm::bind_source(*m.s, xio::source::over_user(m.ranges), stability::stable);
    }
    REQUIRE(lent && m.object->resize(0));
    EXPECT(!get(*m.s, m.range.base));
    REQUIRE(m.object->resize(pages));
    REQUIRE(put(*m.s, m.range.base, 6)); // another page
    EXPECT_EQ(number_in(*lent, 0), 5u);
    EXPECT_EQ(m.number_in_object(0), 6u);
}

namespace {

struct race {
    lender l;
    std::atomic<bool> over = false;
    std::atomic<k::u32> torn = 0;
    lwkt::completion done{1};
};

} // namespace

// Another CPU writes to the lent memory all the time; every loan shows one moment's bytes, twice.
SELFTEST(loan, a_stable_source_does_not_change_while_another_cpu_writes) {
    if (arch::cpu::count() < 2) return;
    race r;
    auto writer = [](void* argument) {
        auto& r = *static_cast<race*>(argument);
        {
            in_space here(*r.l.s);
            for (k::u32 n = 0; !r.over.load(); n++) {
                (void)r.l.s->copy_out(r.l.at + n % pages * page_size, &n, sizeof(n));
                if (n % 64 == 0) lwkt::yield();
            }
        }
        r.done.signal();
    };
    REQUIRE(lwkt::spawn("writer", 1, lwkt::normal_priority, writer, &r));
    for (unsigned round = 0; round < 300; round++) {
        auto lent = r.l.lend();
        if (!lent) continue;
        k::u32 first[pages];
        for (unsigned i = 0; i < pages; i++)
            first[i] = number_in(*lent, i);
        for (unsigned i = 0; i < pages; i++)
            if (number_in(*lent, i) != first[i]) r.torn++;
        lwkt::yield();
    }
    r.over = true;
    r.done.wait();
    EXPECT_EQ(r.torn.load(), 0u);
}

// fork and pin meet on two CPUs: whatever comes first, what the filler writes is seen by the owner and never by the
// child.
SELFTEST(loan, fork_races_pin) {
    if (arch::cpu::count() < 2) return;
    race r;
    auto filler = [](void* argument) {
        auto& r = *static_cast<race*>(argument);
        for (k::u32 n = 1; !r.over.load(); n++) {
            auto filling = r.l.lend_to_fill();
            if (filling && filling->write_value(0, 1000 + n) && get(*r.l.s, r.l.at).value_or(0) != 1000 + n) r.torn++;
            lwkt::yield();
        }
        r.done.signal();
    };
    REQUIRE(lwkt::spawn("filler", 1, lwkt::normal_priority, filler, &r));
    const ktime::ns end = ktime::after(2 * ktime::second);
    for (unsigned round = 0; round < 100'000 && ktime::now() < end; round++) {
        auto child = r.l.s->fork();
        if (!child) continue;
        const auto first = get(**child, r.l.at);
        for (unsigned i = 0; i < 20; i++)
            if (get(**child, r.l.at) != first) r.torn++;
        lwkt::yield();
    }
    r.over = true;
    r.done.wait();
    EXPECT_EQ(r.torn.load(), 0u);
}
