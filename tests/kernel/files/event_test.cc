// kernel/files: event files, timer files, memory files, and poll and epoll over them.
#include "kernel/files/event_file.h"

#include "kernel/files/epoll.h"
#include "kernel/files/pipe.h"
#include "kernel/files/poll.h"
#include "kernel/files/stored_file.h"
#include "kernel/files/timer_file.h"
#include "kernel/lib/random.h"
#include "sys/vm/object.h"
#include "tests/kernel/files/io.h"
#include "tests/kernel/lwkt/crew.h"

using files::epoll;
using files::epoll_event;
using files::file_ref;
using files::poll_can_read;
using files::poll_can_write;
using files::poll_in;
using files::poll_out;
using k::error;
using ktime::millisecond;
using lwkt_test::crew;
using tests::error_of;
using tests::read_number;
using tests::write_number;

namespace {

file_ref fresh_event(k::u64 count = 0, k::u32 flags = files::open_nonblock, bool semaphore = false) {
    auto made = files::make_event_file(count, semaphore, flags);
    return made ? *std::move(made) : file_ref();
}

struct fresh_epoll {
    file_ref held;
    fresh_epoll() {
        auto made = epoll::create();
        if (made) held = *std::move(made);
    }
    explicit operator bool() const { return static_cast<bool>(held); }
    epoll& operator*() const { return *files::epoll_of(*held); }
    epoll* operator->() const { return files::epoll_of(*held); }

    // What a call reports: the number of events, the first ones in `events`.
    epoll_event events[8];
    std::size_t look() {
        k::u32 left = (*this)->listed();
        return (*this)->harvest(events, left);
    }
    k::status add(file_ref& f, int fd, k::u32 events) { return (*this)->add(*f, fd, {events, k::u64(fd) * 100}); }
};

} // namespace

// --- eventfd

SELFTEST(files, an_event_file_counts) {
    file_ref e = fresh_event(3);
    REQUIRE(e);
    EXPECT_EQ(e->ready(), poll_can_read | poll_can_write);
    EXPECT(write_number(*e, 4));
    EXPECT_EQ(read_number(*e).value_or(0), 7u);
    EXPECT_EQ(error_of(read_number(*e)), error::again);
    EXPECT_EQ(e->ready(), poll_can_write);
    EXPECT(write_number(*e, ~k::u64{0} - 1));
    EXPECT_EQ(e->ready(), poll_can_read);
    EXPECT_EQ(error_of(write_number(*e, 1)), error::again);
    EXPECT_EQ(error_of(write_number(*e, ~k::u64{0})), error::inval);
    EXPECT_EQ(error_of(tests::write_text(*e, "short")), error::inval);
    EXPECT_EQ(tests::text_read(*e, 7).why, error::inval);
}

SELFTEST(files, a_semaphore_gives_one_at_a_time) {
    file_ref e = fresh_event(2, files::open_nonblock, true);
    REQUIRE(e);
    EXPECT_EQ(read_number(*e).value_or(0), 1u);
    EXPECT_EQ(read_number(*e).value_or(0), 1u);
    EXPECT_EQ(error_of(read_number(*e)), error::again);
}

SELFTEST(files, no_unit_of_a_semaphore_is_lost_or_doubled) {
    constexpr unsigned each = 300;
    file_ref e = fresh_event(0, 0, true);
    REQUIRE(e);
    auto giver = [&](unsigned) {
        for (unsigned i = 0; i < each; i++)
            EXPECT(write_number(*e, 1));
    };
    auto taker = [&](unsigned) {
        for (unsigned i = 0; i < each; i++)
            EXPECT_EQ(read_number(*e).value_or(0), 1u);
    };
    crew c;
    REQUIRE(c.start_everywhere(giver));
    REQUIRE(c.start_everywhere(taker));
    c.join();
    EXPECT_EQ(e->ready(), poll_can_write);
}

// --- poll

SELFTEST(files, poll_tells_what_is_ready_without_sleeping) {
    file_ref a = fresh_event(), b = fresh_event(1);
    REQUIRE(a && b);
    files::polled of[3];
    of[0] = {a.share(), poll_in, 0};
    of[1] = {b.share(), poll_in | poll_out, 0};
    of[2].found = files::poll_invalid;
    EXPECT_EQ(files::wait_for_any(of, ktime::forever).value_or(9), 2u);
    EXPECT_EQ(of[0].found, 0u);
    EXPECT_EQ(of[1].found, poll_in | poll_out);
    of[2].found = 0;
    of[1].wanted = 0;
    EXPECT_EQ(files::wait_for_any(of, 0).value_or(9), 0u);
    const ktime::ns before = ktime::now();
    EXPECT_EQ(files::wait_for_any(of, ktime::after(5 * millisecond)).value_or(9), 0u);
    EXPECT(ktime::now() - before >= 5 * millisecond);
}

