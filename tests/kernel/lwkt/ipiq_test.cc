// kernel/lwkt/ipiq: in order, all of them, without deadlock, few interrupts.
#include "kernel/lwkt/ipiq.h"

#include "tests/kernel/lwkt/crew.h"

using lwkt_test::crew;

namespace {

// What one CPU has received; touched by that CPU's IPI functions, read when all is over.
struct receiver {
    k::u64 next[arch::max_cpus]; // from each source
    k::u64 out_of_order;
};
lwkt::per_cpu<receiver> receivers;
std::atomic<k::u64> received;

constexpr unsigned number_bits = 32;

void receive(void* packed) {
    const auto value = reinterpret_cast<std::uintptr_t>(packed);
    const auto source = static_cast<unsigned>(value >> number_bits);
    const k::u64 number = value & ((k::u64{1} << number_bits) - 1);
    receiver& here = receivers.local();
    if (here.next[source] != number) here.out_of_order++;
    here.next[source] = number + 1;
    received.fetch_add(1, std::memory_order_acq_rel);
}

void* pack(unsigned source, k::u64 number) {
    return reinterpret_cast<void*>((std::uintptr_t{source} << number_bits) | number);
}

void forget_receivers() {
    for (unsigned cpu = 0; cpu < arch::max_cpus; cpu++)
        receivers.of(cpu) = {};
    received.store(0);
}

void expect_all_in_order(k::u64 each) {
    const unsigned cpus = arch::cpu::count();
    lwkt_test::wait_until([&] { return received.load() == each * cpus * cpus; });
    for (unsigned to = 0; to < cpus; to++) {
        EXPECT_EQ(receivers.of(to).out_of_order, 0u);
        for (unsigned from = 0; from < cpus; from++)
            EXPECT_EQ(receivers.of(to).next[from], each);
    }
}

lwkt::ipi_counters all_counters() {
    lwkt::ipi_counters sum{};
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        const lwkt::ipi_counters c = lwkt::ipi_statistics(cpu);
        sum.sent += c.sent;
        sum.interrupts += c.interrupts;
        sum.ring_full += c.ring_full;
    }
    return sum;
}

} // namespace

SELFTEST(lwkt, messages_arrive_in_order_from_each_source) {
    constexpr k::u64 each = 800;
    forget_receivers();
    auto body = [&](unsigned cpu) {
        for (k::u64 i = 0; i < each; i++)
            for (unsigned to = 0; to < arch::cpu::count(); to++)
                lwkt::send(to, receive, pack(cpu, i));
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    c.join();
    expect_all_in_order(each);
}

// All CPUs send in a critical section, so none serves its rings but while it waits for room itself: the first to have
// sent everything has overrun all others.
SELFTEST(lwkt, all_cpus_flooding_each_other_with_full_rings_get_on) {
    constexpr k::u64 each = 1000;
    forget_receivers();
    const lwkt::ipi_counters before = all_counters();
    lwkt_test::starting_line line(arch::cpu::count());
    auto body = [&](unsigned cpu) {
        lwkt::critical section;
        line.wait();
        for (k::u64 i = 0; i < each; i++)
            for (unsigned step = 0; step < arch::cpu::count(); step++)
                lwkt::send((cpu + step) % arch::cpu::count(), receive, pack(cpu, i));
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    c.join();
    expect_all_in_order(each);
    const lwkt::ipi_counters after = all_counters();
    if (arch::cpu::count() == 1) {
        EXPECT_EQ(after.sent, before.sent); // to itself a CPU needs no ring
        return;
    }
    EXPECT(after.ring_full > before.ring_full);
    EXPECT(after.sent - before.sent >= each * arch::cpu::count() * (arch::cpu::count() - 1));
    EXPECT(after.interrupts - before.interrupts <= after.sent - before.sent);
}

SELFTEST(lwkt, messages_to_a_cpu_that_has_not_looked_share_one_interrupt) {
    if (arch::cpu::count() < 2) return;
    constexpr unsigned messages = 12; // fewer than half a ring: the sender never waits
    std::atomic<unsigned> ran = 0;
    std::atomic<bool> held = false, sent = false;
    auto sender = [&](unsigned) {
        lwkt_test::spin_until([&] { return held.load(); });
        const lwkt::ipi_counters before = lwkt::ipi_statistics(1);
        for (unsigned i = 0; i < messages; i++)
            lwkt::send(
                0, [](void* ran) { static_cast<std::atomic<unsigned>*>(ran)->fetch_add(1); }, &ran);
        const lwkt::ipi_counters after = lwkt::ipi_statistics(1);
        EXPECT_EQ(after.sent - before.sent, messages);
        EXPECT(after.interrupts - before.interrupts <= 1);
        sent.store(true);
    };
    crew c;
    REQUIRE(c.start(1, sender));
    {
        lwkt::critical section;
        held.store(true);
        lwkt_test::spin_until([&] { return sent.load(); });
        EXPECT_EQ(ran.load(), 0u);
    }
    EXPECT_EQ(ran.load(), messages);
}

SELFTEST(lwkt, a_message_to_oneself_runs_before_send_returns) {
    bool ran = false;
    lwkt::send(
        arch::cpu::id(), [](void* ran) { *static_cast<bool*>(ran) = true; }, &ran);
    EXPECT(ran);
}

SELFTEST(lwkt, call_on_runs_there_and_returns_afterwards) {
    struct visit {
        unsigned cpu = ~0u;
        bool in_ipi_function = false;
        bool critical = false;
    };
    auto body = [&](unsigned number) {
        const unsigned self = number % arch::cpu::count();
        for (unsigned round = 0; round < 60; round++) {
            const unsigned target = (self + round) % arch::cpu::count();
            visit v;
            lwkt::call_on(
                target,
                [](void* seen) {
                    *static_cast<visit*>(seen) = {arch::cpu::id(), lwkt::in_ipi_function(),
                                                  arch::cpu::local().critical > 0};
                },
                &v);
            EXPECT_EQ(v.cpu, target);
            EXPECT(v.critical);
            EXPECT(v.in_ipi_function || target == self);
            lwkt::critical section;
            EXPECT(!lwkt::in_ipi_function());
        }
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 2));
}

SELFTEST(lwkt, call_everywhere_runs_once_on_each_cpu) {
    auto body = [&](unsigned number) {
        const unsigned self = number % arch::cpu::count();
        struct visits {
            std::atomic<unsigned> of[arch::max_cpus]{};
            static void note(void* v) { static_cast<visits*>(v)->of[arch::cpu::id()].fetch_add(1); }
        };
        for (unsigned round = 0; round < 40; round++) {
            visits everywhere, elsewhere;
            lwkt::call_everywhere(visits::note, &everywhere);
            lwkt::call_everywhere_else(visits::note, &elsewhere);
            for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
                EXPECT_EQ(everywhere.of[cpu].load(), 1u);
                EXPECT_EQ(elsewhere.of[cpu].load(), cpu == self ? 0u : 1u);
            }
        }
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 2));
}
