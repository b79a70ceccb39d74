// The line to a FUSE program: what a program may answer, and what is refused without harm to who asked.
#include "sys/userfs/fuse_server.h"
#include "tests/support/threads.h"
#include "tests/sys/userfs/fuse_line.h"

using namespace fuse_test;

namespace {

constexpr k::i32 no_entry = -2, end_of_errors = -512;

request_ref attributes_wanted() {
    auto made = request::make(
        {.opcode = opcode::get_attributes, .node = 1, .how = taking::exactly, .most = sizeof(attributes_answer)});
    return made ? *std::move(made) : request_ref();
}

// Asks once while serve(program, the request's head) answers. What who asked hears.
template <class Serve> k::status asked(program& p, Serve serve) {
    const request_ref r = attributes_wanted();
    if (!r) return k::error::nomem;
    k::status heard = k::error::again;
    const bool ran = support::run_aside([&] { heard = p->ask(*r); },
                                        [&] {
                                            auto head = p.wait_and_take();
                                            EXPECT(head && head->opcode == opcode::get_attributes);
                                            if (head)
                                                serve(head->unique);
                                            else
                                                p->end({}, false);
                                        });
    return ran ? heard : k::error::nomem;
}

bool is(const k::result<k::u64>& r, k::error e) {
    return !r && r.error() == e;
}
bool is(const k::status& s, k::error e) {
    return !s && s.error() == e;
}

const attributes_answer good{};

std::span<const std::byte> some(k::u64 bytes) {
    static std::byte room[4096];
    return {room, bytes};
}

} // namespace

SELFTEST(fuse, an_answer_reaches_who_asked) {
    program p;
    REQUIRE(p && p.start());
    EXPECT(asked(p, [&](k::u64 unique) { EXPECT(p.answer(unique, 0, std::as_bytes(std::span(&good, 1)))); }));
    EXPECT(is(asked(p, [&](k::u64 unique) { EXPECT(p.answer(unique, no_entry)); }), k::error::noent));
}

SELFTEST(fuse, answers_of_wrong_lengths_are_refused_and_are_answers) {
    program p;
    REQUIRE(p && p.start());
    for (const k::u64 bytes : {k::u64{0}, k::u64{1}, sizeof(good) - 1, sizeof(good) + 1, k::u64{4000}})
        EXPECT(is(asked(p, [&](k::u64 unique) { EXPECT(is(p.answer(unique, 0, some(bytes)), k::error::inval)); }),
                  k::error::io));
    // An error has nothing behind it.
    EXPECT(is(asked(p, [&](k::u64 unique) { EXPECT(is(p.answer(unique, no_entry, some(8)), k::error::inval)); }),
              k::error::io));
}

