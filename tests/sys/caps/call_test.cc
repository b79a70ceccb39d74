// Calls between threads of the kernel: what is sent, what comes back, what is carried.
#include "sys/xio/checksum.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"
#include "tests/sys/caps/server.h"

using namespace caps_test;

namespace {

constexpr k::u64 page = arch::page_size;

// Replies with the number that came and one.
struct adder {
    void operator()(service& s, arrival& a) {
        const k::u32 number = number_in(*a.what);
        EXPECT(a.what->set_value(number + 1));
        EXPECT(s.reply(a));
    }
};

} // namespace

SELFTEST(caps, a_call_brings_the_reply_on_every_cpu) {
    service_ref s = make_service("adder");
    REQUIRE(s);
    adder add;
    servers threads(*s, add);
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        REQUIRE(threads.start(cpu));
    auto body = [](unsigned number) {
        client_ref c = connect_to("adder");
        message_ref m = fresh_message(number);
        if (!c || !m) return;
        for (unsigned i = 0; i < 200; i++) {
            EXPECT(c->call(m));
            EXPECT(m->answered() && m->result());
            EXPECT_EQ(number_in(*m), number + i + 1);
        }
    };
    lwkt_test::crew callers;
    REQUIRE(callers.start_everywhere(body, 2));
    callers.join();
}

// A server that has looked and is about to sleep, and a request that comes in just that moment: all the moments.
SELFTEST(caps, no_request_slips_past_a_server_that_goes_to_sleep) {
    if (arch::cpu::count() < 2) return;
    service_ref s = make_service("sleepy");
    REQUIRE(s);
    static std::atomic<unsigned> looked, pauses; // how often the server looked; how long it pauses then
    looked = 0;
    const auto pause = [] {
        looked.fetch_add(1, std::memory_order_relaxed);
        for (unsigned n = pauses.load(std::memory_order_relaxed); n; n--)
            arch::cpu::relax();
        return false;
    };
    auto serve = [&](unsigned) {
        while (auto a = s->get({.interrupted = pause}))
            EXPECT(s->reply(*a));
    };
    lwkt_test::crew server;
    REQUIRE(server.start(1, serve));
    client_ref c = connect_to("sleepy");
    message_ref m = fresh_message();
    REQUIRE(c && m);
    for (unsigned round = 0; round < 20'000; round++) {
        const unsigned before = looked;
        pauses.store(round % 64, std::memory_order_relaxed);
        EXPECT(c->call(m, {.deadline = ktime::after(5 * ktime::second)}));
        if (!m) break; // it was lost
        lwkt_test::spin_until([&] { return looked.load(std::memory_order_relaxed) != before; });
    }
    s->close();
    server.join();
}

SELFTEST(caps, a_result_is_the_servers_and_no_failure_of_the_call) {
    service_ref s = make_service("refuser");
    REQUIRE(s);
    auto refuse = [](service& s, arrival& a) { EXPECT(s.reply(a, error::rofs)); };
    servers threads(*s, refuse);
    REQUIRE(threads.start(arch::cpu::count() - 1));
    client_ref c = connect_to("refuser");
    message_ref m = fresh_message();
    REQUIRE(c && m);
    EXPECT(c->call(m));
    EXPECT(is(m->result(), error::rofs));
    EXPECT_EQ(number_in(*m), 0u); // the contents are what the server left
}

SELFTEST(caps, text_is_up_to_256_bytes) {
    message_ref m = fresh_message();
    REQUIRE(m);
    support::buffer bytes(257);
    REQUIRE(bytes);
    EXPECT(is(m->set_text(bytes.bytes()), error::msgsize));
    EXPECT_EQ(m->text().size(), sizeof(k::u32));
    EXPECT(m->set_text(bytes.first(256)));
    EXPECT_EQ(m->text().size(), 256u);
    EXPECT(m->set_text({}));
    EXPECT(is(m->value<k::u8>(), error::inval));
}

SELFTEST(caps, a_request_that_is_served_in_place_needs_no_thread) {
    auto made = service::create(
        {.name = "in-place", .begin = [](service&, message& m) { return bool(m.set_value(number_in(m) * 2)); }});
    REQUIRE(made);
    client_ref c = connect_to("in-place");
    message_ref m = fresh_message(21);
    REQUIRE(c && m);
    const k::u64 switches = lwkt::self().switches;
    EXPECT(c->call(m));
    EXPECT_EQ(number_in(*m), 42u);
    EXPECT_EQ(lwkt::self().switches, switches);
}

