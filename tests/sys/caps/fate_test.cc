// How messages end: limits, aborts, deaths on either side, and ids that are good once.
#include "tests/support/page_set.h"
#include "tests/sys/caps/server.h"

using namespace caps_test;
using caps::abort_outcome;

SELFTEST(caps, requests_come_in_order_and_replies_in_the_order_of_replying) {
    pair p;
    REQUIRE(p);
    const auto first = p.put(1), second = p.put(2);
    EXPECT(first && second && first != second);
    EXPECT(is(p.c->get(0, no_wait), error::again));
    EXPECT_EQ(p.take(), 1u);
    arrival one = std::move(p.last);
    EXPECT_EQ(p.take(), 2u);
    EXPECT(p.s->reply(p.last));
    EXPECT(p.s->reply(one));
    auto reply = p.c->get(0, no_wait);
    REQUIRE(reply);
    EXPECT_EQ((*reply)->client_id(), second);
    p.c->done(**reply);
    EXPECT(is(p.c->get(second, no_wait), error::inval));
    reply = p.c->get(first, no_wait);
    REQUIRE(reply);
    EXPECT((*reply)->answered() && number_in(**reply) == 1);
    p.c->done(**reply);
}

SELFTEST(caps, a_request_is_replied_to_exactly_once_and_by_nobody_else) {
    pair p;
    REQUIRE(p);
    service_ref other = make_service("other");
    REQUIRE(other && p.put(1) && p.put(2));
    EXPECT_EQ(p.take(), 1u);
    const caps::message_id id = p.last.id;
    EXPECT(is(other->begin_reply(id), error::inval)); // another service's
    for (caps::message_id forged : {caps::message_id{0}, id + 1, id ^ 1u << 16, ~caps::message_id{0}, id << 8})
        EXPECT(is(p.s->begin_reply(forged), error::inval));
    auto claimed = p.s->begin_reply(id);
    REQUIRE(claimed);
    EXPECT(is(p.s->begin_reply(id), error::inval)); // somebody is at it
    p.s->cancel_reply(**claimed);
    claimed = p.s->begin_reply(id);
    REQUIRE(claimed);
    EXPECT(p.s->reply(std::move(*claimed), {}));
    EXPECT(is(p.s->begin_reply(id), error::inval)); // used up
    EXPECT_EQ(p.take(), 2u);
    EXPECT(p.last.id != id); // the place is the same, the name is not
    EXPECT(is(p.s->begin_reply(id), error::inval));
    EXPECT(p.s->reply(p.last));
}

SELFTEST(caps, what_was_got_can_be_put_back_at_either_side) {
    pair p;
    REQUIRE(p && p.put(1) && p.put(2));
    EXPECT_EQ(p.take(), 1u);
    const auto id = p.last.id;
    p.s->put_back(std::move(p.last));
    EXPECT(is(p.s->begin_reply(id), error::inval));
    EXPECT_EQ(p.take(), 1u);
    auto claimed = p.s->begin_reply(p.last.id);
    REQUIRE(claimed && p.s->reply(std::move(*claimed), {}, service::receipt_for(p.last.id)));
    auto reply = p.c->get(0, no_wait);
    REQUIRE(reply);
    const auto name = (*reply)->client_id();
    EXPECT(is(p.c->get(name, no_wait), error::again)); // somebody is at it
    p.c->put_back(std::move(*reply));
    reply = p.c->get(name, no_wait);
    REQUIRE(reply);
    EXPECT(p.c->dispose(name));
    EXPECT(is(p.c->get(name, no_wait), error::inval));
    p.c->put_back(std::move(*reply)); // in vain
    EXPECT(is(p.c->get(name, no_wait), error::inval));
    EXPECT(!p.c->ready().reply);
    auto told = p.s->get(no_wait);
    EXPECT(told && told->kind == arrival_kind::fetched && told->id == p.last.id);
}

SELFTEST(caps, a_request_that_is_being_received_is_nobody_elses) {
    pair p;
    REQUIRE(p && p.put(1) && p.put(2));
    auto a = p.s->get_claimed(no_wait);
    REQUIRE(a);
    EXPECT(is(p.s->begin_reply(a->id), error::inval));
    message_ref held = a->what.share();
    const auto id = a->id;
    p.s->cancel_reply(*held);
    EXPECT(p.s->begin_reply(id));
    a = p.s->get_claimed(no_wait);
    REQUIRE(a);
    p.s->close(); // leaves it to whoever has it
    EXPECT_EQ(p.c->ready().reply, false);
    p.s->cancel_reply(*a->what);
    EXPECT_EQ(p.c->ready().reply, true);
    p.s->cancel_reply(*held);
}

