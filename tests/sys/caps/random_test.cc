// Servers and clients on all CPUs that do what comes to their minds and die at any moment: every message ends, no reply
// reaches the wrong one, and every page comes back.
#include "kernel/lib/random.h"
#include "tests/support/page_set.h"
#include "tests/sys/caps/server.h"

using namespace caps_test;

namespace {

constexpr unsigned names = 3;
constexpr std::string_view name_of_service[names] = {"random-0", "random-1", "random-2"};

// What a request says; the reply says the same with `answered` set.
struct text {
    k::u64 secret;
    bool answered;
};

struct counts {
    std::atomic<k::u32> calls = 0, replies = 0, resets = 0, aborts = 0, refused = 0;
};

// One life of a service.
class server_life {
  public:
    server_life(service& s, k::random& random) : s_(s), random_(random) {}

    void live() {
        for (k::u64 left = random_.below(60); left; left--) {
            auto a = s_.get({.deadline = ktime::after(random_.below(2000) * ktime::microsecond)});
            if (!a || !a->what) continue;
            act(*a);
        }
    }

  private:
    static constexpr unsigned most_held = 6;

    void act(arrival& a) {
        switch (random_.below(8)) {
        case 0: return s_.put_back(std::move(a));
        case 1: return; // never replied to
        case 2:
        case 3: {
            arrival& place = held_[random_.below(most_held)];
            if (place.what) answer(place);
            place = std::move(a);
            return;
        }
        case 4: {
            auto claimed = s_.begin_reply(a.id);
            if (!claimed) return;
            s_.cancel_reply(**claimed);
            return answer(a);
        }
        default: return answer(a);
        }
    }
    void answer(arrival& a) {
        auto claimed = s_.begin_reply(a.id);
        if (!claimed) return; // it came back because the client went
        message& m = **claimed;
        auto said = m.value<text>();
        if (!said) return selftest::fail(k::where::here(), "no text");
        if (random_.below(2)) m.clear(); // or the pages go back
        said->answered = true;
        EXPECT(m.set_value(*said));
        mem::box<caps::notice> receipt;
        if (random_.below(4) == 0) receipt = service::receipt_for(a.id);
        const k::status sent =
            s_.reply(std::move(*claimed), random_.below(3) ? k::status() : error::io, std::move(receipt));
        EXPECT(sent || is(sent, error::canceled));
        EXPECT(!s_.begin_reply(a.id));
        a = {};
    }

    service& s_;
    k::random& random_;
    arrival held_[most_held];
};

class client_life {
  public:
    client_life(client& c, k::random& random, counts& sum) : c_(c), random_(random), sum_(sum) {}

    void live() {
        for (k::u64 left = random_.below(40); left; left--)
            act();
    }

  private:
    caps::waiting soon() { return {.deadline = ktime::after(random_.below(1000) * ktime::microsecond)}; }

    message_ref request() {
        message_ref m = fresh_message();
        support::page_set<3> pages;
        if (!m || !pages.allocate(1 + random_.below(3))) return {};
        last_secret_ = random_.next();
        EXPECT(m->set_value(text{last_secret_, false}));
        if (random_.below(2)) {
            auto bytes = xio::source::over_pages(pages.span(), 0, pages.size() * arch::page_size);
            if (bytes) EXPECT(m->add(std::move(*bytes)));
        }
        return m;
    }
    void check(const message& m, k::u64 secret) {
        auto said = m.value<text>();
        if (m.answered())
            EXPECT(said && said->answered && said->secret == secret);
        else
            EXPECT(is(m.result(), error::connreset) || is(m.result(), error::canceled));
    }
    void act() {
        switch (random_.below(7)) {
        case 0:
        case 1: return call();
        case 2: return put();
        case 3: {
            auto outcome = c_.abort(any(), random_.below(2));
            if (outcome) sum_.aborts++;
            return;
        }
        case 4: {
            place& p = places_[random_.below(most)];
            if (p.id && c_.dispose(p.id)) p.id = 0;
            return;
        }
        default: return fetch();
        }
    }
    void call() {
        message_ref m = request();
        if (!m) return;
        const k::u64 secret = last_secret_;
        const k::status done = c_.call(m, soon());
        sum_.calls++;
        if (done) {
            sum_.replies++;
            return check(*m, secret);
        }
        sum_.resets++;
        EXPECT(is(done, error::timedout) || is(done, error::connreset) || is(done, error::notconn));
    }
    void put() {
        place& p = places_[random_.below(most)];
        if (p.id) return;
        message_ref m = request();
        if (!m) return;
        const k::u64 secret = last_secret_;
        if (auto id = c_.put(std::move(m), random_.below(2) ? soon() : no_wait)) p = {*id, secret};
    }
    void fetch() {
        auto got = c_.get(random_.below(2) ? any() : 0, random_.below(2) ? soon() : no_wait);
        if (!got) return;
        if (random_.below(4) == 0) return c_.put_back(std::move(*got));
        for (place& p : places_)
            if (p.id == (*got)->client_id()) {
                check(**got, p.secret);
                p.id = 0;
            }
        c_.done(**got);
    }
    caps::message_id any() { return places_[random_.below(most)].id; }

    static constexpr unsigned most = 6;
    struct place {
        caps::message_id id = 0;
        k::u64 secret = 0;
    };
    client& c_;
    k::random& random_;
    counts& sum_;
    place places_[most];
    k::u64 last_secret_ = 0;
};

} // namespace

SELFTEST(caps, servers_and_clients_that_die_at_any_moment_lose_nothing) {
    const k::u64 pages_before = support::test_pages_in_use();
    counts sum;
    std::atomic<bool> over = false;
    auto serve = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        while (!over && !selftest::failed()) {
            auto made = service::create({.name = name_of_service[random.below(names)], .most_queued = 8});
            if (!made) {
                lwkt::yield();
                continue;
            }
            server_life(**made, random).live();
        }
    };
    auto ask = [&](unsigned number) {
        k::random random(selftest::seed() + 1000 + number);
        for (unsigned life = 0; life < 60 && !selftest::failed(); life++) {
            auto c = client::connect({.name = name_of_service[random.below(names)], .waits = true},
                                     {.deadline = ktime::after(20 * ktime::millisecond)});
            if (!c) {
                sum.refused++;
                continue;
            }
            client_life(**c, random, sum).live();
        }
    };
    lwkt_test::crew servers, clients;
    REQUIRE(servers.start_everywhere(serve));
    if (!clients.start_everywhere(ask, 2)) over = true;
    clients.join();
    over = true;
    servers.join();
    EXPECT(sum.replies > 0 && sum.aborts > 0);
    EXPECT_EQ(support::test_pages_in_use(), pages_before);
}
