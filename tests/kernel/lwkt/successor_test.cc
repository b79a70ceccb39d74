// kernel/lwkt/wait_queue and scheduler: who is woken by one that will sleep runs at once then, is never forgotten if it
// does not sleep, and takes nobody's turn.
#include "kernel/lib/random.h"
#include "kernel/lwkt/token.h"
#include "kernel/lwkt/wait_queue.h"
#include "tests/kernel/lwkt/crew.h"

using ktime::microsecond;
using ktime::millisecond;
using lwkt_test::crew;

namespace {

enum who : unsigned { the_successor, an_equal, a_better_one };

// The test's thread wakes another one, its successor, and sleeps until that one (or its deadline) wakes it. What others
// do meanwhile stands in the journal.
struct scene {
    lwkt::wait_queue bed, desk; // where the successor sleeps, and the test's thread
    std::atomic<unsigned> looks = 0, count = 0;
    std::atomic<bool> called = false, answered = false, answers = true;
    unsigned entries[8];
    lwkt::thread* sleeper = nullptr;

    void note(unsigned what) { entries[count.fetch_add(1) % 8] = what; }

    // The successor.
    void operator()(unsigned) {
        sleeper = &lwkt::self();
        bed.wait([&] {
            looks.fetch_add(1);
            return called.load();
        });
        note(the_successor);
        if (!answers) return;
        answered = true;
        desk.wake_one();
    }
    bool sleeps(crew& c, unsigned cpu, lwkt::priority level = lwkt::normal_priority) {
        if (!c.start(cpu, *this, level)) return false;
        lwkt_test::wait_until([&] { return looks.load() == 2; });
        lwkt::sleep_for(millisecond); // it sleeps by now
        return true;
    }
    // Takes it out of its queue, to run when the caller sleeps.
    void call(lwkt::successor& next) {
        called = true;
        EXPECT(bed.wake_one(next) == sleeper);
    }
    bool wait(lwkt::successor& next, ktime::ns deadline = ktime::forever) {
        return desk.wait([&] { return answered.load(); }, deadline, next);
    }
};

} // namespace

SELFTEST(lwkt, a_successor_runs_as_soon_as_its_waker_sleeps_and_before_its_equals) {
    scene s;
    auto equal = [&](unsigned) { s.note(an_equal); };
    crew c, others;
    REQUIRE(s.sleeps(c, 0));
    REQUIRE(others.start(0, equal));
    lwkt::successor next;
    s.call(next);
    EXPECT(!s.bed.wake_one(next)); // nobody is left there
    EXPECT_EQ(s.count.load(), 0u);
    const k::u64 before = lwkt::self().switches;
    EXPECT(s.wait(next));
    EXPECT_EQ(lwkt::self().switches, before + 1);
    REQUIRE(s.count.load() == 2);
    EXPECT(s.entries[0] == the_successor && s.entries[1] == an_equal);
}

SELFTEST(lwkt, a_successor_of_another_cpu_waits_until_its_waker_sleeps) {
    if (arch::cpu::count() < 2) return;
    scene s;
    crew c;
    REQUIRE(s.sleeps(c, 1));
    lwkt::successor next;
    s.call(next);
    lwkt_test::spin_for(2 * millisecond);
    EXPECT_EQ(s.count.load(), 0u);
    EXPECT(s.wait(next));
    EXPECT_EQ(s.count.load(), 1u);
}

SELFTEST(lwkt, a_better_thread_than_the_successor_runs_before_it) {
    scene s;
    auto better = [&](unsigned) { s.note(a_better_one); };
    auto equal = [&](unsigned) { s.note(an_equal); };
    crew c, others;
    REQUIRE(s.sleeps(c, 0));
    REQUIRE(others.start(0, equal) && others.start(0, better, lwkt::normal_priority + 1));
    lwkt::successor next;
    s.call(next);
    EXPECT(s.wait(next));
    REQUIRE(s.count.load() == 3);
    EXPECT(s.entries[0] == a_better_one && s.entries[1] == the_successor && s.entries[2] == an_equal);
}

SELFTEST(lwkt, a_successor_that_is_a_better_thread_runs_when_its_waker_sleeps_and_not_before) {
    scene s;
    crew c;
    REQUIRE(s.sleeps(c, 0, lwkt::interrupt_priority));
    lwkt::successor next;
    s.call(next);
    lwkt_test::spin_for(2 * millisecond);
    EXPECT_EQ(s.count.load(), 0u);
    EXPECT(s.wait(next));
    EXPECT_EQ(s.count.load(), 1u);
}

SELFTEST(lwkt, a_successor_is_awake_when_its_waker_did_not_sleep) {
    for (const unsigned true_at : {0u, 1u, 9u}) { // the look at which the waker's condition holds; 9: it does not wait
        scene s;
        crew c;
        REQUIRE(s.sleeps(c, 0));
        s.answers = false;
        {
            lwkt::successor next;
            s.call(next);
            unsigned look = 0;
            if (true_at < 9) EXPECT(s.desk.wait([&] { return look++ == true_at; }, ktime::forever, next));
            EXPECT_EQ(s.count.load(), 0u); // it is ready, but does not preempt
        }
        lwkt::yield();
        EXPECT_EQ(s.count.load(), 1u);
    }
}