SELFTEST(files, poll_wakes_for_any_of_many) {
    constexpr unsigned count = 20, rounds = 100;
    file_ref events[count];
    files::polled of[count];
    for (unsigned i = 0; i < count; i++) {
        events[i] = fresh_event();
        REQUIRE(events[i]);
        of[i] = {events[i].share(), poll_in, 0};
    }
    std::atomic<int> wanted = -1;
    auto giver = [&](unsigned) {
        for (unsigned i = 0; i < rounds; i++) {
            lwkt_test::wait_until([&] { return wanted.load() >= 0; });
            EXPECT(write_number(*events[wanted.exchange(-1)], 1));
        }
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, giver));
    k::random random(selftest::seed());
    for (unsigned i = 0; i < rounds; i++) {
        const auto which = static_cast<unsigned>(random.below(count));
        wanted = static_cast<int>(which);
        EXPECT_EQ(files::wait_for_any(of, ktime::forever).value_or(0), 1u);
        EXPECT_EQ(of[which].found, poll_in);
        EXPECT_EQ(read_number(*events[which]).value_or(0), 1u);
    }
}

// --- epoll

SELFTEST(files, epoll_reports_levels_edges_and_single_shots) {
    fresh_epoll e;
    file_ref level = fresh_event(), edge = fresh_event(), once = fresh_event();
    REQUIRE(e && level && edge && once);
    EXPECT(e.add(level, 1, poll_in));
    EXPECT(e.add(edge, 2, poll_in | files::epoll_edge));
    EXPECT(e.add(once, 3, poll_in | files::epoll_one_shot));
    EXPECT_EQ(error_of(e.add(once, 3, poll_in)), error::exist);
    EXPECT_EQ(e.look(), 0u);
    EXPECT_EQ(e->ready(), 0u);
    for (auto* f : {&level, &edge, &once})
        EXPECT(write_number(**f, 1));
    EXPECT_EQ(e->ready(), poll_can_read);
    EXPECT_EQ(e.look(), 3u);
    EXPECT_EQ(e.events[1].data, 200u);
    EXPECT_EQ(e.events[1].events, poll_in);
    EXPECT_EQ(e.look(), 1u); // the level
    EXPECT_EQ(e.events[0].data, 100u);
    EXPECT(write_number(*edge, 1)); // another edge
    EXPECT(write_number(*once, 1));
    EXPECT_EQ(e.look(), 2u);
    EXPECT(e->change(*once, 3, {poll_in | files::epoll_one_shot, 300}));
    EXPECT_EQ(e.look(), 2u);
    EXPECT(read_number(*level));
    EXPECT_EQ(e.look(), 0u);
    EXPECT(e->remove(*edge, 2));
    EXPECT_EQ(error_of(e->remove(*edge, 2)), error::noent);
    EXPECT_EQ(error_of(e->change(*edge, 2, {})), error::noent);
    EXPECT(write_number(*edge, 1));
    EXPECT_EQ(e.look(), 0u);
}

SELFTEST(files, a_file_that_closes_leaves_all_epolls) {
    fresh_epoll a, b;
    file_ref f = fresh_event(1);
    REQUIRE(a && b && f);
    EXPECT(a.add(f, 1, poll_in));
    EXPECT(a.add(f, 2, poll_in));
    EXPECT(b.add(f, 1, poll_in));
    EXPECT_EQ(a.look(), 2u);
    f.reset();
    EXPECT_EQ(a.look(), 0u);
    EXPECT_EQ(b.look(), 0u);
    // And an epoll that closes first leaves the files.
    file_ref g = fresh_event();
    REQUIRE(g);
    EXPECT(a.add(g, 1, poll_in));
    a.held.reset();
    EXPECT(write_number(*g, 1));
}

SELFTEST(files, epolls_watch_epolls_without_loops) {
    constexpr unsigned levels = epoll::most_levels;
    fresh_epoll tower[levels + 1];
    for (auto& e : tower)
        REQUIRE(e);
    file_ref f = fresh_event();
    REQUIRE(f);
    EXPECT(tower[0].add(f, 1, poll_in));
    for (unsigned i = 1; i < levels; i++)
        EXPECT(tower[i].add(tower[i - 1].held, 1, poll_in));
    EXPECT_EQ(error_of(tower[levels].add(tower[levels - 1].held, 1, poll_in)), error::loop);
    EXPECT_EQ(error_of(tower[0].add(tower[levels - 1].held, 2, poll_in)), error::loop);
    EXPECT_EQ(error_of(tower[1].add(tower[2].held, 2, poll_in)), error::loop);
    EXPECT_EQ(tower[levels - 1].look(), 0u);
    EXPECT(write_number(*f, 1));
    EXPECT_EQ(tower[levels - 1]->ready(), poll_can_read);
    EXPECT_EQ(tower[levels - 1].look(), 1u);
    EXPECT(read_number(*f));
    EXPECT_EQ(tower[levels - 1].look(), 0u);
    tower[2].held.reset(); // in the middle
    EXPECT(tower[levels].add(tower[levels - 1].held, 1, poll_in));
}

