// kernel/lwkt/token: exclusion while running, given up while blocked, and no deadlock whatever the order.
#include "kernel/lwkt/token.h"

#include "kernel/lib/random.h"
#include "tests/kernel/lwkt/crew.h"

#include <algorithm>

using ktime::microsecond;
using ktime::millisecond;
using lwkt::sharing;
using lwkt::token;
using lwkt::token_hold;
using lwkt_test::crew;

SELFTEST(lwkt, a_token_is_held_in_its_scope_by_its_thread_alone) {
    token t, other;
    EXPECT(!t.held());
    {
        token_hold hold(t);
        EXPECT(t.held());
        EXPECT(!other.held());
        std::atomic<bool> seen_from_elsewhere = true;
        auto look = [&](unsigned) { seen_from_elsewhere.store(t.held()); };
        crew c;
        REQUIRE(c.start(arch::cpu::count() - 1, look));
        c.join();
        EXPECT(!seen_from_elsewhere.load());
        EXPECT(t.held()); // again, after the sleep in join()
    }
    EXPECT(!t.held());
    {
        token_hold hold(other, sharing::shared);
        EXPECT(other.held());
        EXPECT(!t.held());
    }
    EXPECT(!other.held());
}

SELFTEST(lwkt, an_exclusive_token_keeps_everyone_out) {
    constexpr unsigned each = 1500;
    token t;
    unsigned first = 0, second = 0;
    auto body = [&](unsigned) {
        for (unsigned i = 0; i < each; i++) {
            token_hold hold(t);
            EXPECT_EQ(first, second);
            first++;
            if (i % 64 == 0) lwkt_test::spin_for(microsecond);
            second++;
        }
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    EXPECT_EQ(first, 2 * each * arch::cpu::count());
    EXPECT_EQ(second, first);
}

// An interrupt thread preempts a holder, which keeps its tokens: whether it gets in shows what the token allows.
SELFTEST(lwkt, shared_lets_shared_in_and_keeps_exclusive_out) {
    struct attempt {
        sharing held, wanted;
        bool enters;
    };
    const attempt attempts[] = {{sharing::shared, sharing::shared, true},
                                {sharing::shared, sharing::exclusive, false},
                                {sharing::exclusive, sharing::shared, false},
                                {sharing::exclusive, sharing::exclusive, false}};
    for (const attempt& a : attempts) {
        token t;
        std::atomic<bool> inside = false;
        auto enter = [&](unsigned) {
            token_hold hold(t, a.wanted);
            inside.store(true);
        };
        crew c;
        {
            token_hold hold(t, a.held);
            REQUIRE(c.start(0, enter, lwkt::interrupt_priority));
            EXPECT_EQ(inside.load(), a.enters);
        }
        c.join();
        EXPECT(inside.load());
    }
}

SELFTEST(lwkt, readers_on_two_cpus_hold_a_token_at_once) {
    if (arch::cpu::count() < 2) return;
    token t;
    lwkt_test::starting_line both(2);
    auto body = [&](unsigned) {
        token_hold hold(t, sharing::shared);
        both.wait(); // spins inside: over only if the other is inside too
    };
    crew c;
    REQUIRE(c.start(0, body));
    REQUIRE(c.start(1, body));
    c.join();
    EXPECT(!t.held());
}

SELFTEST(lwkt, tokens_are_given_up_while_their_holder_sleeps_and_taken_again) {
    token first, second;
    std::atomic<unsigned> got_in = 0;
    auto other = [&](unsigned) {
        token_hold one(second);
        token_hold two(first);
        got_in.fetch_add(1);
    };
    token_hold one(first);
    token_hold two(second, sharing::shared);
    crew c;
    REQUIRE(c.start_everywhere(other));
    EXPECT_EQ(got_in.load(), 0u);
    c.join(); // sleeps, and then holds both again
    EXPECT_EQ(got_in.load(), arch::cpu::count());
    EXPECT(first.held());
    EXPECT(second.held());
    REQUIRE(c.start(arch::cpu::count() - 1, other));
    lwkt_test::spin_for(millisecond);
    EXPECT_EQ(got_in.load(), arch::cpu::count()); // kept out once more
}

SELFTEST(lwkt, a_yield_gives_tokens_up_only_if_another_runs) {
    token t;
    std::atomic<bool> got_in = false;
    auto other = [&](unsigned) {
        token_hold hold(t);
        got_in.store(true);
    };
    token_hold hold(t);
    crew c;
    lwkt::yield();
    EXPECT(t.held());
    REQUIRE(c.start(0, other));
    EXPECT(!got_in.load());
    lwkt::yield();
    EXPECT(got_in.load());
    EXPECT(t.held());
}

namespace {

void take_again_and_sleep(token& t, token& between) NO_THREAD_SAFETY_ANALYSIS {
    token_hold unrelated(between);
    token_hold again(t);
    token_hold once_more(t);
    token_hold weaker(t, sharing::shared);
    lwkt::sleep_for(microsecond); // all are given up, each once
    EXPECT(t.held());
}

} // namespace

SELFTEST(lwkt, a_token_is_taken_many_times_and_kept_to_the_last) {
    token t, between;
    std::atomic<bool> got_in = false;
    auto other = [&](unsigned) {
        token_hold hold(t);
        got_in.store(true);
    };
    crew c;
    {
        token_hold outer(t);
        take_again_and_sleep(t, between);
        EXPECT(t.held());
        REQUIRE(c.start(0, other, lwkt::interrupt_priority));
        EXPECT(!got_in.load());
    }
    c.join();
    EXPECT(got_in.load());
    EXPECT(!t.held());
}

namespace {

// Tokens with a record of who is inside, and a pair that agrees whenever nobody changes it.
constexpr unsigned many = 5;
struct guarded {
    token t;
    std::atomic<unsigned> writers = 0, readers = 0;
    k::u64 first = 0, second = 0;
};

// Takes tokens[order[n]], and below that the rest, then checks that everything held is held as it should be.
void take_and_check(guarded* set, const unsigned* order, const sharing* how, unsigned left, unsigned taken) {
    if (left) {
        token_hold hold(set[order[taken]].t, how[taken]);
        return take_and_check(set, order, how, left - 1, taken + 1);
    }
    for (unsigned i = 0; i < taken; i++) {
        guarded& g = set[order[i]];
        EXPECT(g.t.held());
        EXPECT_EQ(g.first, g.second);
        if (how[i] == sharing::exclusive) {
            EXPECT_EQ(g.writers.fetch_add(1), 0u);
            EXPECT_EQ(g.readers.load(), 0u);
            g.first++;
            g.second++;
        } else {
            g.readers.fetch_add(1);
            EXPECT_EQ(g.writers.load(), 0u);
        }
    }
    arch::cpu::relax();
    for (unsigned i = 0; i < taken; i++)
        (how[i] == sharing::exclusive ? set[order[i]].writers : set[order[i]].readers).fetch_sub(1);
}

} // namespace

SELFTEST(lwkt, tokens_taken_in_any_order_by_all_cpus_neither_deadlock_nor_leak) {
    guarded set[many];
    std::atomic<k::u64> exclusive_takes = 0;
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + number * 977);
        for (unsigned round = 0; round < 300; round++) {
            unsigned order[many];
            sharing how[many];
            for (unsigned i = 0; i < many; i++) {
                order[i] = i;
                how[i] = random.below(3) ? sharing::shared : sharing::exclusive;
            }
            for (unsigned i = many - 1; i > 0; i--)
                std::swap(order[i], order[random.below(i + 1)]);
            const auto take = static_cast<unsigned>(1 + random.below(many));
            exclusive_takes.fetch_add(static_cast<k::u64>(std::count(how, how + take, sharing::exclusive)));
            take_and_check(set, order, how, take, 0);
        }
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    k::u64 sum = 0;
    for (const guarded& g : set) {
        EXPECT_EQ(g.first, g.second);
        sum += g.first;
    }
    EXPECT_EQ(sum, exclusive_takes.load());
}