SELFTEST(lwkt, who_takes_a_second_successor_wakes_the_first) {
    scene one, two;
    crew c;
    REQUIRE(one.sleeps(c, 0) && two.sleeps(c, 0));
    one.answers = false;
    lwkt::successor next;
    one.call(next);
    two.call(next);
    lwkt::yield();
    EXPECT_EQ(one.count.load(), 1u);
    EXPECT_EQ(two.count.load(), 0u);
    EXPECT(two.wait(next));
}

SELFTEST(lwkt, a_successor_finds_its_wakers_tokens_free) {
    lwkt::token shared;
    scene s;
    std::atomic<bool> had = false;
    auto equal = [&](unsigned) {
        lwkt::token_hold hold(shared);
        had = true;
    };
    crew c, others;
    REQUIRE(s.sleeps(c, 0));
    lwkt::successor next;
    lwkt::token_hold hold(shared);
    REQUIRE(others.start(0, equal));
    s.call(next);
    EXPECT(s.wait(next));
    EXPECT(shared.held() && had);
    EXPECT_EQ(s.count.load(), 1u);
}

SELFTEST(lwkt, a_deadline_passes_though_the_successor_does_not_answer) {
    for (const ktime::ns delay : {ktime::ns{0}, 3 * millisecond}) {
        scene s;
        crew c;
        REQUIRE(s.sleeps(c, 0));
        s.answers = false;
        lwkt::successor next;
        s.call(next);
        const ktime::ns deadline = ktime::after(delay);
        EXPECT(!s.wait(next, deadline));
        EXPECT(ktime::now() >= deadline);
        EXPECT_EQ(s.count.load(), 1u);
    }
}

// A time-out and a waker that takes a successor are after the same thread: one of them has it, and it wakes once.
SELFTEST(lwkt, successors_and_time_outs_race_and_nobody_is_lost) {
    constexpr unsigned each = 300, threads = 5;
    struct desk {
        lwkt::wait_queue queue;
        std::atomic<unsigned> letters = 0;
        bool take() {
            unsigned have = letters.load();
            while (have && !letters.compare_exchange_weak(have, have - 1)) {
            }
            return have != 0;
        }
    } desks[threads];
    // Each passes a letter on to the next one and waits for one of its own, some with little patience.
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        desk &mine = desks[number], &other = desks[(number + 1) % threads];
        for (unsigned i = 0; i < each; i++) {
            lwkt::successor next;
            other.letters.fetch_add(1);
            other.queue.wake_one(next);
            const auto soon = [&] {
                return random.below(2) ? ktime::forever : ktime::after(random.below(200) * microsecond);
            };
            while (!mine.queue.wait([&] { return mine.take(); }, soon(), next)) {
            }
        }
    };
    crew c;
    for (unsigned i = 0; i < threads; i++)
        REQUIRE(c.start(i % arch::cpu::count(), body));
    c.join();
    for (const desk& d : desks)
        EXPECT_EQ(d.letters.load(), 0u);
}

// Regression: two threads that hand the CPU to each other passed all others of their priority, for ever.
SELFTEST(lwkt, two_that_wake_each_other_let_their_equals_have_a_turn) {
    lwkt::wait_queue queues[2];
    std::atomic<unsigned> rounds = 0, most = 100'000;
    auto plays = [&](unsigned number) {
        for (lwkt::successor next; rounds < most; queues[!number].wake_one(next)) {
            queues[number].wait([&] { return rounds % 2 == number || rounds >= most; }, ktime::forever, next);
            rounds++;
        }
    };
    crew c;
    REQUIRE(c.start(0, plays) && c.start(0, plays));
    lwkt::yield(); // to both
    EXPECT(rounds.load() < 1000);
    most = 0;
    c.join();
}

// Regression: it went on with its new slice before those who compute.
SELFTEST(lwkt, a_successor_whose_slice_is_used_up_stands_behind_those_who_wait) {
    for (const bool used_up : {false, true}) {
        scene s;
        lwkt::user_part part;
        auto user = [&](unsigned number) {
            lwkt::set_user(&part);
            s(number);
            lwkt::set_user(nullptr);
        };
        auto computes = [&](unsigned) { s.note(an_equal); };
        crew c, others;
        REQUIRE(c.start(0, user));
        lwkt_test::wait_until([&] { return s.looks.load() == 2; });
        lwkt::sleep_for(millisecond);
        if (used_up) part.slice_cycles = arch::clock::cycles_hz();
        REQUIRE(others.start(0, computes, lwkt::user_priority));
        lwkt::successor next;
        s.call(next);
        EXPECT(s.wait(next));
        lwkt_test::wait_until([&] { return s.count.load() == 2; });
        EXPECT_EQ(s.entries[0], used_up ? an_equal : the_successor);
    }
}
