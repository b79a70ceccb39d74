// kernel/lwkt/wait_queue: no wake-up is lost, none is doubled, time-outs and wake-ups do not trip over each other.
#include "kernel/lwkt/wait_queue.h"

#include "kernel/lib/random.h"
#include "kernel/lwkt/token.h"
#include "tests/kernel/lwkt/crew.h"

#include <algorithm>

using ktime::microsecond;
using ktime::millisecond;
using lwkt_test::crew;

namespace {

// A counted resource that threads wait for.
struct supply {
    lwkt::wait_queue queue;
    std::atomic<unsigned> items = 0;
    std::atomic<unsigned> looks = 0; // how often a sleeper asked

    bool try_take() {
        looks.fetch_add(1);
        unsigned have = items.load();
        while (have && !items.compare_exchange_weak(have, have - 1)) {
        }
        return have != 0;
    }
    bool take(ktime::ns deadline = ktime::forever) {
        return queue.wait([this] { return try_take(); }, deadline);
    }
    void give() {
        items.fetch_add(1);
        queue.wake_one();
    }
};

} // namespace

SELFTEST(lwkt, a_wait_for_what_is_true_already_does_not_sleep) {
    lwkt::wait_queue queue;
    const k::u64 before = lwkt::self().switches;
    EXPECT(queue.wait([] { return true; }));
    EXPECT(queue.wait([] { return true; }, 0));
    EXPECT_EQ(lwkt::self().switches, before);
}

SELFTEST(lwkt, no_wake_up_is_lost_between_all_cpus) {
    constexpr unsigned each = 400;
    supply s;
    auto giver = [&](unsigned) {
        for (unsigned i = 0; i < 2 * each; i++)
            s.give();
    };
    auto taker = [&](unsigned) {
        for (unsigned i = 0; i < each; i++)
            EXPECT(s.take());
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(taker, 2));
        REQUIRE(c.start_everywhere(giver));
    }
    EXPECT_EQ(s.items.load(), 0u);
}

SELFTEST(lwkt, two_threads_that_wake_each_other_in_turn_never_stop) {
    constexpr unsigned rounds = 1000;
    lwkt::wait_queue queue;
    std::atomic<unsigned> turn = 0;
    auto body = [&](unsigned number) {
        for (unsigned i = 0; i < rounds; i++) {
            queue.wait([&] { return turn.load() == 2 * i + number; });
            turn.fetch_add(1);
            queue.wake_all();
        }
    };
    crew c;
    REQUIRE(c.start(0, body));
    REQUIRE(c.start(arch::cpu::count() - 1, body));
    c.join();
    EXPECT_EQ(turn.load(), 2 * rounds);
}

SELFTEST(lwkt, wake_one_wakes_exactly_one_and_wake_all_everyone) {
    constexpr unsigned sleepers = 6;
    supply s;
    std::atomic<unsigned> got = 0;
    auto body = [&](unsigned) {
        EXPECT(s.take());
        got.fetch_add(1);
    };
    crew c;
    for (unsigned i = 0; i < sleepers; i++)
        REQUIRE(c.start(i % arch::cpu::count(), body));
    lwkt_test::wait_until([&] { return s.looks.load() == 2 * sleepers; }); // all stand in the queue
    for (unsigned i = 1; i <= 3; i++) {
        s.give();
        lwkt_test::wait_until([&] { return got.load() == i; });
        lwkt::sleep_for(millisecond);
        EXPECT_EQ(s.looks.load(), 2 * sleepers + i); // nobody else has looked
    }
    s.items.fetch_add(3);
    s.queue.wake_all();
    c.join();
    EXPECT_EQ(s.looks.load(), 3 * sleepers);
}

SELFTEST(lwkt, wake_one_takes_the_one_that_waits_longest) {
    supply s;
    unsigned order[4];
    std::atomic<unsigned> count = 0;
    auto body = [&](unsigned number) {
        EXPECT(s.take());
        order[count.load()] = number; // one at a time
        count.fetch_add(1);
    };
    crew c;
    for (unsigned i = 0; i < 4; i++) {
        REQUIRE(c.start(i % arch::cpu::count(), body));
        lwkt_test::wait_until([&] { return s.looks.load() == 2 * (i + 1); });
    }
    for (unsigned i = 0; i < 4; i++) {
        s.give();
        lwkt_test::wait_until([&] { return count.load() == i + 1; });
        EXPECT_EQ(order[i], i);
    }
}

