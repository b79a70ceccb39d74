// vm::hold_counts: four counts in one word that never touch each other.
#include "kernel/lib/random.h"
#include "kernel/mem/page.h"
#include "tests/kernel/lwkt/crew.h"

using lwkt_test::crew;
using vm::hold;
using vm::hold_counts;

namespace {
constexpr hold kinds[] = {hold::reference, hold::source_pin, hold::sink_pin, hold::wire};
}

SELFTEST(mem, each_kind_of_hold_is_counted_apart) {
    for (const hold first : kinds) {
        hold_counts counts{};
        EXPECT(counts.none());
        counts.start(first);
        EXPECT(counts.only(first));
        for (const hold kind : kinds) {
            EXPECT_EQ(counts.count(kind), kind == first ? 1u : 0u);
            EXPECT(counts.try_add(kind));
            EXPECT(!counts.only(first));
            EXPECT(!counts.none());
            EXPECT_EQ(counts.count(kind), kind == first ? 2u : 1u);
            EXPECT(!counts.drop(kind));
        }
        EXPECT(counts.only(first));
        EXPECT(counts.drop(first));
        EXPECT(counts.none());
    }
}

SELFTEST(mem, holds_fit_a_model_and_the_last_drop_of_any_kind_is_told) {
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 100; round++) {
        hold_counts counts{};
        unsigned model[4] = {};
        const auto start = static_cast<unsigned>(random.below(4));
        counts.start(kinds[start]);
        model[start] = 1;
        unsigned total = 1;
        for (unsigned i = 0; total && i < 200; i++) {
            const auto kind = static_cast<unsigned>(random.below(4));
            if (random.below(2) && total < 20) {
                EXPECT(counts.try_add(kinds[kind]));
                model[kind]++;
                total++;
            } else if (model[kind]) {
                model[kind]--;
                total--;
                EXPECT_EQ(counts.drop(kinds[kind]), total == 0);
            }
            for (unsigned n = 0; n < 4; n++)
                EXPECT_EQ(counts.count(kinds[n]), model[n]);
            EXPECT_EQ(counts.none(), total == 0);
            EXPECT_EQ(counts.is_sole(), model[0] == 1 && !model[1]); // one reference, no source pin
        }
    }
}

SELFTEST(mem, a_full_count_refuses_and_changes_nothing) {
    for (const hold kind : kinds) {
        hold_counts counts{};
        counts.start(kind);
        for (const hold other : kinds)
            if (other != kind) EXPECT(counts.try_add(other));
        k::u32 added = 1;
        while (added <= hold_counts::limit(kind) && counts.try_add(kind))
            added++;
        EXPECT_EQ(added, hold_counts::limit(kind));
        for (unsigned i = 0; i < 3; i++)
            EXPECT(!counts.try_add(kind));
        EXPECT_EQ(counts.count(kind), added);
        for (const hold other : kinds)
            if (other != kind) EXPECT_EQ(counts.count(other), 1u);
        EXPECT(!counts.drop(kind));
        EXPECT(counts.try_add(kind)); // room for one again
        EXPECT(!counts.try_add(kind));
    }
}

SELFTEST(mem, a_count_that_all_cpus_overrun_stays_exact) {
    hold_counts counts{};
    counts.start(hold::wire);
    std::atomic<k::u32> added = 1;
    auto body = [&](unsigned) {
        for (unsigned i = 0; i < hold_counts::limit(hold::wire); i++)
            if (counts.try_add(hold::wire)) added.fetch_add(1);
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    c.join();
    EXPECT_EQ(added.load(), hold_counts::limit(hold::wire));
    EXPECT_EQ(counts.count(hold::wire), hold_counts::limit(hold::wire));
    EXPECT_EQ(counts.count(hold::sink_pin), 0u);
    EXPECT_EQ(counts.count(hold::reference), 0u);
}

SELFTEST(mem, racing_drops_free_a_page_exactly_once) {
    constexpr unsigned rounds = 300;
    std::atomic<vm::page*> current = nullptr;
    std::atomic<unsigned> turn = 0, left = 0, last_drops = 0;
    const unsigned threads = 2 * arch::cpu::count();
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        for (unsigned round = 1; round <= rounds; round++) {
            lwkt_test::yield_until([&] { return turn.load() == round; });
            vm::page* p = current.load();
            const hold mine = kinds[number % 4];
            for (auto i = random.below(4); i > 0; i--) { // it holds one already, so it may add
                const hold kind = kinds[random.below(4)];
                if (p->holds.try_add(kind)) EXPECT(!p->holds.drop(kind));
            }
            if (p->holds.drop(mine)) {
                last_drops.fetch_add(1);
                EXPECT(p->holds.none());
                vm::free_block(p);
            }
            left.fetch_sub(1);
        }
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 2));
    for (unsigned round = 1; round <= rounds; round++) {
        vm::page* p = vm::allocate_page(vm::page_use::test, vm::fill::any);
        if (!p) lwkt_test::wait_until([&] { return (p = vm::allocate_page(vm::page_use::test, vm::fill::any)); });
        for (unsigned i = 0; i < threads; i++)
            EXPECT(p->holds.try_add(kinds[i % 4]));
        EXPECT(!p->holds.drop(hold::reference)); // ours
        current.store(p);
        left.store(threads);
        turn.store(round);
        lwkt_test::yield_until([&] { return left.load() == 0; });
    }
    c.join();
    EXPECT_EQ(last_drops.load(), rounds);
}
