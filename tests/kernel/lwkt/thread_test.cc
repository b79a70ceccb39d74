// kernel/lwkt/thread: threads are made, run where they were told to, move, and end.
#include "kernel/lwkt/thread.h"

#include "kernel/lib/random.h"
#include "kernel/lwkt/token.h"
#include "kernel/selftest/leak_check.h"
#include "tests/kernel/lwkt/crew.h"

using ktime::microsecond;
using ktime::millisecond;
using lwkt_test::crew;

SELFTEST(lwkt, threads_run_on_the_cpu_they_were_made_for) {
    std::atomic<unsigned> ran = 0;
    auto body = [&](unsigned number) {
        const unsigned cpu = number % arch::cpu::count();
        EXPECT_EQ(lwkt::self().home.load(), cpu);
        EXPECT_EQ(arch::cpu::id(), cpu);
        EXPECT(lwkt::self().state == lwkt::thread_state::running);
        EXPECT_EQ(std::string_view(lwkt::self().name), std::string_view("crew"));
        ran.fetch_add(1);
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 3));
    c.join();
    EXPECT_EQ(ran.load(), 3 * arch::cpu::count());
}

SELFTEST(lwkt, a_thread_for_a_cpu_that_does_not_exist_is_refused) {
    auto never = [](void*) { EXPECT(!"this thread must not run"); };
    const k::status spawned = lwkt::spawn("nowhere", arch::max_cpus, lwkt::normal_priority, never, nullptr);
    REQUIRE(!spawned);
    EXPECT_EQ(spawned.error(), k::error::inval);
    const k::status beyond = lwkt::spawn("nowhere", ~0u, lwkt::normal_priority, never, nullptr);
    REQUIRE(!beyond);
    EXPECT_EQ(beyond.error(), k::error::inval);
}

SELFTEST(lwkt, a_long_thread_name_is_cut_and_ends_with_a_zero) {
    std::atomic<bool> done = false;
    REQUIRE(lwkt::spawn(
        "a name that is much longer than the field for it", 0, lwkt::normal_priority,
        [](void* done) {
            EXPECT_EQ(std::string_view(lwkt::self().name), std::string_view("a name that is much lon"));
            static_cast<std::atomic<bool>*>(done)->store(true);
        },
        &done));
    lwkt_test::wait_until([&] { return done.load(); });
}

SELFTEST(lwkt, thousands_of_short_threads_come_and_go) {
    constexpr unsigned each = 8, threads = arch::stack_size_factor == 1 ? 3000 : 500; // fewer in a checked build
    const unsigned waves = threads / (each * arch::cpu::count()) + 1;
    std::atomic<unsigned> ran = 0;
    auto body = [&](unsigned) { ran.fetch_add(1); };
    for (unsigned wave = 0; wave < waves; wave++) {
        crew c;
        REQUIRE(c.start_everywhere(body, each));
    }
    EXPECT_EQ(ran.load(), waves * each * arch::cpu::count());
}

SELFTEST(lwkt, threads_that_make_threads_on_all_cpus_all_run) {
    std::atomic<unsigned> ran = 0;
    auto leaf = [&](unsigned) { ran.fetch_add(1); };
    auto maker = [&](unsigned) {
        crew mine;
        EXPECT(mine.start_everywhere(leaf, 4));
        mine.join();
    };
    crew makers;
    REQUIRE(makers.start_everywhere(maker, 2));
    makers.join();
    EXPECT_EQ(ran.load(), 2 * 4 * arch::cpu::count() * arch::cpu::count());
}

SELFTEST(lwkt, exit_gives_a_threads_memory_back) {
    const selftest::resources before = selftest::count_resources();
    constexpr unsigned many = 20;
    std::atomic<bool> go = false;
    auto body = [&](unsigned number) {
        lwkt_test::wait_until([&] { return go.load(); });
        if (number % 2) lwkt::hand_over((number / 2) % arch::cpu::count()).value(); // dies on another CPU
    };
    {
        crew c;
        for (unsigned i = 0; i < many; i++)
            REQUIRE(c.start(i % arch::cpu::count(), body));
        EXPECT_EQ(lwkt::threads_alive(), before.threads + many);
        go = true;
        c.join();
    }
    lwkt_test::wait_until([&] { return lwkt::threads_alive() == before.threads; });
    selftest::expect_same_resources(before);
}

SELFTEST(lwkt, dead_threads_are_used_again_and_start_clean) {
    lwkt::thread* used[2];
    for (lwkt::thread*& t : used) {
        struct shared {
            std::atomic<bool> done = false;
            lwkt::thread* who = nullptr;
        } s;
        REQUIRE(lwkt::spawn(
            "reused", 0, lwkt::normal_priority,
            [](void* argument) {
                auto& s = *static_cast<shared*>(argument);
                s.who = &lwkt::self();
                EXPECT_EQ(lwkt::self().switches, 1u);
                EXPECT(!lwkt::self().tokens);
                s.done.store(true);
            },
            &s));
        lwkt_test::wait_until([&] { return s.done.load(); });
        t = s.who;
    }
    EXPECT(used[0] == used[1]); // nothing else dies on this CPU meanwhile
}