SELFTEST(lwkt, a_wait_is_interrupted_on_the_sleepers_own_cpu_only) {
    supply s;
    std::atomic<lwkt::thread*> sleeper = nullptr;
    auto body = [&](unsigned) {
        sleeper = &lwkt::self();
        EXPECT(s.take());
    };
    auto interrupt = [&](unsigned) {
        lwkt::critical section;
        lwkt::interrupt_wait(*sleeper.load());
    };
    const unsigned cpu = arch::cpu::count() - 1;
    crew sleeping;
    REQUIRE(sleeping.start(cpu, body));
    lwkt_test::wait_until([&] { return s.looks.load() == 2; });
    if (cpu != 0) { // as a signal does that finds its thread between two CPUs
        crew c;
        REQUIRE(c.start(0, interrupt));
        c.join();
        lwkt::sleep_for(millisecond);
        EXPECT_EQ(s.looks.load(), 2u);
    }
    {
        crew c;
        REQUIRE(c.start(cpu, interrupt));
    }
    lwkt_test::wait_until([&] { return s.looks.load() > 2; }); // it looks again, and goes back to sleep
    s.give();
}

SELFTEST(lwkt, a_wait_ends_at_its_deadline_and_not_before) {
    auto body = [&](unsigned number) {
        lwkt::wait_queue queue;
        const ktime::ns deadline = ktime::after((number % 3) * millisecond);
        EXPECT(!queue.wait([] { return false; }, deadline));
        EXPECT(ktime::now() >= deadline);
        queue.wake_one(); // of nobody
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 3));
}

SELFTEST(lwkt, time_outs_and_wake_ups_that_race_return_each_sleeper_once) {
    constexpr unsigned each = 150;
    supply s;
    std::atomic<unsigned> taken = 0, returns = 0, givers = 0;
    auto sleeper = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        for (unsigned i = 0; i < each; i++) {
            if (s.take(ktime::after(random.below(300) * microsecond))) taken.fetch_add(1);
            returns.fetch_add(1);
        }
    };
    auto giver = [&](unsigned number) {
        k::random random(selftest::seed() - number);
        for (unsigned i = 0; i < each; i++) {
            s.give();
            if (random.below(2)) lwkt::sleep_for(random.below(200) * microsecond);
        }
        givers.fetch_add(1);
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(sleeper, 3));
        REQUIRE(c.start_everywhere(giver));
    }
    EXPECT_EQ(returns.load(), 3 * each * arch::cpu::count());
    EXPECT_EQ(givers.load(), arch::cpu::count());
    EXPECT_EQ(taken.load() + s.items.load(), each * arch::cpu::count());
}

// Regression: taking the tokens back used the same field of the thread and made the time-out forgotten.
SELFTEST(lwkt, a_time_out_is_not_forgotten_while_tokens_are_taken_back) {
    lwkt::token contended;
    supply s;
    std::atomic<unsigned> result = 2;
    auto sleeper = [&](unsigned) {
        lwkt::token_hold hold(contended);
        result.store(s.take(ktime::after(3 * millisecond)));
    };
    crew c;
    REQUIRE(c.start(0, sleeper, lwkt::interrupt_priority)); // preempts us, waits, and lets us go on
    EXPECT_EQ(result.load(), 2u);
    {
        lwkt::token_hold hold(contended);
        lwkt_test::spin_for(6 * millisecond); // it wakes in this time and must wait for the token
    }
    c.join();
    EXPECT_EQ(result.load(), 0u);
    EXPECT_EQ(s.looks.load(), 3u); // before and in the queue, and once more at the end
}

SELFTEST(lwkt, a_completion_may_go_as_soon_as_its_waiter_returns) {
    constexpr unsigned rounds = 500;
    std::atomic<lwkt::completion*> slot = nullptr;
    std::atomic<bool> stop = false;
    auto signaller = [&](unsigned) {
        while (!stop.load()) {
            if (lwkt::completion* c = slot.exchange(nullptr)) c->signal();
            arch::cpu::relax();
            lwkt::yield();
        }
    };
    crew crew;
    REQUIRE(crew.start(arch::cpu::count() - 1, signaller));
    for (unsigned i = 0; i < rounds; i++) {
        auto* c = mem::make<lwkt::completion>();
        if (!c) break;
        slot.store(c);
        EXPECT(c->wait());
        std::fill_n(reinterpret_cast<unsigned char*>(c), sizeof *c, static_cast<unsigned char>(0xee));
        mem::free(c);
    }
    EXPECT(!slot.load());
    stop.store(true);
}

