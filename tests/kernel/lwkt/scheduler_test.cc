// kernel/lwkt/scheduler: who runs when. Priorities, preemption by interrupt threads only, critical sections, sleep.
#include "kernel/lwkt/thread.h"
#include "kernel/lwkt/wait_queue.h"
#include "tests/kernel/lwkt/crew.h"

#include <algorithm>

using ktime::microsecond;
using ktime::millisecond;
using lwkt_test::crew;

namespace {

// What several threads of one CPU did, in order.
struct journal {
    unsigned entries[32];
    std::atomic<unsigned> count = 0;
    void note(unsigned what) { entries[count.fetch_add(1) % 32] = what; }
};

bool timer_pending() {
    return arch::cpu::local().pending.load() & arch::event_timer;
}

} // namespace

SELFTEST(lwkt, the_highest_ready_thread_runs_first) {
    journal seen;
    const lwkt::priority levels[] = {5, 20, 13, 23, 1};
    auto body = [&](unsigned number) { seen.note(levels[number]); };
    crew c;
    for (unsigned i = 0; i < 5; i++)
        REQUIRE(c.start(0, body, levels[i]));
    EXPECT_EQ(seen.count.load(), 0u); // ready, but none of them preempts
    c.join();
    const unsigned expected[] = {23, 20, 13, 5, 1};
    for (unsigned i = 0; i < 5; i++)
        EXPECT_EQ(seen.entries[i], expected[i]);
}

SELFTEST(lwkt, yield_runs_equals_in_turn_and_never_a_lower_one) {
    journal seen;
    std::atomic<unsigned> left = 3;
    auto equal = [&](unsigned number) {
        for (unsigned i = 0; i < 4; i++) {
            seen.note(number);
            lwkt::yield();
        }
        left.fetch_sub(1);
    };
    auto lower = [&](unsigned) { EXPECT_EQ(left.load(), 0u); };
    crew c;
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(c.start(0, equal, lwkt::normal_priority + 1));
    REQUIRE(c.start(0, lower, lwkt::normal_priority - 1));
    c.join();
    REQUIRE(seen.count.load() == 12);
    for (unsigned i = 0; i < 12; i++)
        EXPECT_EQ(seen.entries[i], i % 3);
}

SELFTEST(lwkt, a_higher_thread_below_interrupt_level_does_not_preempt) {
    std::atomic<bool> ran = false;
    auto body = [&](unsigned) { ran.store(true); };
    crew c;
    REQUIRE(c.start(0, body, lwkt::interrupt_priority - 1));
    lwkt_test::spin_for(3 * millisecond);
    EXPECT(!ran.load());
    lwkt::yield();
    EXPECT(ran.load());
}

SELFTEST(lwkt, an_interrupt_thread_woken_by_a_callout_preempts_a_spinning_thread) {
    std::atomic<bool> asleep = false, woken = false;
    auto body = [&](unsigned) {
        asleep.store(true);
        lwkt::sleep_for(2 * millisecond);
        woken.store(true);
    };
    const k::u64 before = lwkt::scheduler_statistics(0).preemptions;
    crew c;
    REQUIRE(c.start(0, body, lwkt::interrupt_priority)); // preempts us at once, too
    EXPECT(asleep.load());
    lwkt_test::spin_until([&] { return woken.load(); });
    EXPECT(lwkt::scheduler_statistics(0).preemptions >= before + 2);
}

SELFTEST(lwkt, an_interrupt_thread_waits_for_the_end_of_a_critical_section) {
    std::atomic<bool> woken = false;
    auto body = [&](unsigned) {
        lwkt::sleep_for(2 * millisecond);
        woken.store(true);
    };
    crew c;
    REQUIRE(c.start(0, body, lwkt::interrupt_priority));
    {
        lwkt::critical outer;
        if (!woken.load()) { // a CPU that was not run for a while is late
            {
                lwkt::critical inner;
                lwkt_test::spin_until([] { return timer_pending(); });
                lwkt_test::spin_for(1 * millisecond);
                EXPECT(!woken.load());
            }
            EXPECT(!woken.load()); // the inner one's end is not the end
        }
    }
    lwkt_test::spin_until([&] { return woken.load(); });
}