SELFTEST(caps, a_full_queue_holds_senders_back) {
    pair p(2);
    REQUIRE(p && p.put(1) && p.put(2));
    message_ref m = fresh_message(3);
    REQUIRE(m);
    EXPECT(is(p.c->put(m.share(), no_wait), error::again));
    EXPECT(is(p.c->call(m, no_wait), error::again));
    EXPECT(is(p.c->put(m.share(), {.deadline = ktime::after(ktime::millisecond)}), error::timedout));
    EXPECT(!p.c->ready().room);
    std::atomic<bool> sent = false;
    auto send = [&](unsigned) {
        EXPECT(p.c->put(m.share()));
        sent = true;
    };
    lwkt_test::crew other;
    REQUIRE(other.start(arch::cpu::count() - 1, send));
    lwkt::sleep_for(2 * ktime::millisecond);
    EXPECT(!sent);
    EXPECT_EQ(p.take(), 1u);
    EXPECT(p.s->reply(p.last));
    other.join();
    EXPECT_EQ(p.take(), 2u);
    EXPECT_EQ(p.take(), 3u);
}

SELFTEST(caps, a_client_has_so_many_requests_on_the_way_and_no_more) {
    pair p;
    REQUIRE(p);
    for (unsigned i = 0; i < caps::most_outstanding; i++)
        REQUIRE(p.put(i));
    EXPECT(is(p.c->put(fresh_message(), no_wait), error::again));
    EXPECT_EQ(p.take(), 0u);
    EXPECT(p.s->reply(p.last));
    EXPECT(is(p.c->put(fresh_message(), no_wait), error::again)); // until the reply was fetched
    auto reply = p.c->get(0, no_wait);
    REQUIRE(reply);
    p.c->done(**reply);
    EXPECT(p.put());
    client_ref other = connect_to("pair");
    REQUIRE(other);
    EXPECT(other->put(fresh_message(), no_wait)); // others have their own
}

SELFTEST(caps, requests_of_a_service_that_died_come_back) {
    pair p;
    REQUIRE(p && p.put(1) && p.put(2));
    EXPECT_EQ(p.take(), 1u);
    arrival first = std::move(p.last);
    EXPECT_EQ(p.take(), 2u);
    p.s->put_back(std::move(p.last));
    EXPECT_EQ(p.take(), 2u);
    auto call = [&](unsigned) {
        message_ref m = fresh_message(3);
        if (m) EXPECT(is(p.c->call(m), error::connreset));
    };
    lwkt_test::crew caller;
    REQUIRE(caller.start(arch::cpu::count() - 1, call));
    lwkt_test::wait_until([&] { return p.s->has_arrivals(); });
    p.s->close();
    caller.join();
    for (int i = 0; i < 2; i++) {
        auto reply = p.c->get(0, no_wait);
        REQUIRE(reply);
        EXPECT(!(*reply)->answered() && is((*reply)->result(), error::connreset));
        p.c->done(**reply);
    }
    EXPECT(is(p.s->reply(first), error::inval));
    EXPECT(is(p.c->get(0), error::notconn));
    EXPECT(is(p.c->put(fresh_message()), error::notconn));
    EXPECT(is(p.s->get(), error::notconn));
    EXPECT(p.c->ready().closed);
}

SELFTEST(caps, messages_of_a_client_that_died_are_disposed_of) {
    const k::u64 pages_before = support::test_pages_in_use();
    pair p;
    REQUIRE(p);
    {
        support::page_set<4> pages;
        REQUIRE(pages.allocate());
        for (k::u32 i = 0; i < 3; i++) {
            message_ref m = fresh_message(i);
            auto lent = xio::source::over_pages(pages.span(), 0, 4 * arch::page_size);
            REQUIRE(m && lent && m->add(std::move(*lent)));
            REQUIRE(p.c->put(std::move(m), no_wait));
        }
    }
    EXPECT_EQ(p.take(), 0u);
    arrival first = std::move(p.last);
    EXPECT_EQ(p.take(), 1u);
    EXPECT(p.s->reply(p.last)); // a reply that is never fetched
    p.last = {};
    p.c.reset();
    auto told = p.s->get(no_wait);
    REQUIRE(told);
    EXPECT(told->kind == arrival_kind::aborted && told->id == first.id);
    EXPECT(first.what->abort_requested());
    EXPECT(is(p.s->get(no_wait), error::again)); // the third went with its client
    EXPECT(is(p.s->reply(first), error::canceled));
    first = {};
    EXPECT_EQ(support::test_pages_in_use(), pages_before);
}

