// kernel/lwkt: grace periods, spread counts, sleep locks.
#include "kernel/lwkt/grace.h"

#include "kernel/lwkt/sleep_lock.h"
#include "kernel/lwkt/spread_count.h"
#include "tests/kernel/lwkt/crew.h"

using ktime::microsecond;
using lwkt_test::crew;

namespace {

// Something that is published, looked at and replaced.
struct thing : lwkt::retirable {
    static constexpr k::u64 alive = 0x616c'6976'65;
    std::atomic<k::u64> state = alive;
};
std::atomic<unsigned> things_freed;

void free_thing(lwkt::retirable& r) {
    auto* t = static_cast<thing*>(&r);
    t->state.store(0);
    mem::destroy(t);
    things_freed++;
}

} // namespace

SELFTEST(grace, what_a_reader_found_stays_until_it_looks_away) {
    constexpr unsigned rounds = 300;
    things_freed.store(0);
    std::atomic<thing*> current = mem::make<thing>();
    std::atomic<bool> stop = false;
    std::atomic<unsigned> dead_seen = 0;
    auto look = [&](unsigned) {
        while (!stop.load()) {
            {
                lwkt::critical section;
                const thing* t = current.load(std::memory_order_acquire);
                for (unsigned i = 0; i < 20; i++) {
                    dead_seen += t->state.load() != thing::alive;
                    arch::cpu::relax();
                }
            }
            lwkt::yield();
        }
    };
    {
        crew c;
        for (unsigned cpu = 1; cpu < arch::cpu::count(); cpu++)
            REQUIRE(c.start(cpu, look));
        for (unsigned i = 0; i < rounds; i++) {
            thing* fresh = mem::make<thing>();
            if (!fresh) break;
            lwkt::retire(*current.exchange(fresh, std::memory_order_acq_rel), free_thing);
            if (i % 16 == 0) lwkt::sleep_for(50 * microsecond);
        }
        lwkt::wait_for_readers();
        EXPECT_EQ(things_freed.load(), rounds);
        stop.store(true);
    }
    EXPECT_EQ(dead_seen.load(), 0u);
    mem::destroy(current.load());
}

SELFTEST(grace, what_is_retired_goes_by_itself) {
    things_freed.store(0);
    auto* t = mem::make<thing>();
    REQUIRE(t);
    lwkt::retire(*t, free_thing);
    lwkt_test::wait_until([] { return things_freed.load() == 1; });
}

SELFTEST(grace, who_waits_on_one_cpu_waits_for_all) {
    std::atomic<bool> inside = false, out = false, returned = false;
    auto stay = [&](unsigned) {
        lwkt::critical section;
        inside.store(true);
        lwkt_test::spin_for(3 * ktime::millisecond);
        EXPECT(!returned.load());
        out.store(true);
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, stay));
    lwkt_test::wait_until([&] { return inside.load(); });
    lwkt::wait_for_readers();
    returned.store(true);
    EXPECT(out.load());
}

SELFTEST(spread_count, counts_who_comes_here_and_leaves_there) {
    lwkt::spread_count users;
    users.add();
    auto body = [&](unsigned) {
        for (unsigned i = 0; i < 200; i++) {
            users.add();
            (void)lwkt::hand_over(i % arch::cpu::count());
            EXPECT(!users.drop());
        }
        users.add();
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(body));
    }
    const k::i64 expected = 1 + arch::cpu::count();
    EXPECT_EQ(users.gather(), expected);
    users.spread();
    EXPECT(!users.drop());
    EXPECT_EQ(users.gather(), expected - 1);
    for (k::i64 i = 1; i < expected - 1; i++)
        EXPECT(!users.drop());
    EXPECT(users.drop());
}

SELFTEST(spread_count, is_right_while_it_is_gathered_and_spread) {
    lwkt::spread_count users;
    users.add();
    std::atomic<bool> stop = false;
    std::atomic<unsigned> last_seen = 0;
    auto body = [&](unsigned) {
        while (!stop.load()) {
            users.add();
            last_seen += users.drop();
            lwkt::yield();
        }
    };
    {
        crew c;
        for (unsigned cpu = 1; cpu < arch::cpu::count(); cpu++)
            REQUIRE(c.start(cpu, body));
        for (unsigned i = 0; i < 40; i++) {
            const k::i64 count = users.gather();
            EXPECT(count >= 1 && count <= static_cast<k::i64>(arch::cpu::count()));
            users.spread();
        }
        stop.store(true);
    }
    EXPECT_EQ(last_seen.load(), 0u); // this one was there all the time
    EXPECT_EQ(users.gather(), 1);
    EXPECT(users.drop());
}

SELFTEST(sleep_lock, keeps_others_out_while_its_holder_sleeps) {
    constexpr unsigned each = 60;
    lwkt::sleep_lock lock;
    unsigned inside = 0, sum = 0;
    auto body = [&](unsigned number) {
        for (unsigned i = 0; i < each; i++) {
            lwkt::sleep_hold hold(lock);
            EXPECT_EQ(inside++, 0u);
            if ((i + number) % 8 == 0) lwkt::sleep_for(20 * microsecond);
            if ((i + number) % 8 == 1) lwkt::yield();
            sum++;
            inside--;
        }
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    EXPECT_EQ(sum, 2 * each * arch::cpu::count());
}
