// kernel/lwkt/port, abort(): a message comes back early, or its receiver knows; one reply each, whatever the race.
#include "kernel/lib/random.h"
#include "tests/kernel/lwkt/port_server.h"

using ktime::microsecond;
using lwkt::abort_result;
using lwkt::msg;
using lwkt::msg_state;
using lwkt::port;
using lwkt_test::crew;
using lwkt_test::number_msg;

SELFTEST(lwkt, an_abort_removes_what_nobody_has_taken) {
    const unsigned cpus[] = {0, arch::cpu::count() - 1};
    for (const unsigned cpu : cpus) {
        port in(cpu), replies(0);
        msg first, second;
        in.put(first, replies);
        in.put(second, replies);
        EXPECT(lwkt::abort(second) == abort_result::removed);
        EXPECT(replies.wait() == &second);
        EXPECT(!second.result && second.result.error() == k::error::canceled);
        EXPECT_EQ(replies.expected(), 1u);
        EXPECT(lwkt::abort(first) == abort_result::removed);
        EXPECT(replies.wait() == &first);
        EXPECT_EQ(replies.expected(), 0u);
        EXPECT(in.empty());
    }
}

SELFTEST(lwkt, an_abort_tells_the_receiver_of_what_it_has_taken) {
    port in(0), replies(0);
    msg m;
    in.put(m, replies);
    REQUIRE(in.get() == &m);
    EXPECT(!m.abort_requested());
    EXPECT(lwkt::abort(m) == abort_result::flagged);
    EXPECT(m.abort_requested());
    EXPECT(lwkt::abort(m) == abort_result::flagged);
    EXPECT(replies.empty());
    lwkt::reply(m, {}); // its own business: here it was too late
    EXPECT(replies.get() == &m);
    EXPECT(m.result.has_value());
    in.put(m, replies); // a new journey starts without the wish
    EXPECT(!m.abort_requested());
    REQUIRE(in.get() == &m);
    lwkt::reply(m, {});
    EXPECT(replies.get() == &m);
}

SELFTEST(lwkt, an_abort_of_what_is_not_under_way_finds_nothing) {
    msg m;
    EXPECT(lwkt::abort(m) == abort_result::not_found);
    port replies(0);
    {
        port in(arch::cpu::count() - 1, [](port&, msg&) { return lwkt::begun::finished; });
        in.put(m, replies);
        EXPECT(lwkt::abort(m) == abort_result::not_found); // replied, not yet fetched
        EXPECT(replies.get() == &m);
        EXPECT(lwkt::abort(m) == abort_result::not_found);
    }
    EXPECT(lwkt::abort(m) == abort_result::not_found); // the port is gone, too
    EXPECT(replies.empty());
}

SELFTEST(lwkt, a_thread_that_waits_in_a_call_can_be_freed_by_an_abort) {
    port in(arch::cpu::count() - 1);
    msg m;
    std::atomic<bool> canceled = false;
    auto caller = [&](unsigned) {
        const k::status result = in.call(m);
        canceled.store(!result && result.error() == k::error::canceled);
    };
    crew c;
    REQUIRE(c.start(0, caller));
    lwkt_test::wait_until([&] { return c.running() == 1 && lwkt::abort(m) == abort_result::removed; });
    c.join();
    EXPECT(canceled.load());
}

namespace {

// Takes messages, keeps some for a while, replies: ECANCELED if it has seen that it should.
struct slow_server {
    explicit slow_server(unsigned cpu) : in(cpu) {}

    void operator()(unsigned number) {
        k::random random(selftest::seed() + number);
        msg* kept[4];
        unsigned count = 0;
        bool stopping = false;
        msg* last = nullptr;
        while (!stopping || count) {
            if (!stopping && count < 4) {
                msg* m = in.wait_until(count ? ktime::after(random.below(100) * microsecond) : ktime::forever);
                if (m && m->command == lwkt_test::stop_command) {
                    stopping = true;
                    last = m;
                    continue;
                }
                if (m) kept[count++] = m;
                if (m && random.below(2)) continue;
            }
            if (!count) continue;
            const auto which = static_cast<unsigned>(random.below(count));
            msg& m = *kept[which];
            kept[which] = kept[--count];
            lwkt::reply(m, m.abort_requested() ? k::status(k::error::intr) : k::status());
        }
        lwkt::reply(*last, {});
    }

    port in;
};

} // namespace

SELFTEST(lwkt, aborts_that_race_with_everything_leave_one_reply_each) {
    slow_server* servers[arch::max_cpus];
    crew serving;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        servers[cpu] = mem::make<slow_server>(cpu);
        REQUIRE(servers[cpu] && serving.start(cpu, *servers[cpu]));
    }
    auto client = [&](unsigned number) {
        constexpr unsigned pool = 6;
        k::random random(selftest::seed() ^ number);
        port replies(lwkt::self().home.load());
        number_msg messages[pool];
        for (unsigned round = 0; round < 50; round++) {
            abort_result outcome[pool] = {};
            for (number_msg& m : messages)
                servers[random.below(arch::cpu::count())]->in.put(m, replies);
            for (unsigned i = 0; i < pool; i++)
                if (random.below(3)) outcome[i] = lwkt::abort(messages[i]);
            bool back[pool] = {};
            for (unsigned i = 0; i < pool; i++) {
                auto* m = static_cast<number_msg*>(replies.wait());
                const auto which = static_cast<unsigned>(m - messages);
                EXPECT(!std::exchange(back[which], true));
                const bool canceled = !m->result && m->result.error() == k::error::canceled;
                const bool obeyed = !m->result && m->result.error() == k::error::intr;
                EXPECT_EQ(canceled, outcome[which] == abort_result::removed);
                EXPECT(!obeyed || outcome[which] == abort_result::flagged);
            }
            EXPECT_EQ(replies.expected(), 0u);
            EXPECT(replies.empty());
        }
    };
    {
        crew clients;
        REQUIRE(clients.start_everywhere(client, 2));
    }
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        msg last;
        last.command = lwkt_test::stop_command;
        EXPECT(servers[cpu]->in.call(last).has_value());
    }
    serving.join();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        mem::destroy(servers[cpu]);
}
