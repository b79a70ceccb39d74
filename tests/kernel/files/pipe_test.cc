// kernel/files/pipe: bytes come out as they went in, whoever lends, splits or closes; small writes stay whole; nothing
// is copied that is lent.
#include "kernel/files/pipe.h"

#include "kernel/files/transfer.h"
#include "kernel/lib/random.h"
#include "sys/vm/reaper.h"
#include "tests/kernel/files/io.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/support/lender.h"

using files::pipe_ends;
using k::error;
using lwkt_test::crew;
using namespace tests;

namespace {

struct open_pipe {
    pipe_ends ends;
    bool made = false;

    explicit open_pipe(k::u32 flags = 0) {
        auto pair = files::make_pipe(flags);
        if (!pair) return;
        ends = *std::move(pair);
        made = true;
    }
    explicit operator bool() const { return made; }
    files::file& reader() { return *ends.reader; }
    files::file& writer() { return *ends.writer; }
    files::pipe& of() { return *files::pipe_of(*ends.reader); }
};

k::u64 copied_bytes() {
    return xio::read_ledger().copied_bytes();
}

// Reads `bytes` bytes in pieces of at most `most` and compares them with a pattern that goes on from `at`.
bool read_pattern(files::file& from, std::span<const std::byte> pattern, k::u64 most) {
    support::buffer room(most);
    if (!room) return false;
    for (k::u64 at = 0; at < pattern.size();) {
        auto to = xio::sink::over_kernel(room.first(std::min<k::u64>(most, pattern.size() - at)));
        if (!to) return false;
        auto got = from.read(*to);
        if (!got || !*got || !support::same_bytes(room.first(*got), pattern.subspan(at, *got))) return false;
        at += *got;
    }
    return true;
}

} // namespace

SELFTEST(files, a_pipe_gives_what_was_put_in) {
    open_pipe p;
    REQUIRE(p);
    EXPECT_EQ(write_text(p.writer(), "one ").value_or(0), 4u);
    EXPECT_EQ(write_text(p.writer(), "two").value_or(0), 3u);
    EXPECT_EQ(p.of().bytes(), 7u);
    EXPECT(text_read(p.reader(), 2).view() == "on");
    EXPECT(text_read(p.reader()).view() == "e two");
    EXPECT_EQ(p.of().bytes(), 0u);
    EXPECT_EQ(write_text(p.writer(), "").value_or(9), 0u);
}

SELFTEST(files, ends_of_a_pipe_notice_each_other_s_going) {
    open_pipe p(files::open_nonblock);
    REQUIRE(p);
    EXPECT_EQ(text_read(p.reader()).why, error::again);
    EXPECT_EQ(p.reader().ready(), 0u);
    EXPECT_EQ(p.writer().ready(), files::poll_can_write);
    EXPECT(write_text(p.writer(), "last words"));
    EXPECT_EQ(p.reader().ready(), files::poll_can_read);
    p.ends.writer.reset();
    EXPECT_EQ(p.reader().ready(), files::poll_can_read | files::poll_hangup);
    EXPECT(text_read(p.reader()).view() == "last words");
    EXPECT_EQ(text_read(p.reader()).bytes, 0u);
    EXPECT_EQ(p.reader().ready(), files::poll_hangup);

    open_pipe q;
    REQUIRE(q);
    EXPECT(write_text(q.writer(), "for nobody"));
    q.ends.reader.reset();
    EXPECT_EQ(error_of(write_text(q.writer(), "more")), error::pipe);
    EXPECT_EQ(q.writer().ready(), files::poll_can_write | files::poll_error);
}

