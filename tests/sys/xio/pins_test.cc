// Pins: counted by kind, charged to a payer, dated; full counts; pages that outlive their owner; other CPUs.
#include "kernel/selftest/selftest.h"
#include "kernel/time/callout.h"
#include "sys/xio/walk.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"
#include "tests/support/threads.h"

#include <algorithm>

using vm::hold;
using xio::sink;
using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;

// Fills the pin count of a page up to the last place, and empties it again.
class full_pin_count {
  public:
    full_pin_count(vm::page* p, hold kind) : page_(p), kind_(kind) {
        while (p->holds.try_add(kind))
            added_++;
    }
    ~full_pin_count() { leave(0); }
    void leave(k::u32 pins) {
        for (; added_ > pins; added_--)
            vm::drop(page_, kind_);
    }
    k::u32 added() const { return added_; }

  private:
    vm::page* page_;
    hold kind_;
    k::u32 added_ = 0;
};

} // namespace

SELFTEST(xio, pins_of_sources_and_sinks_are_counted_apart) {
    support::page_set<3> pages;
    REQUIRE(pages.allocate());
    xio::payer mine, yours;
    auto from = source::over_pages(pages.span(), 10, page, {mine}); // touches two pages
    auto to = sink::over_pages(pages.span(), 0, 3 * page, {yours});
    auto more = source::over_run(pages[0], 0, page, {yours});
    REQUIRE(from && to && more);
    constexpr k::u32 sources[] = {2, 1, 0};
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(pages[i]->holds.count(hold::source_pin), sources[i]);
        EXPECT_EQ(pages[i]->holds.count(hold::sink_pin), 1u);
        EXPECT_EQ(pages[i]->holds.count(hold::reference), 1u);
        EXPECT_EQ(pages[i]->holds.count(hold::wire), 0u);
    }
    EXPECT_EQ(mine.source_pages(), 2u);
    EXPECT_EQ(mine.sink_pages(), 0u);
    EXPECT_EQ(yours.source_pages(), 1u);
    EXPECT_EQ(yours.sink_pages(), 3u);
    *from = source();
    *to = sink();
    EXPECT_EQ(mine.source_pages(), 0u);
    EXPECT_EQ(yours.sink_pages(), 0u);
    EXPECT_EQ(yours.source_pages(), 1u);
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 1u);
}

SELFTEST(xio, every_list_has_a_birth_time) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    const k::u64 before = ktime::now();
    auto first = source::over_run(pages[0], 0, 10);
    REQUIRE(first);
    const k::u64 between = ktime::now();
    lwkt::sleep_for(ktime::millisecond);
    auto second = source::over_run(pages[0], 0, 10);
    auto slice = first->slice(5, 5);
    REQUIRE(second && slice);
    EXPECT(first->birth_ns() >= before && first->birth_ns() <= between);
    EXPECT(second->birth_ns() > first->birth_ns() && second->birth_ns() <= ktime::now());
    EXPECT_EQ(slice->birth_ns(), first->birth_ns()); // slicing does not make a loan younger
    EXPECT_EQ(slice->clone().birth_ns(), first->birth_ns());
}

SELFTEST(xio, a_block_is_pinned_once_as_a_whole) {
    vm::page_ref block = support::allocate_block(4);
    REQUIRE(block);
    xio::payer payer;
    auto all = source::over_run(block.get(), 0, block.size(), {payer});
    auto inside = source::over_run(block.get() + 5, 100, 3 * page, {payer});
    REQUIRE(all && inside);
    EXPECT_EQ(block->holds.count(hold::source_pin), 2u); // on the head, one for each list
    EXPECT_EQ(payer.source_pages(), 16u + 4u);
    vm::page* scattered[] = {block.get() + 9, block.get() + 2, block.get() + 3};
    auto odd = sink::over_pages(scattered, 0, 3 * page, {payer});
    REQUIRE(odd);
    EXPECT_EQ(block->holds.count(hold::sink_pin), 2u); // one for each run of neighbours
    EXPECT_EQ(payer.sink_pages(), 3u);
    for (unsigned i = 1; i < 16; i++)
        EXPECT_EQ(vm::head_of(block.get() + i), block.get());
}

