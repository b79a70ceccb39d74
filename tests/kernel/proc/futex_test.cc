// kernel/proc/futex: the lines of waiters, by kernel threads and a word of the kernel's: no wake-up is lost, none is
// given twice, requeued waiters are found where they went.
#include "kernel/proc/futex_queue.h"

#include "kernel/lib/random.h"
#include "tests/kernel/lwkt/crew.h"

namespace futexes = proc::futexes;
using lwkt_test::crew;

namespace {

futexes::key key_of(const void* owner, k::u64 offset = 0) {
    return {owner, offset};
}

// What futex_wait() does, without a space and without signals. False: the deadline came first.
bool sleep(futexes::waiter& w, ktime::ns deadline = ktime::forever) {
    w.queue.wait([&] { return w.woken.load(); }, deadline);
    return !futexes::leave(w);
}

bool wait(const futexes::key& key, std::atomic<k::u32>& word, k::u32 expected, ktime::ns deadline = ktime::forever) {
    futexes::waiter w(key, proc::any_bit);
    if (!futexes::enter(w, [&] { return word.load() == expected; })) return true;
    return sleep(w, deadline);
}

// The mutex of three states that libcs build: 0 free, 1 taken, 2 taken and perhaps awaited.
struct mutex {
    std::atomic<k::u32> word = 0;
    futexes::key key = key_of(this);

    void lock() {
        k::u32 seen = 0;
        if (word.compare_exchange_strong(seen, 1)) return;
        while (word.exchange(2))
            wait(key, word, 2);
    }
    void unlock() {
        if (word.exchange(0) == 2) futexes::wake(key, 1, proc::any_bit);
    }
};

} // namespace

SELFTEST(futex, a_word_that_has_changed_already_is_not_waited_for) {
    std::atomic<k::u32> word = 1;
    const k::u64 before = lwkt::self().switches;
    EXPECT(wait(key_of(&word), word, 0));
    EXPECT_EQ(lwkt::self().switches, before);
}

SELFTEST(futex, a_waiter_gives_up_at_its_deadline_and_leaves_the_line) {
    std::atomic<k::u32> word = 0;
    EXPECT(!wait(key_of(&word), word, 0, ktime::after(ktime::millisecond)));
    EXPECT_EQ(futexes::wake(key_of(&word), 10, proc::any_bit), 0u);
}

SELFTEST(futex, wakes_as_many_as_it_says_and_only_with_a_common_bit) {
    std::atomic<k::u32> word = 0;
    std::atomic<unsigned> standing = 0, woken[2] = {};
    auto body = [&](unsigned number) {
        futexes::waiter w(key_of(&word), 1u << number % 2);
        EXPECT(futexes::enter(w, [] { return true; }));
        standing++;
        EXPECT(sleep(w));
        woken[number % 2]++;
    };
    crew c;
    for (unsigned i = 0; i < 6; i++)
        REQUIRE(c.start(i % arch::cpu::count(), body));
    lwkt_test::wait_until([&] { return standing.load() == 6; });
    EXPECT_EQ(futexes::wake(key_of(&word), 10, 4), 0u);
    EXPECT_EQ(futexes::wake(key_of(&word), 2, 1), 2u);
    lwkt_test::wait_until([&] { return woken[0].load() == 2; });
    EXPECT_EQ(futexes::wake(key_of(&word), 10, 2), 3u);
    EXPECT_EQ(futexes::wake(key_of(&word), 10, proc::any_bit), 1u);
    c.join();
    EXPECT_EQ(woken[0].load(), 3u);
    EXPECT_EQ(woken[1].load(), 3u);
}

SELFTEST(futex, requeued_waiters_are_woken_where_they_went) {
    k::u32 from = 0, to = 0;
    std::atomic<unsigned> standing = 0, woken = 0;
    auto body = [&](unsigned) {
        futexes::waiter w(key_of(&from), proc::any_bit);
        EXPECT(futexes::enter(w, [] { return true; }));
        standing++;
        EXPECT(sleep(w));
        woken++;
    };
    crew c;
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(c.start(i % arch::cpu::count(), body));
    lwkt_test::wait_until([&] { return standing.load() == 4; });
    {
        futexes::woken_list list;
        futexes::two_buckets locks(futexes::bucket_of(key_of(&from)), futexes::bucket_of(key_of(&to)));
        EXPECT_EQ(futexes::take_locked(key_of(&from), 1, proc::any_bit, list), 1u);
        EXPECT_EQ(futexes::requeue_locked(key_of(&from), key_of(&to), 2), 2u);
    }
    EXPECT_EQ(futexes::wake(key_of(&to), 10, proc::any_bit), 2u);
    lwkt_test::wait_until([&] { return woken.load() == 3; });
    EXPECT_EQ(futexes::wake(key_of(&from), 10, proc::any_bit), 1u);
    c.join();
}

SELFTEST(futex, a_mutex_of_all_cpus_excludes_and_loses_no_wake_up) {
    constexpr unsigned each = 300;
    mutex m;
    unsigned inside = 0, total = 0;
    auto body = [&](unsigned) {
        for (unsigned i = 0; i < each; i++) {
            m.lock();
            EXPECT_EQ(inside++, 0u);
            total++;
            if (i % 8 == 0) lwkt::yield();
            inside--;
            m.unlock();
        }
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(body, 3));
    }
    EXPECT_EQ(total, each * 3 * arch::cpu::count());
}

// Time-outs, requeueing and waking meet: every waiter leaves exactly once.
SELFTEST(futex, deadlines_wakes_and_requeues_may_meet) {
    constexpr unsigned rounds = 150;
    k::u32 places[2] = {};
    std::atomic<unsigned> waiting = 0;
    std::atomic<k::u64> woken = 0, wakes = 0;
    auto waits = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        for (unsigned i = 0; i < rounds; i++) {
            futexes::waiter w(key_of(&places[random.below(2)]), proc::any_bit);
            EXPECT(futexes::enter(w, [] { return true; }));
            if (sleep(w, ktime::after(random.below(200) * ktime::microsecond))) woken++;
        }
        waiting--;
    };
    auto meddles = [&](unsigned number) {
        k::random random(selftest::seed() * 3 + number);
        while (waiting.load()) {
            const auto from = key_of(&places[random.below(2)]), to = key_of(&places[random.below(2)]);
            if (random.below(2)) {
                wakes += futexes::wake(from, 1 + random.below(3), proc::any_bit);
            } else {
                futexes::two_buckets locks(futexes::bucket_of(from), futexes::bucket_of(to));
                futexes::requeue_locked(from, to, 2);
            }
            lwkt_test::spin_for(random.below(50) * ktime::microsecond);
            lwkt::yield();
        }
    };
    crew c;
    for (unsigned i = 0; i < 4; i++) {
        waiting++;
        REQUIRE(c.start(i % arch::cpu::count(), waits));
    }
    REQUIRE(c.start_everywhere(meddles));
    c.join();
    EXPECT_EQ(woken.load(), wakes.load());
}
