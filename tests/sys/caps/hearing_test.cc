// Nobody sleeps through what concerns him: senders, servers and clients are told, and watchers too.
#include "tests/sys/caps/server.h"

using namespace caps_test;

namespace {

// Counts what its watchers would be told.
class watched final : public service {
  public:
    using service::service;
    std::atomic<unsigned> requests = 0;

    static service_ref make(std::string_view name, k::u32 most_queued = 1024) {
        service_ref made(mem::make<watched>(caps::terms{.name = name, .most_queued = most_queued}));
        if (made && made->open()) return made;
        selftest::fail(k::where::here(), "no service");
        return {};
    }
    static unsigned requests_of(service& s) { return static_cast<watched&>(s).requests; }

  private:
    void changed(caps::change what) noexcept override { requests += what == caps::change::request; }
};

class watched_client final : public client {
  public:
    using client::client;
    std::atomic<unsigned> rooms = 0;

  private:
    void changed(caps::change what) noexcept override { rooms += what == caps::change::room; }
};

constexpr ktime::ns long_time = 20 * ktime::second; // whoever sleeps so long was woken by nobody

// How often somebody has looked at whether to wait on: before he sleeps in a service's get() once, elsewhere twice.
std::atomic<unsigned> looks;
bool look() {
    looks++;
    return false;
}
caps::waiting patiently() {
    looks = 0;
    return {.deadline = ktime::after(long_time), .interrupted = look};
}
void let_sleep() {
    lwkt_test::wait_until([&] { return looks >= 2; });
    lwkt::sleep_for(ktime::millisecond);
}
bool in_time(ktime::ns start) {
    return ktime::now() < start + long_time / 2;
}

} // namespace

SELFTEST(caps, who_watches_a_service_hears_of_aborts_and_of_what_was_put_back) {
    service_ref s = watched::make("watched");
    REQUIRE(s);
    client_ref c = connect_to("watched");
    REQUIRE(c);
    unsigned heard = 0;
    const auto hears = [&] { return watched::requests_of(*s) > std::exchange(heard, watched::requests_of(*s)); };
    const auto hears_of_an_abort = [&] {
        auto got = s->get(no_wait);
        return hears() && got && got->kind == arrival_kind::aborted;
    };
    auto put = [&] {
        auto id = c->put(fresh_message(), no_wait);
        return id ? *id : 0;
    };
    const auto first = put();
    EXPECT(first && hears());
    auto a = s->get(no_wait);
    REQUIRE(a);
    s->put_back(std::move(*a));
    EXPECT(hears());
    a = s->get(no_wait);
    REQUIRE(a && c->abort(first, false));
    EXPECT(hears_of_an_abort());
    EXPECT(s->reply(*a));
    const auto second = put();
    EXPECT(second && hears());
    a = s->get(no_wait);
    REQUIRE(a && c->dispose(second));
    EXPECT(hears_of_an_abort());
    EXPECT(is(s->reply(*a), error::canceled));
    EXPECT(put() && hears());
    a = s->get(no_wait);
    REQUIRE(a);
    c.reset();
    EXPECT(hears_of_an_abort());
    EXPECT(is(s->reply(*a), error::canceled));
    // And of a call that its client gives up.
    c = connect_to("watched");
    REQUIRE(c);
    auto call = [&](unsigned) {
        message_ref m = fresh_message();
        if (m) EXPECT(is(c->call(m, {.deadline = ktime::after(50 * ktime::millisecond)}), error::timedout));
    };
    lwkt_test::crew caller;
    REQUIRE(caller.start(arch::cpu::count() - 1, call));
    a = s->get();
    REQUIRE(a);
    EXPECT(hears());
    caller.join();
    EXPECT(hears_of_an_abort());
    EXPECT(is(s->reply(*a), error::canceled));
}

