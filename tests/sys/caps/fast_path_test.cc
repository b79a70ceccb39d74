// The fast path: what a call costs the scheduler on one CPU, and two CPUs in interrupts.
#include "kernel/lwkt/ipiq.h"
#include "tests/sys/caps/server.h"

using namespace caps_test;

namespace {

constexpr unsigned rounds = 200;

// Replies to its client, to whom it gives the CPU when it sleeps.
void serve_by_hand_over(service& s) {
    lwkt::successor client;
    while (auto a = s.get({}, client))
        EXPECT(s.reply(*a, {}, &client));
}

k::u64 sent_here() {
    return lwkt::ipi_statistics(arch::cpu::id()).sent;
}

// What rounds cost that nothing else interfered with, as far as is known: the machine has other things to do.
struct tally {
    unsigned as_expected = 0, all = 0;
    void add(bool good) {
        as_expected += good;
        all++;
    }
    void expect_most(std::string_view what, k::where where = k::where::here()) const {
        if (as_expected * 4 < all * 3 || !all) selftest::fail(where, "{} of {} rounds {}", as_expected, all, what);
    }
};

} // namespace

SELFTEST(caps, a_call_to_a_waiting_server_is_two_switches_and_passes_equals) {
    const unsigned cpu = arch::cpu::id();
    service_ref s = make_service("fast");
    REQUIRE(s);
    auto serve = [&](unsigned) { serve_by_hand_over(*s); };
    // Made ready before each call, and of the caller's level.
    struct {
        lwkt::wait_queue bed;
        std::atomic<unsigned> called = 0, ran = 0;
        std::atomic<bool> ends = false;
    } equal;
    auto be_equal = [&](unsigned) {
        while (!equal.ends) {
            equal.bed.wait([&] { return equal.ends || equal.called.load() != equal.ran.load(); });
            equal.ran.store(equal.called.load());
        }
    };
    client_ref c = connect_to("fast");
    message_ref m = fresh_message();
    REQUIRE(c && m);
    lwkt_test::crew server, other;
    EXPECT(server.start(cpu, serve) && other.start(cpu, be_equal));
    EXPECT(c->call(m)); // it waits in get() from now on
    tally switches, turns;
    for (unsigned i = 0; i < rounds; i++) {
        lwkt_test::yield_until([&] { return equal.ran.load() == equal.called.load(); });
        lwkt::yield(); // it sleeps again
        const k::u64 before = lwkt::scheduler_statistics(cpu).switches;
        EXPECT(c->call(m));
        switches.add(lwkt::scheduler_statistics(cpu).switches - before == 2);
        equal.called.fetch_add(1);
        equal.bed.wake_one();
        EXPECT(c->call(m));
        turns.add(equal.ran.load() != equal.called.load());
    }
    switches.expect_most("were there and back");
    turns.expect_most("passed an equal");
    s->close();
    server.join();
    equal.ends = true;
    equal.bed.wake_all();
}

SELFTEST(caps, a_call_across_cpus_is_one_interrupt_each_way) {
    if (arch::cpu::count() < 2) return;
    const unsigned here = arch::cpu::id(), there = here ? 0 : 1;
    service_ref s = make_service("far");
    REQUIRE(s);
    tally back;
    auto serve = [&](unsigned) {
        lwkt::successor client;
        k::u64 before = sent_here();
        while (auto a = s->get({}, client)) {
            EXPECT(s->reply(*a, {}, &client));
            const k::u64 now = sent_here();
            back.add(now - before <= 1);
            before = now;
        }
    };
    client_ref c = connect_to("far");
    message_ref m = fresh_message();
    REQUIRE(c && m);
    lwkt_test::crew server;
    REQUIRE(server.start(there, serve));
    tally forth;
    for (unsigned i = 0; i < rounds; i++) {
        const k::u64 before = sent_here();
        EXPECT(c->call(m));
        forth.add(sent_here() - before <= 1);
    }
    s->close();
    server.join();
    forth.expect_most("sent one interrupt at most");
    back.expect_most("were answered with one interrupt at most");
}

SELFTEST(caps, who_polls_is_sent_no_interrupt) {
    if (arch::cpu::count() < 2) return;
    const unsigned here = arch::cpu::id(), there = here ? 0 : 1;
    service_ref s = make_service("busy");
    REQUIRE(s);
    std::atomic<bool> ends = false;
    tally back;
    auto serve = [&](unsigned) {
        while (!ends) {
            auto a = s->get(no_wait);
            if (!a) {
                lwkt::yield();
                arch::cpu::relax();
                continue;
            }
            const k::u64 before = sent_here();
            EXPECT(s->reply(*a));
            back.add(sent_here() == before);
        }
    };
    client_ref c = connect_to("busy");
    REQUIRE(c);
    lwkt_test::crew server;
    REQUIRE(server.start(there, serve));
    tally forth;
    for (unsigned i = 0; i < rounds; i++) {
        message_ref m = fresh_message(i);
        const k::u64 before = sent_here();
        const bool put = m && c->put(std::move(m), no_wait);
        EXPECT(put);
        if (!put) break;
        lwkt_test::yield_until([&] { return c->ready().reply; });
        auto reply = c->get(0, no_wait);
        forth.add(sent_here() == before);
        EXPECT_EQ(number_in(**reply), i);
        c->done(**reply);
    }
    ends = true;
    server.join();
    forth.expect_most("sent nothing");
    back.expect_most("were answered without an interrupt");
}
