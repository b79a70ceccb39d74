// kernel/lwkt/port: order, calls in place and queued, replies to wait for, and pools of messages on their way round.
#include "kernel/lwkt/port.h"

#include "tests/kernel/lwkt/port_server.h"

using ktime::millisecond;
using lwkt::msg;
using lwkt::msg_state;
using lwkt::port;
using lwkt_test::crew;
using lwkt_test::number_msg;
using lwkt_test::server;

namespace {

unsigned other_cpu() {
    return arch::cpu::count() - 1;
}

} // namespace

SELFTEST(lwkt, messages_are_got_in_the_order_of_putting) {
    port in(0), replies(0);
    number_msg messages[8];
    EXPECT(!in.get());
    for (unsigned i = 0; i < 8; i++) {
        messages[i].number = i;
        in.put(messages[i], replies);
        EXPECT(messages[i].state() == msg_state::queued);
        EXPECT_EQ(replies.expected(), i + 1);
    }
    for (unsigned i = 0; i < 8; i++) {
        msg* m = in.get();
        REQUIRE(m == &messages[i]);
        EXPECT(m->state() == msg_state::taken);
        lwkt::reply(*m, k::error::io);
        EXPECT(m->state() == msg_state::replied);
    }
    EXPECT(!in.get());
    EXPECT_EQ(replies.expected(), 0u);
    for (number_msg& expected : messages) {
        msg* m = replies.wait();
        REQUIRE(m == &expected);
        EXPECT(m->state() == msg_state::idle);
        EXPECT(!m->result && m->result.error() == k::error::io);
    }
    EXPECT(replies.empty());
}

SELFTEST(lwkt, a_call_in_place_is_a_function_call) {
    struct seen {
        lwkt::thread* by = nullptr;
        unsigned times = 0;
    } s;
    const unsigned cpus[] = {0, other_cpu()};
    for (const unsigned cpu : cpus) {
        port p(
            cpu,
            [](port& at, msg& m) {
                auto& s = *static_cast<seen*>(at.owner());
                s.by = &lwkt::self();
                s.times++;
                m.result = k::error::noent;
                return lwkt::begun::finished;
            },
            &s);
        EXPECT_EQ(p.cpu(), cpu);
        const k::u64 switches = lwkt::self().switches;
        msg m;
        for (unsigned i = 0; i < 10; i++) {
            const k::status result = p.call(m);
            EXPECT(!result && result.error() == k::error::noent);
            EXPECT(m.state() == msg_state::idle);
        }
        EXPECT(s.by == &lwkt::self());
        EXPECT_EQ(lwkt::self().switches, switches);
    }
    EXPECT_EQ(s.times, 20u);
}

SELFTEST(lwkt, a_put_that_is_finished_in_place_still_comes_back_as_a_reply) {
    port p(other_cpu(), [](port&, msg& m) {
        m.result = m.command ? k::status(k::error::inval) : k::status();
        return lwkt::begun::finished;
    });
    port replies(0);
    msg good, bad;
    bad.command = 1;
    p.put(good, replies);
    p.put(bad, replies);
    EXPECT(good.state() == msg_state::replied);
    EXPECT_EQ(replies.expected(), 0u);
    replies.wait_for(bad);
    EXPECT(!bad.result && bad.result.error() == k::error::inval);
    EXPECT(replies.wait() == &good);
    EXPECT(good.result.has_value());
}

SELFTEST(lwkt, a_begin_function_decides_for_each_message) {
    server s(other_cpu(), [](port&, msg& m) {
        auto& n = static_cast<number_msg&>(m);
        if (n.number % 2) return lwkt::begun::queue;
        n.answer = 1; // here
        n.result = {};
        return lwkt::begun::finished;
    });
    crew c;
    REQUIRE(c.start(s.in.cpu(), s));
    for (unsigned i = 0; i < 20; i++) {
        number_msg m;
        m.number = i;
        EXPECT_EQ(s.in.call(m).has_value(), i != 7); // the server's every seventh
        EXPECT_EQ(m.answer, i % 2 ? i + 1000 : 1);
    }
    s.stop();
}

SELFTEST(lwkt, a_queued_call_waits_for_its_reply_on_the_same_cpu_and_across) {
    const unsigned cpus[] = {0, other_cpu()};
    for (const unsigned cpu : cpus) {
        server s(cpu);
        crew c;
        REQUIRE(c.start(cpu, s));
        for (unsigned i = 0; i < 200; i++) {
            number_msg m;
            m.number = i;
            const k::status result = s.in.call(m);
            EXPECT_EQ(result.has_value(), i % 7 != 0);
            if (!result) EXPECT(result.error() == k::error::io);
            EXPECT_EQ(m.answer, i + 1000);
            EXPECT(m.state() == msg_state::idle);
        }
        s.stop();
    }
}

SELFTEST(lwkt, calls_from_all_cpus_to_all_cpus_are_answered) {
    server* servers[arch::max_cpus];
    crew serving;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        servers[cpu] = mem::make<server>(cpu);
        REQUIRE(servers[cpu] && serving.start(cpu, *servers[cpu]));
    }
    auto client = [&](unsigned number) {
        for (unsigned i = 0; i < 100; i++) {
            number_msg m;
            m.number = number * 1000 + i;
            (void)servers[(number + i) % arch::cpu::count()]->in.call(m);
            EXPECT_EQ(m.answer, m.number + 1000);
        }
    };
    {
        crew clients;
        REQUIRE(clients.start_everywhere(client, 2));
    }
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        servers[cpu]->stop();
    serving.join();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        mem::destroy(servers[cpu]);
}