SELFTEST(lwkt, a_thread_hands_itself_over_round_all_cpus) {
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        k::u64 canary = random.next();
        const k::u64 first = canary;
        for (unsigned i = 0; i < 200; i++) {
            const auto cpu = static_cast<unsigned>(random.below(arch::cpu::count()));
            EXPECT(lwkt::hand_over(cpu).has_value());
            EXPECT_EQ(arch::cpu::id(), cpu);
            EXPECT_EQ(lwkt::self().home.load(), cpu);
            canary += cpu;
            canary -= lwkt::self().home.load();
        }
        EXPECT_EQ(canary, first);
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 2));
}

SELFTEST(lwkt, hand_over_to_a_cpu_that_is_not_there_is_refused) {
    const unsigned home = arch::cpu::id();
    const k::status moved = lwkt::hand_over(arch::max_cpus);
    REQUIRE(!moved);
    EXPECT_EQ(moved.error(), k::error::inval);
    EXPECT_EQ(arch::cpu::id(), home);
    EXPECT(lwkt::hand_over(home).has_value());
}

SELFTEST(lwkt, only_a_ready_thread_can_be_handed_over_by_its_owner) {
    std::atomic<lwkt::thread*> sleeper = nullptr;
    auto body = [&](unsigned) {
        sleeper.store(&lwkt::self());
        lwkt::sleep_for(20 * millisecond);
    };
    crew c;
    REQUIRE(c.start(0, body));
    lwkt_test::yield_until([&] { return sleeper.load() != nullptr; });
    const unsigned target = arch::cpu::count() - 1;
    {
        lwkt::critical section; // it stays asleep, if it still is: nothing wakes it here
        if (sleeper.load()->state == lwkt::thread_state::blocked) {
            const k::status moved = lwkt::hand_over(*sleeper.load(), target);
            EXPECT(!moved && moved.error() == k::error::busy);
        }
    }
    const k::status running = lwkt::hand_over(lwkt::self(), target);
    EXPECT(!running && running.error() == k::error::busy);
}

SELFTEST(lwkt, a_ready_thread_is_handed_over_by_its_owner_and_goes_on_there) {
    constexpr unsigned rounds = 50;
    const unsigned target = arch::cpu::count() - 1;
    std::atomic<lwkt::thread*> mover = nullptr;
    std::atomic<unsigned> moved = 0;
    auto body = [&](unsigned) {
        for (unsigned round = 0; round < rounds; round++) {
            mover.store(&lwkt::self());
            lwkt_test::yield_until([&] { return moved.load() > round; });
            EXPECT_EQ(arch::cpu::id(), target);
            EXPECT_EQ(lwkt::self().home.load(), target);
            EXPECT(lwkt::hand_over(0).has_value());
        }
    };
    crew c;
    REQUIRE(c.start(0, body));
    for (unsigned round = 0; round < rounds; round++) {
        lwkt_test::yield_until([&] { return mover.load() != nullptr; });
        lwkt::thread* t = mover.exchange(nullptr);
        lwkt_test::yield_until([&] { return lwkt::hand_over(*t, target).has_value(); });
        moved.fetch_add(1);
    }
    c.join();
    EXPECT(lwkt::scheduler_statistics(0).handed_over > 0 || target == 0);
}

SELFTEST(lwkt, hand_over_gives_tokens_up_on_the_way_and_holds_them_after_it) {
    lwkt::token shared_by_all;
    struct pair {
        unsigned first = 0, second = 0;
    } agree;
    auto body = [&](unsigned number) {
        for (unsigned i = 0; i < 60; i++) {
            lwkt::token_hold hold(shared_by_all);
            agree.first++;
            agree.second++;
            EXPECT(lwkt::hand_over((number + i) % arch::cpu::count()).has_value());
            EXPECT(shared_by_all.held());
            EXPECT_EQ(agree.first, agree.second);
            agree.first++;
            arch::cpu::relax();
            agree.second++;
        }
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    EXPECT_EQ(agree.first, 2 * 2 * 60 * arch::cpu::count());
    EXPECT_EQ(agree.second, agree.first);
}

SELFTEST(lwkt, every_living_thread_is_visited_on_its_cpu) {
    std::atomic<bool> stop = false;
    auto body = [&](unsigned) { lwkt_test::wait_until([&] { return stop.load(); }); };
    crew c;
    for (unsigned i = 0; i < 5; i++)
        REQUIRE(c.start(0, body));
    auto count_named = [](const lwkt::thread& t, void* count) {
        EXPECT_EQ(t.home.load(), 0u);
        if (std::string_view(t.name) == "crew") ++*static_cast<unsigned*>(count);
    };
    unsigned found = 0;
    lwkt::visit_threads(count_named, &found);
    EXPECT_EQ(found, 5u);
    stop = true;
    c.join();
    lwkt_test::wait_until([&] {
        found = 0;
        lwkt::visit_threads(count_named, &found);
        return found == 0;
    });
}