SELFTEST(files, epoll_refuses_more_paths_than_firing_can_bear) {
    // Three layers, each watched by all of the next: width^2 ways from the first to the last.
    constexpr unsigned width = 32;
    struct layer {
        fresh_epoll of[width];
    };
    auto layers = mem::make_box<layer>();
    fresh_epoll bottom;
    REQUIRE(layers && bottom);
    for (auto& e : layers->of) {
        REQUIRE(e);
        EXPECT(e.add(bottom.held, 1, poll_in));
    }
    unsigned added = 0;
    k::error why{};
    auto tops = mem::make_box<layer>();
    REQUIRE(tops);
    for (auto& top : tops->of) {
        REQUIRE(top);
        for (unsigned i = 0; i < width && why == k::error{}; i++) {
            why = error_of(top.add(layers->of[i].held, static_cast<int>(i), poll_in));
            added += why == k::error{};
        }
    }
    EXPECT_EQ(why, error::loop);
    EXPECT(added > 100 && added <= 500);
}

SELFTEST(files, a_sleeper_at_an_epoll_misses_nothing) {
    constexpr unsigned count = 4, rounds = 300;
    fresh_epoll e;
    REQUIRE(e);
    file_ref events[count];
    for (unsigned i = 0; i < count; i++) {
        events[i] = fresh_event();
        REQUIRE(events[i] && e.add(events[i], static_cast<int>(i), poll_in | (i % 2 ? k::u32{files::epoll_edge} : 0)));
    }
    std::atomic<unsigned> got = 0;
    auto giver = [&](unsigned) {
        k::random random(selftest::seed());
        for (unsigned i = 0; i < rounds; i++) {
            EXPECT(write_number(*events[random.below(count)], 1));
            lwkt_test::wait_until([&] { return got.load() > i; });
        }
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, giver));
    while (got < rounds) {
        const std::size_t ready = e.look();
        for (std::size_t i = 0; i < ready; i++)
            if (auto n = read_number(*events[e.events[i].data / 100])) got += static_cast<unsigned>(*n);
        if (!ready) EXPECT(e->sleep_until_ready(ktime::after(lwkt_test::patience)));
    }
}

SELFTEST(files, files_and_epolls_may_go_in_any_order) {
    constexpr unsigned rounds = 200;
    std::atomic<unsigned> made = 0;
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        for (unsigned i = 0; i < rounds; i++) {
            fresh_epoll a, b;
            file_ref f = fresh_event(), g = fresh_event();
            if (!a || !b || !f || !g) continue;
            made += bool(a.add(f, 1, poll_in)) + bool(b.add(f, 1, poll_in)) + bool(a.add(g, 2, poll_in)) +
                    bool(a.add(b.held, 3, poll_in));
            EXPECT(write_number(*f, 1));
            (void)a.look();
            file_ref* all[] = {&a.held, &b.held, &f, &g};
            for (unsigned n = 0; n < 4; n++)
                all[random.below(4)]->reset();
        }
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 2));
    c.join();
    EXPECT_EQ(made.load(), 4 * rounds * 2 * arch::cpu::count());
}

// --- timerfd