SELFTEST(lwkt, replies_come_to_the_reply_port_from_every_cpu) {
    constexpr unsigned each = 20;
    port replies(0);
    server* servers[arch::max_cpus];
    crew serving;
    auto* messages = static_cast<number_msg*>(mem::allocate(sizeof(number_msg) * each * arch::cpu::count()));
    REQUIRE(messages);
    const unsigned total = each * arch::cpu::count();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        servers[cpu] = mem::make<server>(cpu);
        REQUIRE(servers[cpu] && serving.start(cpu, *servers[cpu]));
    }
    for (unsigned i = 0; i < total; i++) {
        auto* m = new (&messages[i]) number_msg;
        m->number = i;
        servers[i % arch::cpu::count()]->in.put(*m, replies);
    }
    unsigned last[arch::max_cpus] = {};
    for (unsigned i = 0; i < total; i++) {
        auto& m = static_cast<number_msg&>(*replies.wait());
        EXPECT_EQ(m.answer, m.number + 1000);
        unsigned& before = last[m.number % arch::cpu::count()];
        EXPECT(before <= m.number); // one server replies in order
        before = m.number;
    }
    EXPECT_EQ(replies.expected(), 0u);
    EXPECT(!replies.get());
    for (unsigned i = 0; i < total; i++)
        messages[i].~number_msg();
    mem::free(messages);
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        servers[cpu]->stop();
    serving.join();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        mem::destroy(servers[cpu]);
}

SELFTEST(lwkt, wait_until_gives_up_at_the_deadline_and_not_before) {
    port p(0);
    const ktime::ns deadline = ktime::after(2 * millisecond);
    EXPECT(!p.wait_until(deadline));
    EXPECT(ktime::now() >= deadline);
    EXPECT(!p.wait_until(0));

    port replies(0);
    msg m;
    p.put(m, replies);
    EXPECT(p.wait_until(0) == &m); // what is there is taken whatever the time
    lwkt::reply(m, {});
    EXPECT(replies.wait_until(ktime::after(ktime::second)) == &m);
}

SELFTEST(lwkt, a_message_ends_a_wait_with_a_deadline_early) {
    port in(0), replies(0);
    std::atomic<bool> put = false;
    msg m;
    auto sender = [&](unsigned) {
        put.store(true);
        in.put(m, replies);
    };
    crew c;
    REQUIRE(c.start(0, sender));
    EXPECT(in.wait_until(ktime::after(lwkt_test::patience)) == &m);
    EXPECT(put.load());
    lwkt::reply(m, {});
    EXPECT(replies.get() == &m);
}

SELFTEST(lwkt, wait_for_takes_one_reply_and_leaves_the_others) {
    server s(other_cpu());
    crew c;
    REQUIRE(c.start(s.in.cpu(), s));
    port replies(0);
    number_msg messages[6];
    for (unsigned i = 0; i < 6; i++) {
        messages[i].number = i;
        s.in.put(messages[i], replies);
    }
    const unsigned order[] = {3, 5, 0};
    for (const unsigned i : order) {
        replies.wait_for(messages[i]);
        EXPECT_EQ(messages[i].answer, i + 1000);
        EXPECT(messages[i].state() == msg_state::idle);
    }
    const unsigned rest[] = {1, 2, 4};
    for (const unsigned i : rest)
        EXPECT(replies.wait() == &messages[i]);
    EXPECT(replies.empty());
    s.stop();
}

namespace {

// A thread of a ring: gets what the one before puts and puts its own to the next.
struct station {
    explicit station(unsigned cpu) : in(cpu), replies(cpu) {}
    port in, replies;
    k::u64 passed = 0;
};

struct traveller : msg {
    unsigned hops = 0;
};

} // namespace

SELFTEST(lwkt, message_pools_go_round_all_cpus_and_all_come_back) {
    constexpr unsigned pool = 4, laps = 40;
    const unsigned stations = 2 * arch::cpu::count();
    auto** ring = static_cast<station**>(mem::allocate(sizeof(station*) * stations));
    REQUIRE(ring);
    for (unsigned i = 0; i < stations; i++)
        REQUIRE((ring[i] = mem::make<station>(i % arch::cpu::count())));
    auto body = [&](unsigned number) {
        station& here = *ring[number];
        station& next = *ring[(number + 1) % stations];
        traveller own[pool];
        for (unsigned lap = 0; lap < laps; lap++) {
            for (traveller& m : own) {
                m.hops = lap;
                next.in.put(m, here.replies);
            }
            for (unsigned i = 0; i < pool; i++) {
                auto& m = static_cast<traveller&>(*here.in.wait());
                EXPECT_EQ(m.hops, lap);
                m.hops++;
                here.passed++;
                lwkt::reply(m, {});
            }
            for (unsigned i = 0; i < pool; i++)
                EXPECT_EQ(static_cast<traveller*>(here.replies.wait())->hops, lap + 1);
        }
        EXPECT_EQ(here.replies.expected(), 0u);
        EXPECT(here.replies.empty() && here.in.empty());
    };
    {
        crew c;
        for (unsigned i = 0; i < stations; i++)
            REQUIRE(c.start(i % arch::cpu::count(), body));
    }
    for (unsigned i = 0; i < stations; i++) {
        EXPECT_EQ(ring[i]->passed, k::u64{pool} * laps);
        mem::destroy(ring[i]);
    }
    mem::free(ring);
}