SELFTEST(fuse, answers_that_are_none_leave_the_question_open) {
    program p;
    REQUIRE(p && p.start());
    EXPECT(is(asked(p,
                    [&](k::u64 unique) {
                        constexpr k::u64 head = sizeof(answer_head);
                        for (const k::u64 claimed : {k::u64{0}, head - 1, head + 1, k::u64{0xffff'ffff}})
                            EXPECT(is(p.answer(unique, no_entry, {}, claimed), k::error::inval));
                        for (const k::i32 wrong : {1, 5, end_of_errors, -100000, k::i32{-0x7fffffff} - 1})
                            EXPECT(is(p.answer(unique, wrong), k::error::inval));
                        for (const k::u64 other : {unique + 2, unique + 1000, ~k::u64{1}})
                            EXPECT(is(p.answer(other, no_entry), k::error::noent));
                        EXPECT(is(p.answer(unique | 1, 0, some(8)), k::error::inval)); // of an interrupt
                        EXPECT(is(p.answer(0, 1, some(8)), k::error::opnotsupp));      // news
                        EXPECT(is(p.say(sizeof(answer_head) - 1), k::error::inval));
                        EXPECT(p.answer(unique, no_entry));
                    }),
              k::error::noent));
}

SELFTEST(fuse, news_of_wrong_shapes_is_refused) {
    program p;
    REQUIRE(p && p.start());
    const auto tell = [&](news what, std::span<const std::byte> bytes) {
        return p.answer(0, static_cast<k::i32>(what), bytes);
    };
    static std::byte room[400] = {};
    const auto name_of = [&](k::u64 head_bytes, k::u32 claimed, std::string_view name) {
        std::memset(room, 0, sizeof(room));
        std::memcpy(room + head_bytes - 8, &claimed, sizeof(claimed));
        std::memcpy(room + head_bytes, name.data(), name.size());
        return std::span<const std::byte>(room, head_bytes + name.size() + 1);
    };
    for (const k::u64 bytes : {k::u64{0}, sizeof(bytes_news) - 1, sizeof(bytes_news) + 1})
        EXPECT(is(tell(news::bytes_are_old, some(bytes)), k::error::inval));
    for (const news what : {news::name_is_old, news::name_is_gone}) {
        const k::u64 head = what == news::name_is_old ? sizeof(name_news) : sizeof(gone_news);
        EXPECT(is(tell(what, some(head - 1)), k::error::inval));
        EXPECT(is(tell(what, name_of(head, 0, "")), k::error::inval));
        EXPECT(is(tell(what, name_of(head, 4, "hello")), k::error::inval));
        EXPECT(is(tell(what, name_of(head, 6, "hello")), k::error::inval));
        EXPECT(is(tell(what, name_of(head, 5, "he/lo")), k::error::inval));
        EXPECT(is(tell(what, name_of(head, 5, {"he\0lo", 5})), k::error::inval));
        EXPECT(is(tell(what, name_of(head, ~k::u32{0}, "hello")), k::error::inval));
        EXPECT(is(tell(what, name_of(head, 5, "hello")), k::error::notconn)); // nobody listens
    }
    EXPECT(is(tell(news::poll, some(40)), k::error::opnotsupp));
    store_news store{.node = 1, .offset = 0, .bytes = 0, .unused = 0};
    const auto with_head = [&](k::u32 claimed, k::u64 bytes) {
        store.bytes = claimed;
        std::memcpy(room, &store, sizeof(store));
        return std::span<const std::byte>(room, sizeof(store) + bytes);
    };
    EXPECT(is(tell(news::store, some(sizeof(store) - 1)), k::error::inval));
    for (const k::u32 claimed : {k::u32{0}, k::u32{99}, k::u32{101}, ~k::u32{0}, ~k::u32{0} - 23})
        EXPECT(is(tell(news::store, with_head(claimed, 100)), k::error::inval));
    EXPECT(is(tell(news::store, with_head(100, 100)), k::error::notconn));
    for (const k::u64 bytes : {k::u64{0}, sizeof(retrieve_news) - 1, sizeof(retrieve_news) + 1})
        EXPECT(is(tell(news::retrieve, some(bytes)), k::error::inval));
    EXPECT(is(tell(news::retrieve, some(sizeof(retrieve_news))), k::error::notconn));
    for (const k::i32 what : {0, -1, 7, 100})
        EXPECT(is(p.answer(0, what, some(24)), k::error::inval));
}

SELFTEST(fuse, news_is_heard_while_the_file_system_is_there) {
    program p;
    REQUIRE(p);
    const bytes_news of_root{.node = root_node, .offset = 0, .bytes = 0}, of_nobody{.node = 2, .offset = 0, .bytes = 0};
    const auto tell = [&](const bytes_news& what) {
        return p.answer(0, static_cast<k::i32>(news::bytes_are_old), std::as_bytes(std::span(&what, 1)));
    };
    {
        auto fs = vfs::make_fuse(p.share(), {.type = "fuse", .root_mode = 0040755});
        REQUIRE(fs && p.answer_init());
        EXPECT(tell(of_root));
        EXPECT(is(tell(of_nobody), k::error::noent));
    }
    EXPECT(is(tell(of_root), k::error::notconn));
}

SELFTEST(fuse, a_second_answer_is_to_nobody) {
    program p;
    REQUIRE(p && p.start());
    EXPECT(is(asked(p,
                    [&](k::u64 unique) {
                        EXPECT(p.answer(unique, no_entry));
                        EXPECT(is(p.answer(unique, no_entry), k::error::noent));
                        EXPECT(is(p.answer(unique, 0, some(sizeof(good))), k::error::noent));
                    }),
              k::error::noent));
}

SELFTEST(fuse, pages_come_as_many_as_were_asked_for_with_zeroes_behind) {
    program p;
    REQUIRE(p && p.start());
    for (const k::u64 bytes : {k::u64{0}, k::u64{1}, k::u64{3000}, k::u64{4096}, k::u64{4097}}) {
        auto r = request::make({.opcode = opcode::read, .node = 2, .how = taking::pages, .most = 4096});
        REQUIRE(r && p->post(r->share()));
        auto head = p.take();
        REQUIRE(head);
        static std::byte content[4097];
        std::memset(content, 7, sizeof(content));
        const auto took = p.answer(head->unique, 0, {content, bytes});
        EXPECT_EQ(bool(took), bytes <= 4096);
        if (!took || !bytes) continue;
        EXPECT_EQ((*r)->answered(), bytes);
        const xio::source& pages = (*r)->pages();
        REQUIRE(pages.size() == arch::page_size);
        std::byte got[arch::page_size];
        REQUIRE(pages.read(0, got));
        for (k::u64 i = 0; i < arch::page_size; i++)
            if (got[i] != std::byte(i < bytes ? 7 : 0)) EXPECT_EQ(i, ~k::u64{0});
    }
}

SELFTEST(fuse, an_end_is_heard_by_who_waits_and_who_comes) {
    program p;
    REQUIRE(p && p.start());
    EXPECT(is(asked(p, [&](k::u64) { p->end({}, false); }), k::error::notconn));
    const request_ref late = attributes_wanted();
    REQUIRE(late);
    EXPECT(is(p->ask(*late), k::error::notconn));
    EXPECT(!p.take());
}

// Those whose time is over in the moment of the end find that they need not wait, or that they are done.
SELFTEST(fuse, an_end_and_the_end_of_ones_time_meet) {
    constexpr unsigned askers = 4, rounds = 2000;
    for (unsigned round = 0; round < rounds; round++) {
        program p;
        REQUIRE(p && p.start());
        const ktime::ns over = ktime::after(100 * ktime::microsecond);
        std::atomic<unsigned> wrong = 0;
        const auto ask = [&] {
            const request_ref r = attributes_wanted();
            const k::status heard = r ? p->ask(*r, over) : k::status(k::error::nomem);
            if (!is(heard, k::error::timedout) && !is(heard, k::error::notconn)) wrong++;
        };
        const bool ran =
            support::run_aside([&] { EXPECT(support::run_aside(ask, [&] { EXPECT(support::run_aside(ask, ask)); })); },
                               [&] {
                                   for (unsigned taken = round % askers; taken; taken--)
                                       (void)p.take();
                                   const ktime::ns then =
                                       over + round % 64 * ktime::microsecond; // they have to wake up
                                   while (ktime::now() < then)
                                       arch::cpu::relax();
                                   p->end({}, false);
                               });
        REQUIRE(ran);
        EXPECT_EQ(wrong.load(), 0u);
    }
}

SELFTEST(fuse, an_answer_to_init_that_makes_no_sense_refuses_all) {
    for (const k::u64 bytes : {k::u64{0}, short_init_answer - 1, sizeof(init_answer) + 1}) {
        program p;
        REQUIRE(p && p->begin({}, ~k::u64{0}));
        auto init = p.take();
        REQUIRE(init);
        (void)p.answer(init->unique, 0, some(bytes));
        EXPECT(is(p->start(), k::error::connrefused));
    }
}
