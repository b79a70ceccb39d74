// kernel/proc/timers: a timer is armed on one CPU and cancelled on any, and is gone when cancel() has returned.
#include "kernel/proc/timers.h"

#include "kernel/lib/random.h"
#include "kernel/proc/clock.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/support/threads.h"

using ktime::microsecond;
using ktime::millisecond;

namespace {

struct counting : proc::timer {
    counting() : timer(expired) {}
    static void expired(proc::timer& t) {
        auto& self = static_cast<counting&>(t);
        self.times.fetch_add(1);
        if (self.period) t.rearm(ktime::after(self.period));
    }
    std::atomic<unsigned> times = 0;
    ktime::ns period = 0;
};

unsigned last_cpu() {
    return arch::cpu::count() - 1;
}

} // namespace

SELFTEST(proc_timer, expires_once_and_not_before_its_time) {
    counting t;
    const ktime::ns deadline = ktime::after(2 * millisecond);
    t.arm(deadline);
    lwkt_test::wait_until([&] { return t.times.load() == 1; });
    EXPECT(ktime::now() >= deadline);
    EXPECT(!t.cancel());
    lwkt::sleep_for(millisecond);
    EXPECT_EQ(t.times.load(), 1u);
}

SELFTEST(proc_timer, one_that_another_cpu_armed_can_be_cancelled) {
    counting t;
    EXPECT(support::run_on(last_cpu(), [&] { t.arm(ktime::after(10 * ktime::second)); }));
    EXPECT(t.cancel());
    EXPECT(!t.cancel());
    EXPECT_EQ(t.times.load(), 0u);
    t.arm(ktime::after(10 * ktime::second)); // and armed anew elsewhere
    EXPECT(support::run_on(last_cpu(), [&] { EXPECT(t.cancel()); }));
}

SELFTEST(proc_timer, after_cancel_one_that_arms_itself_anew_is_quiet) {
    k::random random(selftest::seed());
    for (int round = 0; round < 40; round++) {
        counting t;
        t.period = 70 * microsecond;
        EXPECT(support::run_on(last_cpu(), [&] { t.arm(ktime::after(70 * microsecond)); }));
        lwkt_test::spin_for(random.below(300) * microsecond);
        t.cancel();
        const unsigned seen = t.times.load();
        lwkt_test::spin_for(200 * microsecond);
        EXPECT_EQ(t.times.load(), seen);
    }
}

SELFTEST(proc_timer, expiry_catches_up_with_what_was_missed) {
    proc::expiry once{.next = 100, .interval = 0};
    EXPECT_EQ(once.catch_up(99), 0u);
    EXPECT_EQ(once.catch_up(100), 1u);
    EXPECT_EQ(once.catch_up(1000), 0u);
    proc::expiry often{.next = 100, .interval = 10};
    EXPECT_EQ(often.catch_up(100), 1u);
    EXPECT_EQ(often.next, 110u);
    EXPECT_EQ(often.catch_up(135), 3u);
    EXPECT_EQ(often.next, 140u);
    EXPECT_EQ(often.left(131), 9u);
    proc::expiry far{.next = 5, .interval = ktime::forever - 2};
    EXPECT_EQ(far.catch_up(10), 1u);
    EXPECT_EQ(far.next, ktime::forever); // no overflow into the past
}

SELFTEST(proc_timer, times_of_day_are_checked) {
    EXPECT(!(proc::time_spec{-1, 0}.to_ns()));
    EXPECT(!(proc::time_spec{0, 1'000'000'000}.to_ns()));
    EXPECT(!(proc::time_spec{0, -1}.to_ns()));
    EXPECT_EQ((proc::time_spec{3, 4}.to_ns()).value_or(0), 3 * ktime::second + 4);
    EXPECT_EQ((proc::time_spec{~k::u64{0} >> 1, 0}.to_ns()).value_or(0), ktime::forever - 1);
    EXPECT(!(proc::time_value{0, 1'000'000}.to_ns()));
    EXPECT_EQ((proc::time_value{1, 2}.to_ns()).value_or(0), ktime::second + 2 * microsecond);
}