SELFTEST(files, a_timer_file_counts_expiries) {
    auto made = files::make_timer_file(proc::clock_monotonic, files::open_nonblock);
    REQUIRE(made);
    file_ref t = *std::move(made);
    files::timer_spec old;
    EXPECT_EQ(error_of(read_number(*t)), error::again);
    // One in the past: at once.
    EXPECT(files::set_timer(*t, true, {{0, 0}, {0, 1}}, old));
    files::polled of[1];
    of[0] = {t.share(), poll_in, 0};
    EXPECT_EQ(files::wait_for_any(of, ktime::after(lwkt_test::patience)).value_or(0), 1u);
    EXPECT_EQ(read_number(*t).value_or(0), 1u);
    EXPECT_EQ(error_of(read_number(*t)), error::again);
    // Again and again.
    EXPECT(files::set_timer(*t, false, {{0, 1'000'000}, {0, 1'000'000}}, old));
    EXPECT_EQ(old.value.nanoseconds, 0);
    lwkt::sleep_for(20 * millisecond);
    EXPECT(read_number(*t).value_or(0) >= 10);
    EXPECT(files::set_timer(*t, false, {{0, 0}, {100, 0}}, old));
    EXPECT_EQ(old.interval.nanoseconds, 1'000'000);
    files::timer_spec now;
    EXPECT(files::get_timer(*t, now));
    EXPECT(now.value.seconds >= 90 && now.value.seconds < 100);
    EXPECT_EQ(error_of(files::set_timer(*t, false, {{0, 0}, {0, 1'000'000'000}}, old)), error::inval);
    EXPECT_EQ(error_of(files::set_timer(*fresh_event(), false, {{0, 0}, {1, 0}}, old)), error::inval);
    EXPECT_EQ(error_of(files::make_timer_file(99, 0)), error::inval);
}

SELFTEST(files, a_timer_file_may_be_closed_on_any_cpu) {
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        auto made = files::make_timer_file(proc::clock_monotonic, 0);
        REQUIRE(made);
        file_ref t = *std::move(made);
        files::timer_spec old;
        EXPECT(files::set_timer(*t, false, {{0, 100'000}, {0, 100'000}}, old));
        if (!lwkt::hand_over(cpu)) continue;
        EXPECT(read_number(*t).value_or(0) >= 1);
        t.reset();
    }
    EXPECT(lwkt::hand_over(0));
}

// --- memfd

SELFTEST(files, a_memory_file_is_a_stretch_of_bytes) {
    auto made = files::make_memory_file("x", true);
    REQUIRE(made);
    file_ref f = *std::move(made);
    EXPECT_EQ(tests::write_text(*f, "hello, world").value_or(0), 12u);
    EXPECT_EQ(tests::text_read(*f).bytes, 0u);
    EXPECT_EQ(f->seek(7, 0).value_or(0), 7u);
    EXPECT(tests::text_read(*f).view() == "world");
    EXPECT_EQ(f->seek(-5, 2).value_or(0), 7u);
    EXPECT_EQ(error_of(f->seek(-8, 1)), error::inval);
    EXPECT_EQ(error_of(f->seek(0, 9)), error::inval);
    EXPECT(f->truncate(5));
    EXPECT(f->truncate(5000));
    files::stat_record now;
    EXPECT(f->stat(now));
    EXPECT_EQ(now.size, 5000);
    EXPECT_EQ(f->seek(0, 0).value_or(9), 0u);
    EXPECT(tests::text_read(*f, 8).view() == std::string_view("hello\0\0\0", 8));
    auto object = f->mapped_object();
    EXPECT(object && (*object)->pages() == 2);

    EXPECT(files::add_seals(*f, files::seal_shrink));
    EXPECT_EQ(error_of(f->truncate(4)), error::perm);
    EXPECT(f->truncate(6000));
    EXPECT(files::add_seals(*f, files::seal_grow | files::seal_seal));
    EXPECT_EQ(error_of(f->truncate(7000)), error::perm);
    EXPECT_EQ(error_of(files::add_seals(*f, files::seal_grow)), error::perm);
    EXPECT_EQ(files::seals_of(*f).value_or(0), 7u);
    EXPECT_EQ(error_of(files::seals_of(*fresh_event())), error::inval);
}

SELFTEST(files, a_memory_file_holds_what_a_model_holds) {
    constexpr k::u64 most = 40'000;
    auto made = files::make_memory_file("x", true);
    support::buffer model(most), scratch(most);
    REQUIRE(made && model && scratch);
    file_ref f = *std::move(made);
    k::u64 size = 0;
    k::random random(selftest::seed());
    for (unsigned i = 0; i < 400; i++) {
        const k::u64 at = random.below(most), bytes = random.below(most - at + 1);
        switch (random.below(4)) {
        case 0: {
            EXPECT(f->truncate(at));
            if (at < size) std::memset(model.data() + at, 0, size - at);
            size = at;
            break;
        }
        case 1:
        case 2: {
            support::fill_pattern(scratch.first(bytes), i);
            auto from = xio::source::over_kernel(scratch.first(bytes));
            REQUIRE(from);
            EXPECT_EQ(f->write_at(*from, at).value_or(most + 1), bytes);
            std::memcpy(model.data() + at, scratch.data(), bytes);
            if (bytes) size = std::max(size, at + bytes);
            break;
        }
        default: {
            auto to = xio::sink::over_kernel(scratch.first(bytes));
            REQUIRE(to);
            const k::u64 there = at < size ? std::min(bytes, size - at) : 0;
            EXPECT_EQ(f->read_at(*to, at).value_or(most + 1), there);
            EXPECT(support::same_bytes(scratch.first(there), model.bytes().subspan(at, there)));
        }
        }
        if (selftest::failed()) return;
    }
}