SELFTEST(caps, senders_hear_of_room_however_it_came) {
    const auto call = [](client& c) { // and gives up
        message_ref m = fresh_message();
        if (m) EXPECT(is(c.call(m, {.deadline = ktime::after(30 * ktime::millisecond)}), error::timedout));
    };
    for (const unsigned how : {0u, 1u, 2u, 3u, 4u}) {
        service_ref s = make_service("full", 1);
        client_ref one = connect_to("full"), two = connect_to("full");
        client_ref hungry(mem::make<watched_client>(s.share()));
        REQUIRE(one && two && hungry && hungry->open({.name = "full"}, {}));
        std::atomic<unsigned>& rooms = static_cast<watched_client&>(*hungry).rooms;
        caps::message_id id = 0;
        std::atomic<bool> is_full = false;
        auto sends = [&](unsigned) {
            lwkt_test::wait_until([&] { return is_full.load(); });
            const ktime::ns start = ktime::now();
            EXPECT(two->put(fresh_message(), patiently()) && in_time(start));
        };
        auto calls = [&](unsigned) { call(*one); };
        lwkt_test::crew c;
        if (how) {
            auto put = one->put(fresh_message(), no_wait);
            REQUIRE(put);
            id = *put;
        } else {
            REQUIRE(c.start(0, calls));
            lwkt_test::wait_until([&] { return s->has_arrivals(); });
        }
        EXPECT(!hungry->ready().room && rooms == 0);
        looks = 0;
        is_full = true;
        REQUIRE(c.start(arch::cpu::count() - 1, sends));
        let_sleep();
        switch (how) {
        case 1: EXPECT(one->dispose(id)); break;
        case 2: EXPECT(one->abort(id, true)); break;
        case 3: EXPECT(one->abort(id, false)); break;
        case 4: one.reset(); break;
        default: break; // the call is given up
        }
        c.join();
        EXPECT(rooms > 0);
    }
}

// A server is woken for a request, finds something else that was told first, and has its hands full with that.
SELFTEST(caps, a_request_behind_a_receipt_is_the_next_servers) {
    service_ref s = make_service("two-servers");
    REQUIRE(s);
    client_ref c = connect_to("two-servers");
    REQUIRE(c && c->put(fresh_message(), no_wait));
    auto a = s->get(no_wait);
    REQUIRE(a);
    auto claimed = s->begin_reply(a->id);
    REQUIRE(claimed && s->reply(std::move(*claimed), {}, service::receipt_for(a->id)));
    std::atomic<bool> served = false;
    auto serve = [&](unsigned) {
        auto got = s->get({.interrupted = look});
        if (!got) return;
        if (got->kind == arrival_kind::fetched) {
            const ktime::ns start = ktime::now();
            while (!served && in_time(start))
                lwkt::sleep_for(ktime::millisecond);
            EXPECT(served);
        } else {
            EXPECT(s->reply(*got));
            served = true;
        }
    };
    lwkt_test::crew servers;
    looks = 0;
    REQUIRE(servers.start(0, serve) && servers.start(arch::cpu::count() - 1, serve));
    let_sleep(); // two who look once
    auto reply = c->get(0, no_wait);
    REQUIRE(reply);
    c->done(**reply);
    message_ref m = fresh_message();
    REQUIRE(m && c->put(m.share(), no_wait));
    servers.join();
}

SELFTEST(caps, who_waits_for_a_reply_hears_that_it_will_not_come) {
    for (const bool aborts : {false, true}) {
        pair p;
        REQUIRE(p);
        const auto id = p.put();
        auto waits = [&](unsigned) {
            const ktime::ns start = ktime::now();
            EXPECT(is(p.c->get(id, patiently()), error::inval) && in_time(start));
        };
        looks = 0;
        lwkt_test::crew c;
        REQUIRE(id && c.start(arch::cpu::count() - 1, waits));
        let_sleep();
        if (aborts)
            EXPECT(p.c->abort(id, true));
        else
            EXPECT(p.c->dispose(id));
    }
}

SELFTEST(caps, who_waits_for_any_reply_of_a_dead_service_hears_that_there_are_no_more) {
    pair p;
    REQUIRE(p && p.put());
    p.s->close();
    auto last = p.c->get(0, no_wait); // which it might put back
    REQUIRE(last);
    auto waits = [&](unsigned) {
        const ktime::ns start = ktime::now();
        EXPECT(is(p.c->get(0, patiently()), error::notconn) && in_time(start));
    };
    looks = 0;
    lwkt_test::crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, waits));
    let_sleep();
    p.c->done(**last);
}