SELFTEST(caps, a_request_can_be_aborted_before_it_was_taken_and_after) {
    pair p;
    REQUIRE(p);
    auto id = p.put(1);
    auto outcome = p.c->abort(id, false);
    EXPECT(outcome && *outcome == abort_outcome::removed);
    EXPECT(is(p.s->get(no_wait), error::again));
    auto reply = p.c->get(id, no_wait);
    REQUIRE(reply);
    EXPECT(!(*reply)->answered() && is((*reply)->result(), error::canceled));
    p.c->done(**reply);
    EXPECT(is(p.c->abort(id, false), error::inval));

    id = p.put(2);
    EXPECT_EQ(p.take(), 2u);
    arrival taken = std::move(p.last);
    outcome = p.c->abort(id, false);
    EXPECT(outcome && *outcome == abort_outcome::flagged);
    auto told = p.s->get(no_wait);
    EXPECT(told && told->kind == arrival_kind::aborted && told->id == taken.id);
    outcome = p.c->abort(id, false); // it is told once
    EXPECT(outcome && is(p.s->get(no_wait), error::again));
    EXPECT(p.s->reply(taken)); // which is its business
    outcome = p.c->abort(id, false);
    EXPECT(outcome && *outcome == abort_outcome::replied);
    reply = p.c->get(id, no_wait);
    REQUIRE(reply);
    EXPECT((*reply)->answered());
    p.c->done(**reply);
}

SELFTEST(caps, a_hard_abort_ends_a_request_at_once) {
    pair p;
    REQUIRE(p);
    auto id = p.put(1);
    auto outcome = p.c->abort(id, true);
    EXPECT(outcome && *outcome == abort_outcome::removed);
    EXPECT(is(p.s->get(no_wait), error::again));
    EXPECT(is(p.c->get(id, no_wait), error::inval));
    id = p.put(2);
    EXPECT_EQ(p.take(), 2u);
    arrival taken = std::move(p.last);
    outcome = p.c->abort(id, true);
    EXPECT(outcome && *outcome == abort_outcome::ended);
    EXPECT(is(p.c->get(id, no_wait), error::inval));
    EXPECT(is(p.s->reply(taken), error::canceled));
}

SELFTEST(caps, a_hard_abort_waits_for_who_may_be_filling_a_sink) {
    pair p;
    support::page_set<1> pages;
    message_ref m = fresh_message();
    REQUIRE(p && pages.allocate() && m);
    auto sink = xio::sink::over_pages(pages.span(), 0, arch::page_size);
    REQUIRE(sink && m->add(std::move(*sink)));
    auto id = p.c->put(std::move(m), no_wait);
    REQUIRE(id);
    EXPECT_EQ(p.take(), 0u);
    std::atomic<bool> replied = false;
    auto fill = [&](unsigned) {
        lwkt::sleep_for(2 * ktime::millisecond);
        EXPECT(p.last.what->at(0).sink.zero(0, arch::page_size));
        p.last.what->clear();
        replied = true;
        EXPECT(p.s->reply(p.last));
    };
    lwkt_test::crew server;
    REQUIRE(server.start(arch::cpu::count() - 1, fill));
    auto outcome = p.c->abort(*id, true);
    EXPECT(outcome && *outcome == abort_outcome::ended && replied);
    server.join();
}

SELFTEST(caps, a_call_that_takes_too_long_ends) {
    pair p;
    message_ref m = fresh_message(1);
    REQUIRE(p && m);
    const auto soon = [] { return caps::waiting{.deadline = ktime::after(ktime::millisecond)}; };
    EXPECT(is(p.c->call(m, soon()), error::timedout) && m); // nobody took it
    EXPECT(is(p.s->get(no_wait), error::again));
    EXPECT(is(p.c->call(m, {.interrupted = [] { return true; }}), error::intr) && m);
    std::atomic<bool> ended = false;
    auto serve = [&](unsigned) {
        while (auto a = p.s->get()) {
            if (!a->what) continue;
            lwkt_test::wait_until([&] { return ended.load(); });
            EXPECT(is(p.s->reply(*a), error::canceled));
        }
    };
    lwkt_test::crew server;
    REQUIRE(server.start(arch::cpu::count() - 1, serve));
    for (ktime::ns limit = 2 * ktime::millisecond; m; limit *= 2) // until the server was quick enough to have it
        EXPECT(is(p.c->call(m, {.deadline = ktime::after(limit)}), error::timedout));
    ended = true;
    lwkt_test::wait_until([&] { return !p.s->has_arrivals(); });
    p.s->close();
    server.join();
}