SELFTEST(lwkt, a_completion_waits_for_all_its_signals) {
    const unsigned threads = 3 * arch::cpu::count();
    lwkt::completion done(threads), never;
    std::atomic<unsigned> signalled = 0;
    auto body = [&](unsigned number) {
        lwkt::sleep_for(number * 50 * microsecond);
        signalled.fetch_add(1);
        done.signal();
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 3));
    EXPECT(done.wait());
    EXPECT_EQ(signalled.load(), threads);
    EXPECT(done.wait()); // what has happened stays so
    EXPECT(!never.wait(ktime::after(millisecond)));
}

// --- For one thread

SELFTEST(lwkt, a_single_waiter_misses_no_wake_up_and_no_interruption) {
    constexpr unsigned rounds = 2000;
    struct {
        lwkt::single_waiter bed;
        std::atomic<unsigned> turn = 0, looks = 0;
        std::atomic<lwkt::thread*> sleeper = nullptr;
    } s;
    auto sleep = [&](unsigned) {
        s.sleeper = &lwkt::self();
        for (unsigned i = 0; i < rounds; i++) {
            lwkt::successor nobody;
            EXPECT(s.bed.wait(
                [&] {
                    s.looks.fetch_add(1);
                    return s.turn.load(std::memory_order_relaxed) == 2 * i + 1;
                },
                i % 3 ? ktime::forever : ktime::after(ktime::second * 100), nobody));
            s.turn.store(2 * i + 2);
        }
        s.sleeper = nullptr;
    };
    auto wake = [&](unsigned) {
        k::random random(3);
        for (unsigned i = 0; i < rounds; i++) {
            lwkt_test::yield_until([&] { return s.turn.load() == 2 * i; });
            for (k::u64 pause = random.below(200); pause; pause--)
                arch::cpu::relax();
            s.turn.store(2 * i + 1, std::memory_order_relaxed);
            if (random.below(2)) {
                s.bed.wake();
            } else {
                lwkt::successor next;
                s.bed.wake(next);
            }
        }
        EXPECT(!s.bed.wake()); // of nobody
    };
    std::atomic<bool> done = false;
    auto interrupt = [&](unsigned) {
        while (!done.load()) {
            if (lwkt::thread* t = s.sleeper.load()) {
                lwkt::critical section;
                lwkt::interrupt_wait(*t);
            }
            lwkt::yield();
        }
    };
    const unsigned last = arch::cpu::count() - 1;
    crew sleeping, waking, interrupting;
    REQUIRE(sleeping.start(last, sleep));
    lwkt_test::wait_until([&] { return s.looks.load() > 0; });
    REQUIRE(interrupting.start(last, interrupt));
    REQUIRE(waking.start(0, wake));
    waking.join();
    sleeping.join();
    done = true;
}

SELFTEST(lwkt, a_single_waiters_deadline_and_its_waker_race_for_it) {
    constexpr unsigned rounds = 1500;
    struct {
        lwkt::single_waiter bed;
        std::atomic<unsigned> given = 0, round = 0;
    } s;
    auto sleep = [&](unsigned) {
        for (unsigned i = 1; i <= rounds; i++) {
            lwkt::successor nobody;
            const ktime::ns deadline = ktime::after((i % 40) * microsecond);
            const bool got = s.bed.wait([&] { return s.given.load() == i; }, deadline, nobody);
            EXPECT(got || ktime::now() >= deadline);
            lwkt_test::yield_until([&] { return s.given.load() == i; });
            s.round.store(i);
        }
    };
    auto wake = [&](unsigned) {
        for (unsigned i = 1; i <= rounds; i++) {
            lwkt_test::spin_for((i % 37) * microsecond);
            s.given.store(i);
            s.bed.wake();
            lwkt_test::yield_until([&] { return s.round.load() == i; });
        }
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, sleep));
    REQUIRE(c.start(0, wake));
}