SELFTEST(lwkt, opposite_orders_with_sleeps_inside_do_not_deadlock) {
    token left, right;
    std::atomic<unsigned> rounds = 0;
    auto body = [&](unsigned number) {
        for (unsigned i = 0; i < 60; i++) {
            token_hold one(number % 2 ? left : right);
            if (i % 3 == 0) lwkt::sleep_for(10 * microsecond);
            token_hold two(number % 2 ? right : left);
            if (i % 5 == 0) lwkt::yield();
            EXPECT(left.held() && right.held());
            rounds.fetch_add(1);
        }
    };
    {
        crew c;
        for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
            for (unsigned i = 0; i < 2; i++)
                REQUIRE(c.start(cpu, body));
    }
    EXPECT_EQ(rounds.load(), 2 * 60 * arch::cpu::count());
}

SELFTEST(lwkt, writers_are_not_starved_by_readers) {
    token t;
    std::atomic<bool> stop = false;
    std::atomic<unsigned> inside = 0;
    k::u64 overlaps = 0;
    auto reader = [&](unsigned) {
        while (!stop.load()) {
            {
                token_hold hold(t, sharing::shared);
                inside.fetch_add(1);
                lwkt_test::spin_for(30 * microsecond);
                inside.fetch_sub(1);
            }
            if (arch::cpu::count() == 1) lwkt::yield(); // there is only one CPU for the writer, too
        }
    };
    auto writer = [&](unsigned) {
        for (unsigned i = 0; i < 20; i++) {
            token_hold hold(t);
            overlaps += inside.load();
        }
        stop.store(true);
    };
    crew c;
    for (unsigned cpu = arch::cpu::count() > 1; cpu < arch::cpu::count(); cpu++)
        REQUIRE(c.start(cpu, reader));
    REQUIRE(c.start(0, writer));
    c.join();
    EXPECT_EQ(overlaps, 0u);
}