SELFTEST(caps, a_server_hears_that_its_reply_was_fetched) {
    pair p;
    REQUIRE(p && p.put(1) && p.put(2));
    for (k::u32 number : {1u, 2u}) {
        EXPECT_EQ(p.take(), number);
        auto claimed = p.s->begin_reply(p.last.id);
        REQUIRE(claimed && p.s->reply(std::move(*claimed), {}, service::receipt_for(p.last.id)));
    }
    EXPECT(is(p.s->get(no_wait), error::again));
    auto reply = p.c->get(0, no_wait);
    REQUIRE(reply);
    p.c->done(**reply);
    auto told = p.s->get(no_wait);
    EXPECT(told && told->kind == arrival_kind::fetched && told->id);
    p.c.reset(); // it will never fetch the other one
    told = p.s->get(no_wait);
    EXPECT(told && told->kind == arrival_kind::fetched && told->id == p.last.id);
}

SELFTEST(caps, what_is_put_back_after_an_abort_comes_back) {
    pair p;
    REQUIRE(p);
    const auto id = p.put();
    auto a = p.s->get_claimed(no_wait);
    REQUIRE(a);
    auto outcome = p.c->abort(id, false);
    EXPECT(outcome && *outcome == abort_outcome::flagged);
    p.s->put_back(std::move(*a));
    auto reply = p.c->get(id, no_wait);
    REQUIRE(reply);
    EXPECT(!(*reply)->answered() && is((*reply)->result(), error::canceled));
    p.c->done(**reply);
}

SELFTEST(caps, a_message_that_was_posted_can_be_used_for_a_call) {
    pair p;
    message_ref m = fresh_message(1);
    REQUIRE(p && m && p.c->post(m.share()));
    EXPECT_EQ(p.take(), 1u);
    EXPECT(p.s->reply(p.last));
    p.last = {};
    auto answers = [](service& s, arrival& a) { EXPECT(s.reply(a)); };
    servers threads(*p.s, answers);
    REQUIRE(threads.start(arch::cpu::count() - 1));
    EXPECT(p.c->call(m, {.deadline = ktime::after(20 * ktime::second)}));
}

SELFTEST(caps, news_that_are_put_back_come_again_in_their_order) {
    pair p;
    REQUIRE(p);
    const auto first = p.put(1), second = p.put(2);
    REQUIRE(p.take() == 1);
    arrival one = std::move(p.last);
    REQUIRE(p.take() == 2);
    EXPECT(p.c->abort(first, false) && p.c->abort(second, false));
    for (unsigned i = 0; i < 3; i++) {
        auto news = p.s->get(no_wait);
        REQUIRE(news);
        EXPECT(news->kind == caps::arrival_kind::aborted && news->id == one.id && !news->what);
        p.s->put_back(*std::move(news));
        EXPECT(p.s->has_arrivals());
    }
    EXPECT_EQ(p.s->get(no_wait)->id, one.id);
    auto last = p.s->get(no_wait);
    REQUIRE(last);
    EXPECT_EQ(last->id, p.last.id);
    p.s->put_back(*std::move(last)); // when there are no others
    EXPECT(p.s->reply(one, {}) && p.s->reply(p.last, {}));
    EXPECT_EQ(p.s->get(no_wait)->kind, caps::arrival_kind::aborted);
    EXPECT(is(p.s->get(no_wait), error::again));
}

SELFTEST(caps, a_service_that_takes_no_sinks_is_given_none) {
    auto made = caps::service::create({.name = "dry", .sinks = false});
    REQUIRE(made);
    client_ref c = connect_to("dry");
    message_ref m = fresh_message();
    auto sink = xio::sink::fresh(arch::page_size);
    REQUIRE(c && m && sink && m->add(*std::move(sink)));
    EXPECT(is(c->put(m.share(), no_wait), error::opnotsupp));
    EXPECT(is(c->post(m.share()), error::opnotsupp));
    EXPECT(is(c->call(m), error::opnotsupp));
    EXPECT(m && is((*made)->get(no_wait), error::again));
    m->clear();
    EXPECT(c->put(std::move(m), no_wait));
}