SELFTEST(caps, pages_go_through_a_chain_of_services_and_nothing_is_copied) {
    const unsigned cpus = arch::cpu::count();
    const k::u64 pages_before = support::test_pages_in_use();
    support::page_set<16> pages;
    REQUIRE(pages.allocate());
    for (unsigned i = 0; i < 16; i++)
        support::fill_pattern({pages.data(i), page}, i);
    auto all = xio::source::over_pages(pages.span(), 0, 16 * page);
    REQUIRE(all);
    const k::u32 sum = xio::crc32c(*all);
    service_ref last = make_service("last"), first = make_service("first");
    REQUIRE(last && first);
    auto look = [&](service& s, arrival& a) {
        auto got = a.what->source(0);
        EXPECT(got && got->size() == 16 * page);
        if (got) EXPECT_EQ(xio::crc32c(*got), sum);
        a.what->clear();
        // The reply brings half of it back.
        if (got) EXPECT(a.what->add(*got->slice(0, 8 * page)));
        got = xio::source(); // the caller looks at what is held as soon as it has its answer
        EXPECT(s.reply(a));
    };
    auto pass_on = [&](service& s, arrival& a) {
        client_ref c = connect_to("last");
        message_ref onward = fresh_message();
        if (!c || !onward) return;
        auto got = a.what->source(0);
        EXPECT(got && onward->add(std::move(*got)));
        EXPECT(c->call(onward) && onward->items() == 1);
        a.what->clear();
        auto half = onward->source(0);
        EXPECT(half && a.what->add(std::move(*half)));
        onward->clear();
        EXPECT(s.reply(a));
    };
    servers second_threads(*last, look);
    servers first_threads(*first, pass_on);
    REQUIRE(second_threads.start(2 % cpus) && first_threads.start(1 % cpus));
    client_ref c = connect_to("first");
    message_ref m = fresh_message();
    REQUIRE(c && m);
    const k::u64 copied = xio::read_ledger().copied_bytes();
    EXPECT(m->add(std::move(*all)));
    EXPECT(c->call(m));
    EXPECT_EQ(xio::read_ledger().copied_bytes(), copied);
    REQUIRE(m->items() == 1);
    EXPECT_EQ(m->at(0).bytes, 8 * page);
    auto half = m->source(0);
    REQUIRE(half);
    support::buffer got(page);
    EXPECT(half->read(7 * page, got.bytes()) && support::has_pattern(got.bytes(), 7));
    *half = xio::source();
    m->clear();
    pages.drop_all();
    EXPECT_EQ(support::test_pages_in_use(), pages_before);
}

SELFTEST(caps, a_message_carries_up_to_eight_items) {
    message_ref m = fresh_message();
    REQUIRE(m);
    for (unsigned i = 0; i < caps::most_items; i++)
        EXPECT(m->add_room(i + 1));
    EXPECT(is(m->add_room(1), error::toobig));
    EXPECT(is(m->source(3), error::inval)); // room is not to be read
    EXPECT(is(m->source(8), error::inval));
    EXPECT_EQ(m->at(7).bytes, 8u);
    m->clear();
    EXPECT_EQ(m->items(), 0u);
    EXPECT(m->add_room(1));
}

SELFTEST(caps, a_sink_lets_the_server_fill_the_clients_pages) {
    service_ref s = make_service("filler");
    REQUIRE(s);
    auto fill = [](service& s, arrival& a) {
        support::buffer pattern(page);
        if (!pattern) return;
        support::fill_pattern(pattern.bytes(), 5);
        EXPECT(a.what->items() == 1 && a.what->at(0).what == caps::right::fill);
        EXPECT(a.what->at(0).sink.write(page, pattern.bytes()));
        a.what->clear();
        EXPECT(s.reply(a));
    };
    servers threads(*s, fill);
    REQUIRE(threads.start(arch::cpu::count() - 1));
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    client_ref c = connect_to("filler");
    message_ref m = fresh_message();
    REQUIRE(c && m);
    auto sink = xio::sink::over_pages(pages.span(), 0, 2 * page);
    REQUIRE(sink && m->add(std::move(*sink)));
    EXPECT(c->call(m));
    EXPECT(support::has_pattern({pages.data(1), page}, 5));
    EXPECT(support::all_bytes_are({pages.data(0), page}, 0));
}

SELFTEST(caps, the_kernel_says_who_sent_it) {
    service_ref s = make_service("who");
    REQUIRE(s);
    client_ref c = connect_to("who");
    message_ref m = fresh_message();
    REQUIRE(c && m);
    const k::u32 groups[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    m->from.set(42, 1000, 100, groups);
    REQUIRE(c->put(m.share(), no_wait));
    auto a = s->get(no_wait);
    REQUIRE(a);
    const caps::identity& from = a->what->from;
    EXPECT(from.pid == 42 && from.uid == 1000 && from.gid == 100);
    EXPECT(from.group_count == 20 && from.groups[15] == 16);
    EXPECT(s->reply(*a));
}