SELFTEST(files, a_full_pipe_takes_no_part_of_a_small_write) {
    open_pipe p(files::open_nonblock);
    REQUIRE(p);
    support::buffer page(4096);
    REQUIRE(page);
    k::u64 in = 0;
    while (auto done = write_some(p.writer(), page.first(4000)))
        in += *done;
    EXPECT(in + 4000 > files::pipe::default_capacity);
    EXPECT(in <= files::pipe::default_capacity);
    EXPECT_EQ(p.writer().ready(), 0u);
    EXPECT_EQ(text_read(p.reader(), 100).bytes, 100u);
    EXPECT_EQ(error_of(write_some(p.writer(), page.first(4000))), error::again);
    EXPECT_EQ(error_of(p.of().set_capacity(4096)), error::busy);
    EXPECT_EQ(p.of().set_capacity(100'000).value_or(0), 131072u);
    EXPECT_EQ(write_some(p.writer(), page.first(4000)).value_or(0), 4000u);
    EXPECT_EQ(error_of(p.of().set_capacity(2 << 20)), error::perm);
}

SELFTEST(files, a_small_write_in_use_allocates_nothing) {
    open_pipe p;
    REQUIRE(p);
    support::buffer one(16);
    auto from = xio::source::over_kernel(one.first(1));
    auto to = xio::sink::over_kernel(one.first(1));
    REQUIRE(from && to);
    EXPECT_EQ(p.writer().write(*from).value_or(0), 1u);
    EXPECT_EQ(p.reader().read(*to).value_or(0), 1u);
    const vm::page_account before = vm::account();
    const k::u64 objects = mem::objects_in_use();
    for (unsigned i = 0; i < 10'000; i++) {
        EXPECT_EQ(p.writer().write(*from).value_or(0), 1u);
        EXPECT_EQ(p.reader().read(*to).value_or(0), 1u);
    }
    EXPECT_EQ(mem::objects_in_use(), objects);
    EXPECT_EQ(vm::account().free + vm::account().cached, before.free + before.cached);
}

SELFTEST(files, a_large_write_of_stable_pages_is_not_copied) {
    open_pipe p;
    REQUIRE(p);
    constexpr k::u64 bytes = 256 << 10;
    support::buffer pattern(bytes);
    REQUIRE(pattern);
    support::fill_pattern(pattern.bytes(), 5);
    auto from = xio::source::copy_of(pattern.bytes());
    REQUIRE(from);
    const k::u64 before = copied_bytes();
    EXPECT_EQ(p.writer().write(*from).value_or(0), bytes);
    EXPECT_EQ(copied_bytes(), before);
    EXPECT(read_pattern(p.reader(), pattern.bytes(), 10'000));
    EXPECT_EQ(copied_bytes(), before + bytes);
    EXPECT_EQ(p.of().bytes(), 0u);
}

SELFTEST(files, a_pipe_lends_user_memory_and_keeps_the_old_bytes) {
    constexpr k::u64 pages = 64, bytes = pages * arch::page_size;
    auto made = vm::space::create();
    REQUIRE(made);
    vm::space& s = **made;
    const vm::user_address at = fresh(s, pages);
    REQUIRE(at);
    for (k::u32 i = 0; i < pages; i++)
        REQUIRE(put(s, at + i * arch::page_size, 1000 + i));
    open_pipe p;
    REQUIRE(p);
    xio::user_range range{at, bytes};
    xio::user_ranges ranges{&s, {&range, 1}};
    const bool lends = vm::worth_lending(s, bytes);
    {
        in_space here(s);
        xio::source from = xio::source::over_user(ranges);
        const k::u64 before = copied_bytes();
        // With room for that many copied bytes only, the writer would sleep for ever.
        if (!lends) REQUIRE(p.of().set_capacity(1 << 20));
        EXPECT_EQ(p.writer().write(from).value_or(0), bytes);
        if (lends) EXPECT_EQ(copied_bytes(), before);
    }
    for (k::u32 i = 0; i < pages; i++)
        EXPECT(put(s, at + i * arch::page_size, 7));
    support::buffer room(bytes);
    REQUIRE(room);
    auto to = xio::sink::over_kernel(room.bytes());
    REQUIRE(to);
    k::u64 got = 0;
    while (got < bytes) {
        auto rest = to->slice(got, bytes - got);
        REQUIRE(rest);
        auto some = p.reader().read(*rest);
        REQUIRE(some && *some);
        got += *some;
    }
    for (k::u32 i = 0; i < pages; i++) {
        k::u32 value;
        std::memcpy(&value, room.data() + i * arch::page_size, sizeof(value));
        EXPECT_EQ(value, 1000 + i);
    }
}

// A writer that changes its memory after each write, a reader on another CPU, and loans that end in the midst of it.
SELFTEST(files, the_reaper_races_both_ends_of_a_pipe) {
    constexpr k::u32 rounds = 100;
    open_pipe p;
    REQUIRE(p);
    auto writer = [&](unsigned) {
        lender l;
        in_space here(*l.s);
        for (k::u32 round = 0; round < rounds; round++) {
            for (unsigned i = 0; i < lent_pages; i++)
                EXPECT_EQ(l.s->copy_out(l.at + i * arch::page_size, &round, sizeof(round)), sizeof(round));
            xio::source from = xio::source::over_user(l.ranges);
            EXPECT_EQ(p.writer().write(from).value_or(0), lent_bytes);
        }
    };
    std::atomic<bool> over = false;
    auto reader = [&](unsigned) {
        support::buffer room(lent_bytes);
        REQUIRE(room);
        for (k::u64 at = 0; at < rounds * lent_bytes;) {
            const k::u64 most = 1 + (at * 7 + 12345) % lent_bytes;
            auto to = xio::sink::over_kernel(room.first(most));
            REQUIRE(to);
            auto got = p.reader().read(*to);
            REQUIRE(got && *got);
            for (k::u64 end = at + *got, page = k::align_up<k::u64>(at, arch::page_size); page + 4 <= end;
                 page += arch::page_size) {
                k::u32 number;
                std::memcpy(&number, room.data() + (page - at), sizeof(number));
                EXPECT_EQ(number, page / lent_bytes);
            }
            at += *got;
        }
        over = true;
    };
    crew c;
    REQUIRE(c.start(0, reader));
    REQUIRE(c.start(arch::cpu::count() - 1, writer));
    while (!over.load()) {
        vm::reap_all_loans();
        lwkt::yield();
    }
}

SELFTEST(files, a_loan_that_waits_to_go_from_pipe_to_pipe_ends_too) {
    open_pipe a, b;
    REQUIRE(a && b);
    lender l;
    support::buffer full(files::pipe::default_capacity);
    REQUIRE(full);
    for (k::u64 at = 0; at < full.size(); at += arch::page_size) // too small to be lent
        EXPECT_EQ(write_some(b.writer(), full.bytes().subspan(at, arch::page_size)).value_or(0), arch::page_size);
    {
        in_space here(*l.s);
        xio::source from = xio::source::over_user(l.ranges);
        REQUIRE(vm::worth_lending(*l.s, lent_bytes));
        EXPECT_EQ(a.writer().write(from).value_or(0), lent_bytes);
    }
    std::atomic<k::u64> moved = 0;
    auto mover = [&](unsigned) {
        files::transfer_end in{a.reader(), {}}, out{b.writer(), {}};
        moved = files::transfer(in, out, lent_bytes, false).value_or(0);
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, mover));
    lwkt_test::wait_until([&] {
        vm::reap_all_loans();
        return l.s->payer().source_pages() == 0;
    });
    EXPECT_EQ(moved.load(), 0u);
    EXPECT(read_pattern(b.reader(), full.bytes(), 1 << 20));
    c.join();
    EXPECT_EQ(moved.load(), lent_bytes);
    support::buffer room(lent_bytes);
    auto to = xio::sink::over_kernel(room.bytes());
    REQUIRE(room && to);
    EXPECT_EQ(b.reader().read(*to).value_or(0), lent_bytes);
    for (k::u32 i = 0; i < lent_pages; i++) {
        k::u32 number;
        std::memcpy(&number, room.data() + i * arch::page_size, sizeof(number));
        EXPECT_EQ(number, 100 + i);
    }
}

SELFTEST(files, a_bad_address_ends_a_write_or_a_read_where_it_lies) {
    auto made = vm::space::create();
    REQUIRE(made);
    vm::space& s = **made;
    const vm::user_address at = fresh(s, 1, 0x40'0000);
    REQUIRE(at);
    open_pipe p;
    REQUIRE(p);
    in_space here(s);
    xio::user_range range{at + arch::page_size - 100, 200};
    xio::user_ranges ranges{&s, {&range, 1}};
    xio::source from = xio::source::over_user(ranges);
    EXPECT_EQ(p.writer().write(from).value_or(0), 100u);
    xio::sink to = xio::sink::over_user(ranges);
    EXPECT(write_some(p.writer(), support::buffer(200).bytes()));
    EXPECT_EQ(p.reader().read(to).value_or(0), 100u);
    EXPECT_EQ(p.of().bytes(), 200u); // what could not be delivered is still there
    range = {0x1000, 200};
    xio::sink nowhere = xio::sink::over_user(ranges);
    EXPECT_EQ(error_of(p.reader().read(nowhere)), error::fault);
    xio::source also_nowhere = xio::source::over_user(ranges);
    EXPECT_EQ(error_of(p.writer().write(also_nowhere)), error::fault);
    EXPECT_EQ(p.of().bytes(), 200u);
}

// Two kernel threads: one writes a pattern in pieces of any size, lent or copied, the other reads it in others.
SELFTEST(files, a_stream_of_any_pieces_arrives_whole) {
    constexpr k::u64 bytes = 2 << 20;
    support::buffer pattern(bytes);
    REQUIRE(pattern);
    support::fill_pattern(pattern.bytes(), selftest::seed());
    open_pipe p;
    REQUIRE(p);
    auto writer = [&](unsigned) {
        k::random random(selftest::seed());
        for (k::u64 at = 0; at < bytes;) {
            const k::u64 most = random.below(3) ? 200 : random.below(3) ? 9000 : 100'000;
            const k::u64 piece = std::min(bytes - at, 1 + random.below(most));
            auto from = xio::source::over_kernel(pattern.bytes().subspan(at, piece));
            REQUIRE(from);
            EXPECT_EQ(p.writer().write(*from).value_or(0), piece);
            at += piece;
        }
        p.ends.writer.reset();
    };
    auto reader = [&](unsigned) {
        k::random random(selftest::seed() + 1);
        support::buffer room(50'000);
        REQUIRE(room);
        for (k::u64 at = 0; at < bytes;) {
            auto to = xio::sink::over_kernel(room.first(1 + random.below(random.below(2) ? 300 : room.size())));
            REQUIRE(to);
            auto got = p.reader().read(*to);
            REQUIRE(got && *got);
            REQUIRE(support::same_bytes(room.first(*got), pattern.bytes().subspan(at, *got)));
            at += *got;
        }
        EXPECT_EQ(text_read(p.reader()).bytes, 0u);
    };
    crew c;
    REQUIRE(c.start(0, reader));
    REQUIRE(c.start(arch::cpu::count() - 1, writer));
}

SELFTEST(files, writes_of_up_to_a_page_are_never_mixed) {
    constexpr unsigned each = 200;
    constexpr k::u64 record = 1000;
    open_pipe p;
    REQUIRE(p);
    auto writer = [&](unsigned number) {
        support::buffer mine(record);
        REQUIRE(mine);
        std::memset(mine.data(), static_cast<int>('a' + number), record);
        for (unsigned i = 0; i < each; i++) {
            auto from = xio::source::over_kernel(mine.bytes());
            REQUIRE(from);
            EXPECT_EQ(p.writer().write(*from).value_or(0), record);
        }
    };
    crew c;
    REQUIRE(c.start_everywhere(writer, 2));
    support::buffer room(record);
    REQUIRE(room);
    for (unsigned i = 0; i < each * 2 * arch::cpu::count(); i++) {
        for (k::u64 at = 0; at < record;) {
            auto to = xio::sink::over_kernel(room.bytes().subspan(at));
            REQUIRE(to);
            auto got = p.reader().read(*to);
            REQUIRE(got && *got);
            at += *got;
        }
        EXPECT(support::all_bytes_are(room.bytes(), static_cast<unsigned>(room.data()[0])));
    }
}

SELFTEST(files, a_writer_that_waits_for_room_learns_that_the_reader_has_gone) {
    open_pipe p;
    REQUIRE(p);
    std::atomic<int> why = 0;
    auto writer = [&](unsigned) {
        support::buffer page(4096);
        REQUIRE(page);
        for (;;) {
            auto done = write_some(p.writer(), page.bytes());
            if (done) continue;
            why = static_cast<int>(done.error());
            return;
        }
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, writer));
    lwkt_test::wait_until([&] { return p.of().bytes() == files::pipe::default_capacity; });
    p.ends.reader.reset();
    c.join();
    EXPECT_EQ(why.load(), static_cast<int>(error::pipe));
}

SELFTEST(files, what_is_taken_out_of_a_pipe_stays_as_it_is) {
    open_pipe p;
    REQUIRE(p);
    support::buffer page(4096);
    REQUIRE(page);
    support::fill_pattern(page.bytes(), 1);
    EXPECT(write_some(p.writer(), page.bytes()));
    auto taken = p.of().queue.take(1 << 20, true);
    REQUIRE(taken);
    EXPECT_EQ(taken->size(), 4096u);
    // The pipe goes on with other pages than the one that was given away.
    support::buffer other(4096);
    REQUIRE(other);
    for (unsigned i = 0; i < 20; i++) {
        EXPECT(write_some(p.writer(), other.bytes()));
        EXPECT(read_pattern(p.reader(), other.bytes(), 4096));
    }
    support::buffer seen(4096);
    EXPECT(taken->read(0, seen.bytes()));
    EXPECT(support::has_pattern(seen.bytes(), 1));
    p.of().queue.give_back(*std::move(taken));
    EXPECT_EQ(p.of().bytes(), 4096u);
    EXPECT(read_pattern(p.reader(), seen.bytes(), 1000));
}

SELFTEST(files, bytes_move_from_pipe_to_pipe_without_loss) {
    open_pipe a, b(files::open_nonblock);
    REQUIRE(a && b);
    constexpr k::u64 bytes = 200'000;
    support::buffer pattern(bytes);
    REQUIRE(pattern);
    support::fill_pattern(pattern.bytes(), 9);
    REQUIRE(a.of().set_capacity(1 << 20));
    auto from = xio::source::over_kernel(pattern.bytes(), {.promise = xio::stability::blocked});
    REQUIRE(from);
    EXPECT_EQ(a.writer().write(*from).value_or(0), bytes);
    k::u64 moved = 0;
    support::buffer room(60'000);
    REQUIRE(room);
    while (moved < bytes) {
        files::transfer_end in{a.reader(), {}}, out{b.writer(), {}};
        auto done = files::transfer(in, out, bytes, true);
        REQUIRE(done && *done);
        EXPECT_EQ(a.of().bytes(), bytes - moved - *done);
        REQUIRE(read_pattern(b.reader(), pattern.bytes().subspan(moved, *done), 60'000));
        moved += *done;
    }
}
