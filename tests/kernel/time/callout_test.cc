// kernel/time/callout: never early, each once, cancelled is cancelled; on every CPU and against a model.
#include "kernel/time/callout.h"

#include "kernel/lib/random.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"

#include <algorithm>
#include <utility>

using ktime::callout;
using ktime::microsecond;
using ktime::millisecond;
using ktime::ns;
using ktime::second;

namespace {

constexpr ns tick = 65'536;
constexpr ns patience = 20 * second; // for what must happen soon, on a machine that others use too

// Sleeps until it holds. False if it does not in all that time.
template <class Condition> bool comes_true(Condition holds) {
    for (const ns deadline = ktime::after(patience); ktime::now() < deadline; lwkt::sleep_for(100 * microsecond)) {
        lwkt::critical section;
        if (holds()) return true;
    }
    return false;
}

// A callout that knows what it has been asked for. Owned by the CPU that arms it.
struct probe {
    callout timer{fired};
    ns deadline = 0;
    bool pending = false;
    unsigned runs = 0;
    unsigned cpu = 0;
    unsigned rearm = 0;         // arm it again so many times, from its function
    ns period = 0;              // that much later; or
    bool in_the_past = false;   // at a time that has passed
    probe* cancels = nullptr;   // another one to cancel from its function
    bool has_cancelled = false; // and what came of that
    struct sequence* log = nullptr;

    void arm(ns at) {
        lwkt::critical section;
        deadline = at;
        pending = true;
        cpu = arch::cpu::id();
        timer.arm(at);
    }
    bool cancel() {
        lwkt::critical section;
        const bool was_pending = std::exchange(pending, false);
        EXPECT_EQ(timer.armed(), was_pending);
        EXPECT_EQ(timer.cancel(), was_pending);
        return was_pending;
    }
    static void fired(callout& c);
};

// The deadlines in the order in which they ran.
struct sequence {
    static constexpr unsigned capacity = 512;
    ns deadlines[capacity];
    unsigned count = 0;
};

void probe::fired(callout& c) {
    auto& self = reinterpret_cast<probe&>(c);
    EXPECT(ktime::now() >= self.deadline);
    EXPECT_EQ(arch::cpu::id(), self.cpu);
    EXPECT(arch::cpu::local().critical > 0);
    EXPECT(self.pending && !c.armed());
    self.pending = false;
    self.runs++;
    if (self.log && self.log->count < sequence::capacity) self.log->deadlines[self.log->count++] = self.deadline;
    if (self.cancels) self.has_cancelled = self.cancels->cancel();
    if (!self.rearm) return;
    self.rearm--;
    self.arm(self.in_the_past ? 0 : ktime::after(self.period));
}

template <unsigned Count> struct many {
    probe probes[Count];
    sequence log;
};

// Runs a test on every CPU in turn, and says which it was if it failed there.
template <class Test> void on_every_cpu(Test test) {
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        if (!lwkt::hand_over(cpu)) continue; // did not start
        const bool failed_before = selftest::failed();
        test();
        if (!failed_before && selftest::failed()) selftest::fail(k::where::here(), "on CPU {}", cpu);
    }
    EXPECT(lwkt::hand_over(0));
}

// Random times: most within some slots of the finest level, some beyond it, some past.
ns random_deadline(k::random& random) {
    switch (random.below(8)) {
    case 0: // has passed
        return random.below(ktime::now());
    case 1: return ktime::after(0);
    case 2: return ktime::after(random.below(30 * millisecond));
    case 3: return ktime::after(random.below(3 * tick));
    default: return ktime::after(random.below(6 * millisecond));
    }
}

constexpr ns far_away[] = {
    3600 * second,      86400 * second,     400 * 86400 * second, 20 * 365 * 86400 * second,
    ktime::forever / 2, ktime::forever - 1, ktime::forever,
};

// The model: what was armed and neither ran nor was cancelled is pending, and nothing else.
struct crowd {
    static constexpr unsigned size = 256;
    probe probes[size];
    unsigned armed = 0, cancelled = 0;

