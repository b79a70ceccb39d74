// Who may offer what, and who may connect to it.
#include "tests/sys/caps/server.h"

using namespace caps_test;

SELFTEST(caps, names_are_short_and_plain) {
    for (std::string_view bad :
         {"", "a b", "a/b", "\xc3\xa4", "x\n", "0123456789012345678901234567890123456789012345678901234567890123"})
        EXPECT(is(service::create({.name = bad}), error::inval));
    for (std::string_view good : {"a", "A-b_c.9", "012345678901234567890123456789012345678901234567890123456789012"})
        EXPECT(service::create({.name = good}));
    EXPECT(is(client::connect({.name = "no such/name"}), error::inval));
    EXPECT(is(client::connect({.name = "nobody"}), error::noent));
}

SELFTEST(caps, a_name_is_free_when_its_service_has_closed) {
    service_ref s = make_service("one");
    REQUIRE(s);
    EXPECT(is(service::create({.name = "one"}), error::exist));
    s->close();
    EXPECT(is(client::connect({.name = "one"}), error::noent));
    EXPECT(service::create({.name = "one"}));
}

SELFTEST(caps, several_users_may_offer_a_name_unless_one_is_exclusive) {
    auto mine = service::create({.name = "shared", .uid = 1});
    auto yours = service::create({.name = "shared", .uid = 2});
    REQUIRE(mine && yours);
    EXPECT(is(service::create({.name = "shared", .uid = 1}), error::exist));
    EXPECT(is(service::create({.name = "shared", .uid = 3, .exclusive = true}), error::exist));
    (*mine)->close();
    (*yours)->close();
    auto alone = service::create({.name = "shared", .uid = 3, .exclusive = true});
    REQUIRE(alone);
    EXPECT(is(service::create({.name = "shared", .uid = 1}), error::exist));
}

SELFTEST(caps, both_sides_must_agree_by_which_right_a_client_connects) {
    using namespace caps;
    const k::u32 groups[] = {20, 30};
    struct trial {
        k::u8 admits, seeks;
        k::u32 uid, gid;
        bool good;
    };
    // The service is user 1000's and group 30's.
    constexpr trial trials[] = {
        {same_user, same_user, 1000, 1, true},
        {same_user, same_user, 1001, 1, false},
        {same_user, anybody, 1000, 1, false},
        {anybody, same_user, 1000, 1, false},
        {anybody, anybody, 1001, 1, true},
        {same_group, same_group, 1001, 1, true},
        {same_group, same_user, 1001, 1, false},
        {same_group, same_group, 1001, 30, true},
        {same_user, same_user, 0, 0, true},
        {same_user | anybody, same_group | anybody, 5, 5, true},
        {0, same_user | same_group | anybody, 1000, 30, false},
    };
    for (const trial& t : trials) {
        auto s = service::create({.name = "rights", .uid = 1000, .gid = 30, .admits = t.admits});
        REQUIRE(s);
        auto c = client::connect({.name = "rights", .seeks = t.seeks, .uid = t.uid, .gid = t.gid, .groups = groups});
        if (t.good)
            EXPECT(c);
        else
            EXPECT(is(c, error::acces));
    }
    auto s = service::create({.name = "rights", .uid = 1000, .gid = 31, .admits = same_group});
    REQUIRE(s);
    EXPECT(is(client::connect({.name = "rights", .uid = 1, .gid = 1, .groups = groups}), error::acces));
}

SELFTEST(caps, a_client_waits_for_its_service_to_appear) {
    EXPECT(is(client::connect({.name = "late", .waits = true}, {.deadline = ktime::after(ktime::millisecond)}),
              error::timedout));
    service_ref s;
    auto offer = [&](unsigned) {
        lwkt::sleep_for(2 * ktime::millisecond);
        s = make_service("late");
    };
    lwkt_test::crew other;
    REQUIRE(other.start(arch::cpu::count() - 1, offer));
    auto c = client::connect({.name = "late", .waits = true});
    EXPECT(c);
    other.join();
}

SELFTEST(caps, a_service_that_asks_chooses_its_clients) {
    auto made = service::create({.name = "choosy", .asks = true});
    REQUIRE(made);
    service& s = **made;
    auto choose = [](service& s, arrival& a) {
        if (a.kind == arrival_kind::connection)
            EXPECT(s.reply(a, a.what->from.uid == 7 ? k::status() : error::perm));
        else
            EXPECT(s.reply(a));
    };
    servers threads(s, choose);
    REQUIRE(threads.start(arch::cpu::count() - 1));
    EXPECT(is(client::connect({.name = "choosy", .uid = 8}), error::connrefused));
    auto c = client::connect({.name = "choosy", .uid = 7});
    REQUIRE(c);
    message_ref m = fresh_message();
    REQUIRE(m);
    EXPECT((*c)->call(m));
}