SELFTEST(xio, a_run_over_neighbouring_blocks_pins_each_once) {
    vm::page_ref blocks[32];
    for (vm::page_ref& b : blocks)
        REQUIRE(b = support::allocate_block(2));
    std::sort(blocks, blocks + 32, [](const auto& a, const auto& b) { return a.get() < b.get(); });
    vm::page_ref* pair =
        std::adjacent_find(blocks, blocks + 32, [](const auto& a, const auto& b) { return a.get() + 4 == b.get(); });
    REQUIRE(pair != blocks + 32);
    xio::payer payer;
    auto lent = source::over_run(pair->get() + 1, 0, 7 * page, {payer}); // the last three and all four
    auto filled = sink::over_run(pair->get(), 10, 4 * page, {payer});
    REQUIRE(lent && filled);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(pair[i]->holds.count(hold::source_pin), 1u);
        EXPECT_EQ(pair[i]->holds.count(hold::sink_pin), 1u);
    }
    EXPECT_EQ(payer.source_pages(), 7u);
    EXPECT_EQ(payer.sink_pages(), 5u);
    *lent = source();
    *filled = sink();
    for (unsigned i = 0; i < 2; i++)
        EXPECT(pair[i]->holds.only(hold::reference));
}

SELFTEST(xio, a_full_pin_count_is_eagain_with_nothing_held) {
    support::page_set<3> pages;
    REQUIRE(pages.allocate());
    xio::payer payer;
    for (hold kind : {hold::source_pin, hold::sink_pin}) {
        full_pin_count full(pages[1], kind);
        EXPECT_EQ(full.added(), vm::hold_counts::limit(kind));
        const xio::ledger before = xio::read_ledger();
        auto build = [&]() -> k::status {
            if (kind == hold::source_pin)
                return source::over_pages(pages.span(), 0, 3 * page, {payer}) ? k::status() : k::error::again;
            return sink::over_pages(pages.span(), 0, 3 * page, {payer}) ? k::status() : k::error::again;
        };
        EXPECT(!build());
        EXPECT_EQ(pages[0]->holds.count(kind), 0u);
        EXPECT_EQ(pages[1]->holds.count(kind), full.added());
        EXPECT_EQ(pages[2]->holds.count(kind), 0u);
        EXPECT_EQ(payer.source_pages() + payer.sink_pages(), 0u);
        const xio::ledger after = xio::read_ledger();
        constexpr auto refused = unsigned(xio::happening::build_refused), built = unsigned(xio::happening::built);
        EXPECT_EQ(after.count[refused] - before.count[refused], 1u);
        EXPECT_EQ(after.count[built], before.count[built]);
        full.leave(full.added() - 1);
        EXPECT(build());
    }
}

SELFTEST(xio, a_full_page_in_the_midst_of_a_run_lets_go_of_those_before) {
    // Single pages that are neighbours in memory: one extent, a pin on each.
    support::page_set<128> pages;
    REQUIRE(pages.allocate());
    vm::page* sorted[128];
    std::copy_n(pages.span().begin(), 128, sorted);
    std::sort(sorted, sorted + 128);
    vm::page** run = sorted;
    while (run + 3 < sorted + 128 && (run[0] + 1 != run[1] || run[1] + 1 != run[2]))
        run++;
    REQUIRE(run + 3 < sorted + 128);
    full_pin_count full(run[2], hold::source_pin);
    auto refused = source::over_run(run[0], 0, 3 * page);
    EXPECT(!refused && refused.error() == k::error::again);
    EXPECT(run[0]->holds.only(hold::reference) && run[1]->holds.only(hold::reference));
    EXPECT_EQ(run[2]->holds.count(hold::source_pin), full.added());
    auto shorter = source::over_run(run[0], 0, 2 * page);
    EXPECT(shorter);
    EXPECT_EQ(run[1]->holds.count(hold::source_pin), 1u);
}

SELFTEST(xio, a_full_pin_count_names_its_error) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    auto lent = source::over_run(pages[0], 0, page);
    auto target = sink::over_run(pages[0], 0, page);
    REQUIRE(lent && target);
    full_pin_count sources(pages[0], hold::source_pin), sinks(pages[0], hold::sink_pin);
    auto from = source::over_run(pages[0], 0, 1);
    auto to = sink::over_run(pages[0], 0, 1);
    auto longer = source::append(*lent, *lent);
    auto wider = sink::append(*target, *target);
    EXPECT(!from && from.error() == k::error::again);
    EXPECT(!to && to.error() == k::error::again);
    EXPECT(!longer && longer.error() == k::error::again);
    EXPECT(!wider && wider.error() == k::error::again);
    source slice = lent->clone(); // needs no pin
    EXPECT_EQ(slice.size(), page);
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), vm::hold_counts::limit(hold::source_pin));
    EXPECT_EQ(pages[0]->holds.count(hold::sink_pin), vm::hold_counts::limit(hold::sink_pin));
}