    void step(k::random& random) {
        probe& p = probes[random.below(size)];
        lwkt::critical section;
        EXPECT_EQ(p.timer.armed(), p.pending);
        if (p.pending) {
            if (random.below(3)) return;
            EXPECT(p.cancel());
            cancelled++;
        } else {
            p.arm(random.below(16) ? random_deadline(random) : far_away[random.below(std::size(far_away))]);
            EXPECT(p.timer.armed());
            armed++;
        }
    }
    bool none_pending() const {
        return std::ranges::none_of(probes, [](const probe& p) { return p.pending && p.deadline < far_away[0]; });
    }
    void run(k::u64 seed, unsigned steps) {
        k::random random(seed);
        for (unsigned i = 0; i < steps && !selftest::failed(); i++) {
            step(random);
            if (!random.below(64)) lwkt::sleep_for(random.below(200 * microsecond));
        }
        EXPECT(comes_true([this] { return none_pending(); })); // all that was near has run
        unsigned runs = 0;
        for (probe& p : probes) {
            cancelled += p.cancel();
            runs += p.runs;
        }
        EXPECT_EQ(runs + cancelled, armed);
    }
};

} // namespace

SELFTEST(callout, runs_once_and_not_before_its_deadline) {
    on_every_cpu([] {
        probe p;
        for (ns delay : {ns{0}, ns{1}, tick - 1, tick, 3 * tick, 2 * millisecond, 10 * millisecond}) {
            const unsigned before = p.runs;
            p.arm(ktime::after(delay));
            EXPECT_EQ(p.timer.deadline(), p.deadline);
            EXPECT(comes_true([&] { return !p.pending; }));
            EXPECT(!p.timer.armed());
            EXPECT_EQ(p.runs, before + 1);
        }
        p.cancel();
    });
}

SELFTEST(callout, a_deadline_that_has_passed_runs_soon_but_not_at_once) {
    on_every_cpu([] {
        probe p;
        {
            lwkt::critical section;
            p.arm(0);
            EXPECT_EQ(p.runs, 0u); // never inside arm()
        }
        EXPECT(comes_true([&] { return p.runs == 1; }));
        p.cancel();
    });
}

SELFTEST(callout, moves_down_through_the_levels) {
    // One deadline in each of the first three levels (4.2 ms, 268 ms, 17 s), the last just beyond the second.
    const auto m = mem::make_box<many<3>>();
    REQUIRE(m);
    m->probes[0].arm(ktime::after(2 * millisecond));
    m->probes[1].arm(ktime::after(50 * millisecond));
    m->probes[2].arm(ktime::after(300 * millisecond));
    for (probe& p : m->probes) {
        EXPECT(comes_true([&] { return !p.pending; }));
        EXPECT_EQ(p.runs, 1u);
        p.cancel();
    }
}

SELFTEST(callout, runs_in_the_order_of_deadlines) {
    on_every_cpu([] {
        constexpr unsigned count = 500;
        const auto m = mem::make_box<many<count>>();
        REQUIRE(m);
        k::random random(selftest::seed());
        const ns start = ktime::after(20 * millisecond); // nothing is due before all are armed
        for (probe& p : m->probes) {
            p.log = &m->log;
            p.arm(start + random.below(20 * millisecond));
        }
        const bool in_time = ktime::now() < start;
        EXPECT(comes_true([&] { return m->log.count == count; }));
        for (probe& p : m->probes)
            p.cancel();
        if (!in_time) return; // a slow machine: some were late already when they were armed
        for (unsigned i = 1; i < m->log.count; i++)
            EXPECT(m->log.deadlines[i] + tick > m->log.deadlines[i - 1]); // within a tick there is no order
    });
}

SELFTEST(callout, cancel_tells_whether_it_was_still_to_run) {
    on_every_cpu([] {
        probe p;
        EXPECT(!p.timer.cancel()); // never armed
        p.arm(ktime::after(3600 * second));
        EXPECT(p.cancel());
        EXPECT(!p.timer.cancel()); // cancelled
        p.arm(ktime::after(millisecond));
        EXPECT(comes_true([&] { return p.runs == 1; }));
        EXPECT(!p.timer.cancel()); // has run
    });
}