SELFTEST(lwkt, an_interrupt_thread_woken_by_another_cpu_preempts_a_spinning_thread) {
    lwkt::wait_queue queue;
    std::atomic<bool> ready = false, ran = false;
    auto sleeper = [&](unsigned) {
        queue.wait([&] { return ready.load(); });
        ran.store(true);
    };
    auto waker = [&](unsigned) {
        ready.store(true);
        queue.wake_all();
    };
    crew c;
    REQUIRE(c.start(0, sleeper, lwkt::interrupt_priority));
    EXPECT(!ran.load());
    if (arch::cpu::count() > 1) {
        REQUIRE(c.start(1, waker));
        lwkt_test::spin_until([&] { return ran.load(); });
    } else {
        waker(0);
        EXPECT(ran.load()); // at the end of the waker's critical section
    }
}

SELFTEST(lwkt, among_interrupt_threads_only_a_higher_one_preempts) {
    journal seen;
    auto same = [&](unsigned) { seen.note(1); };
    auto higher = [&](unsigned) { seen.note(2); };
    auto first = [&](unsigned) {
        crew others;
        EXPECT(others.start(0, same, lwkt::interrupt_priority + 1));
        seen.note(0);
        EXPECT(others.start(0, higher, lwkt::interrupt_priority + 2));
        seen.note(3);
        others.join();
    };
    crew c;
    REQUIRE(c.start(0, first, lwkt::interrupt_priority + 1));
    c.join();
    REQUIRE(seen.count.load() == 4);
    const unsigned expected[] = {0, 2, 3, 1};
    for (unsigned i = 0; i < 4; i++)
        EXPECT_EQ(seen.entries[i], expected[i]);
}

// A thread gets the CPU as any thread of the kernel does and becomes a user thread then. Nothing is woken after that,
// so that moment is the only one at which its turn can be given an end.
SELFTEST(lwkt, a_new_user_thread_makes_room_for_those_that_were_ready_before_it) {
    lwkt::sleep_for(20 * millisecond); // what the tests before left to other threads is done: they would end the turn
    lwkt::thread& test = lwkt::self();
    bool other_ran = false;
    auto computes = [&](unsigned) {
        lwkt::user_part part;
        lwkt::set_user(&part);
        for (const ktime::ns deadline = ktime::after(10 * ktime::second); !other_ran && ktime::now() < deadline;
             arch::cpu::relax())
            if (part.attention.exchange(0) & lwkt::attention_turn) lwkt::yield();
        EXPECT(other_ran);
        lwkt::set_user(nullptr);
    };
    auto other = [&](unsigned) {
        other_ran = true;
        lwkt::wake(test);
    };
    crew c;
    lwkt::critical section;
    REQUIRE(c.start(0, computes, lwkt::user_priority));
    REQUIRE(c.start(0, other, lwkt::user_priority));
    lwkt::block();
}

SELFTEST(lwkt, critical_sections_hold_events_off_and_deliver_them_at_the_end) {
    struct probe {
        ktime::callout callout{[](ktime::callout& c) { reinterpret_cast<probe&>(c).ran.store(true); }};
        std::atomic<bool> ran = false;
    } p;
    {
        lwkt::critical outer;
        p.callout.arm(ktime::after(100 * microsecond));
        {
            lwkt::critical inner;
            // The interrupt may be another callout's: wait until this one is due too.
            const ktime::ns due = p.callout.deadline() + 200 * microsecond;
            lwkt_test::spin_until([due] { return timer_pending() && ktime::now() >= due; });
        }
        EXPECT(!p.ran.load());
    }
    EXPECT(p.ran.load());
}

SELFTEST(lwkt, sleep_is_never_too_short) {
    auto body = [&](unsigned number) {
        const ktime::ns lengths[] = {0, 1, 50 * microsecond, 65'536, 700 * microsecond, 3 * millisecond};
        for (const ktime::ns length : lengths) {
            const ktime::ns before = ktime::now();
            lwkt::sleep_for(length + number);
            EXPECT(ktime::now() >= before + length + number);
        }
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 3));
}

SELFTEST(lwkt, a_cpu_without_work_is_idle) {
    constexpr ktime::ns nap = 40 * millisecond;
    auto body = [&](unsigned number) {
        k::u64 most_idle = 0;
        // The best of some: zeroing pages ahead takes part of it, and longer on a busy machine.
        for (unsigned turn = 0; turn < 10 && most_idle < nap / 4; turn++) {
            lwkt::sleep_for(millisecond); // chores of the idle thread come first
            const k::u64 idle_before = lwkt::scheduler_statistics(number).idle_ns;
            const ktime::ns start = ktime::now();
            lwkt::sleep_for(nap);
            const ktime::ns slept = ktime::now() - start;
            const k::u64 idle = lwkt::scheduler_statistics(number).idle_ns - idle_before;
            EXPECT(idle <= slept);
            most_idle = std::max(most_idle, idle);
        }
        EXPECT(most_idle >= nap / 4);
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    c.join();
}