SELFTEST(xio, a_page_may_stand_in_a_list_as_often_as_pins_fit) {
    constexpr k::u32 most = vm::hold_counts::limit(hold::sink_pin);
    support::page_set<1> pages;
    support::buffer list((most + 1) * sizeof(vm::page*));
    REQUIRE(pages.allocate() && list);
    auto* places = reinterpret_cast<vm::page**>(list.data());
    for (k::u32 i = 0; i <= most; i++)
        places[i] = pages[0];
    auto too_many = sink::over_pages({places, most + 1}, 0, (most + 1) * page);
    EXPECT(!too_many && too_many.error() == k::error::again);
    EXPECT(pages[0]->holds.only(hold::reference));
    auto fits = sink::over_pages({places, most}, 0, most * page);
    EXPECT(fits);
    EXPECT_EQ(pages[0]->holds.count(hold::sink_pin), most);
}

SELFTEST(xio, pages_without_an_owner_live_until_their_last_holder) {
    const k::u64 before = support::test_pages_in_use();
    support::page_set<4> pages;
    REQUIRE(pages.allocate());
    vm::page_ref block = support::allocate_block(3);
    REQUIRE(block);
    support::fill_pattern({pages.data(3), page}, 3);
    auto whole = source::over_pages(pages.span(), 0, 4 * page);
    auto run = source::over_run(block.get(), 5 * page, 10);
    REQUIRE(whole && run);
    pages.drop_all();
    block = vm::page_ref();
    EXPECT_EQ(support::test_pages_in_use(), before + 4 + 8);
    auto slice = whole->slice(3 * page, page);
    REQUIRE(slice);
    *whole = source();
    *run = source();
    EXPECT_EQ(support::test_pages_in_use(), before + 4); // the slice holds its whole list
    support::buffer out(page);
    REQUIRE(out && slice->read(0, out.bytes()));
    EXPECT(support::has_pattern(out.bytes(), 3));
    *slice = source();
    EXPECT_EQ(support::test_pages_in_use(), before);
}

SELFTEST(xio, the_last_holder_may_let_go_on_any_cpu) {
    const k::u64 before = support::test_pages_in_use();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        support::page_set<70> pages; // more extents than one chained block holds
        REQUIRE(pages.allocate());
        xio::payer payer;
        auto lent = source::over_pages(pages.span(), 0, 70 * page, {payer});
        auto filled = sink::over_pages(pages.span(), 0, 70 * page, {payer});
        REQUIRE(lent && filled);
        pages.drop_all();
        REQUIRE(support::run_on(cpu, [&] {
            EXPECT_EQ(arch::cpu::id(), cpu);
            source mine = std::move(*lent);
            sink theirs = std::move(*filled);
            EXPECT(theirs.zero(0, 70 * page));
            EXPECT_EQ(mine.read_value<k::u64>(69 * page).value_or(1), 0u);
        }));
        EXPECT_EQ(payer.source_pages() + payer.sink_pages(), 0u);
        EXPECT_EQ(support::test_pages_in_use(), before);
    }
}

SELFTEST(xio, holders_on_all_cpus_share_one_list) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    auto whole = source::over_pages(pages.span(), 0, 2 * page);
    REQUIRE(whole);
    struct shared {
        const source& whole;
        lwkt::completion done;
    } work{*whole, lwkt::completion(arch::cpu::count())};
    unsigned started = 0;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        started += bool(lwkt::spawn(
            "holder", cpu, lwkt::normal_priority,
            [](void* argument) {
                auto& work = *static_cast<shared*>(argument);
                for (unsigned i = 0; i < 2000; i++) {
                    source mine = work.whole.clone();
                    source front = mine.split_front(i % 5000);
                    auto part = mine.slice(0, mine.size() / 2);
                    EXPECT(part && front.size() + mine.size() == 2 * page);
                    if (i % 100 == 0) lwkt::yield();
                }
                work.done.signal();
            },
            &work));
    for (unsigned missing = arch::cpu::count() - started; missing; missing--)
        work.done.signal();
    work.done.wait();
    EXPECT_EQ(started, arch::cpu::count());
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 1u);
    *whole = source();
    EXPECT(pages[0]->holds.only(hold::reference));
}