SELFTEST(callout, what_is_cancelled_does_not_run) {
    on_every_cpu([] {
        probe p;
        for (unsigned i = 0; i < 200; i++) {
            p.arm(ktime::after(i % 8 * tick / 4));
            if (i % 3 == 0) lwkt::sleep_for(50 * microsecond);
            const unsigned runs = p.runs;
            if (!p.cancel()) continue; // it was faster
            EXPECT_EQ(p.runs, runs);
        }
        const unsigned runs = p.runs;
        lwkt::sleep_for(5 * millisecond);
        EXPECT_EQ(p.runs, runs);
    });
}

SELFTEST(callout, may_arm_itself_again_from_its_function) {
    on_every_cpu([] {
        probe p;
        p.period = 300 * microsecond;
        p.rearm = 9;
        p.arm(ktime::after(0));
        EXPECT(comes_true([&] { return p.runs == 10; }));
        EXPECT(!p.cancel());
    });
}

SELFTEST(callout, arming_itself_in_the_past_for_ever_hangs_nobody) {
    on_every_cpu([] {
        probe p;
        p.in_the_past = true;
        p.rearm = ~0u;
        p.arm(0);
        EXPECT(comes_true([&] { return p.runs >= 20; })); // and this thread got to run
        EXPECT(p.cancel());
        const unsigned runs = p.runs;
        lwkt::sleep_for(millisecond);
        EXPECT_EQ(p.runs, runs);
    });
}

SELFTEST(callout, of_two_that_cancel_each_other_one_runs) {
    on_every_cpu([] {
        for (unsigned i = 0; i < 20; i++) {
            probe one, other;
            one.cancels = &other;
            other.cancels = &one;
            {
                lwkt::critical section; // both in one slot
                const ns deadline = ktime::after(millisecond);
                one.arm(deadline);
                other.arm(deadline);
            }
            EXPECT(comes_true([&] { return !one.pending && !other.pending; }));
            EXPECT_EQ(one.runs + other.runs, 1u);
            EXPECT_EQ(one.has_cancelled + other.has_cancelled, 1);
            one.cancel();
            other.cancel();
        }
    });
}

SELFTEST(callout, in_its_own_function_it_can_no_longer_be_cancelled) {
    probe p;
    p.cancels = &p;
    p.arm(ktime::after(millisecond));
    EXPECT(comes_true([&] { return p.runs == 1; }));
    EXPECT(!p.has_cancelled);
    p.cancel();
}

SELFTEST(callout, far_deadlines_wait_and_do_not_disturb_near_ones) {
    on_every_cpu([] {
        const auto m = mem::make_box<many<std::size(far_away)>>();
        REQUIRE(m);
        for (std::size_t i = 0; i < std::size(far_away); i++)
            m->probes[i].arm(ktime::after(far_away[i]));
        probe near;
        near.period = millisecond;
        near.rearm = 9;
        near.arm(ktime::after(0));
        EXPECT(comes_true([&] { return near.runs == 10; }));
        near.cancel();
        for (probe& p : m->probes) {
            EXPECT_EQ(p.runs, 0u);
            EXPECT(p.cancel());
        }
    });
}

SELFTEST(callout, the_sum_of_times_does_not_overflow) {
    EXPECT_EQ(ktime::after(ktime::forever), ktime::forever);
    EXPECT_EQ(ktime::after(ktime::forever - 1), ktime::forever);
    const ns before = ktime::now();
    EXPECT(ktime::after(second) >= before + second);
}

SELFTEST(callout, thousands_agree_with_a_model) {
    on_every_cpu([] {
        const auto c = mem::make_box<crowd>();
        REQUIRE(c);
        c->run(selftest::seed() + arch::cpu::id(), 4000);
    });
}

SELFTEST(callout, thousands_on_all_cpus_at_once_agree_with_a_model) {
    static std::atomic<unsigned> running;
    running.store(0);
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        running.fetch_add(1);
        const auto entry = [](void*) {
            if (const auto c = mem::make_box<crowd>()) c->run(selftest::seed() ^ (arch::cpu::id() + 1), 4000);
            running.fetch_sub(1);
        };
        if (!lwkt::spawn("callout test", cpu, lwkt::normal_priority, entry, nullptr)) running.fetch_sub(1);
    }
    while (running.load()) // comes to an end: each waits for `patience` at most
        lwkt::sleep_for(millisecond);
}
