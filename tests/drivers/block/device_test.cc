// drivers/block: bytes go where they should whatever order a disk answers in; errors are told, and never as good data.
#include "drivers/block/cache.h"
#include "drivers/block/gather.h"
#include "tests/support/model_disk.h"
#include "tests/support/page_set.h"
#include "tests/support/threads.h"

using support::known_disk;

namespace {

constexpr k::u64 page = arch::page_size;

xio::source over(std::span<std::byte> bytes) {
    auto made = xio::source::over_kernel(bytes);
    return made ? *std::move(made) : xio::source();
}
xio::sink into(std::span<std::byte> bytes) {
    auto made = xio::sink::over_kernel(bytes);
    return made ? *std::move(made) : xio::sink();
}

} // namespace

SELFTEST(block, bytes_arrive_in_as_many_requests_as_it_takes) {
    for (bool late : {false, true}) {
        known_disk d(256, late);
        support::buffer data(100 * 512), back(100 * 512);
        REQUIRE(d && data && back);
        support::fill_pattern(data.bytes(), selftest::seed());
        const xio::moved written = block::write(d.device(), 3 * 512, over(data.bytes()));
        EXPECT(written.status);
        EXPECT_EQ(written.bytes, data.size());
        EXPECT(support::same_bytes(d->content.bytes().subspan(3 * 512, data.size()), data.bytes()));
        xio::sink to = into(back.bytes());
        EXPECT(block::read(d.device(), 3 * 512, to).status);
        EXPECT(support::same_bytes(back.bytes(), data.bytes()));
        const block::statistics s = d.device().read_statistics();
        EXPECT_EQ(s.sectors[1], 100u);
        EXPECT(s.sectors[0] >= 100u);
        EXPECT_EQ(s.submitted, s.completed);
    }
}

SELFTEST(block, what_lies_outside_is_refused) {
    known_disk d(64);
    support::buffer data(4 * 512);
    REQUIRE(d && data);
    struct {
        k::u64 offset, bytes;
    } constexpr bad[] = {{64 * 512, 512}, {63 * 512, 1024},    {1, 512},
                         {0, 100},        {~k::u64{511}, 512}, {k::u64{1} << 63, 512}};
    for (const auto& b : bad) {
        EXPECT_EQ(block::write(d.device(), b.offset, over(data.first(b.bytes))).bytes, 0u);
        EXPECT_EQ(block::write(d.device(), b.offset, over(data.first(b.bytes))).status.error(), k::error::inval);
        EXPECT_EQ(block::read(d.device(), b.offset, into(data.first(b.bytes))).status.error(), k::error::inval);
    }
    EXPECT_EQ(d->writes.load(), 0u);
    EXPECT_EQ(block::discard(d.device(), 0, 512).error(), k::error::opnotsupp);
    d->change_properties().read_only = true;
    EXPECT_EQ(block::write(d.device(), 0, over(data.first(512))).status.error(), k::error::rofs);
    EXPECT(block::read(d.device(), 0, into(data.first(512))).status);
}

SELFTEST(block, an_error_tells_what_was_good_before_it) {
    for (bool late : {false, true}) {
        known_disk d(512, late);
        support::page_set<40> pages;
        REQUIRE(d && pages.allocate());
        auto to = xio::sink::over_pages(pages.span(), 0, 40 * page);
        REQUIRE(to);
        d->bad_sector = 30 * 8 + 1;
        const xio::moved m = block::read(d.device(), 0, *to);
        EXPECT(!m.status && m.status.error() == k::error::io);
        EXPECT(m.bytes <= 30 * page && m.bytes % page == 0);
        EXPECT(m.bytes >= 16 * page); // requests before it
        EXPECT_EQ(d.device().read_statistics().failed, 1u);
    }
}

SELFTEST(block, a_request_is_completed_on_the_cpu_that_submitted_it) {
    // The model's thread is on CPU 0; others submit.
    known_disk d(64, true, 0);
    REQUIRE(d);
    const unsigned home = lwkt::self().home.load();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        if (!lwkt::hand_over(cpu)) continue;
        support::buffer data(512);
        REQUIRE(data);
        static std::atomic<unsigned> completed_on;
        completed_on = ~0u;
        block::request r;
        r.what = block::operation::read;
        r.into = into(data.bytes());
        r.done = [](block::request&) noexcept { completed_on = arch::cpu::id(); };
        d.device().submit(r);
        const ktime::ns deadline = ktime::after(5 * ktime::second);
        while (completed_on.load() == ~0u && ktime::now() < deadline)
            lwkt::sleep_for(50 * ktime::microsecond);
        EXPECT_EQ(completed_on.load(), cpu);
        EXPECT(r.status);
    }
    (void)lwkt::hand_over(home);
}

SELFTEST(block, threads_of_all_cpus_work_at_once) {
    known_disk d(4 * 512, true);
    REQUIRE(d);
    std::atomic<unsigned> wrong = 0;
    support::run_everywhere([&](unsigned cpu) {
        constexpr k::u64 part = 128 * 512;
        support::buffer data(16 * 512), back(16 * 512);
        if (!data || !back) return void(wrong++);
        k::random random(selftest::seed() + cpu);
        for (unsigned round = 0; round < 30; round++) {
            const k::u64 at = cpu % 16 * part + random.below(100) * 512;
            support::fill_pattern(data.bytes(), random.next());
            if (!block::write(d.device(), at, over(data.bytes())).status) wrong++;
            if (!block::read(d.device(), at, into(back.bytes())).status) wrong++;
            if (!support::same_bytes(data.bytes(), back.bytes())) wrong++;
        }
    });
    EXPECT_EQ(wrong.load(), 0u);
}

SELFTEST(block, a_disk_that_was_removed_fails_what_comes) {
    block::device_ref kept;
    {
        known_disk d(64);
        REQUIRE(d);
        kept = block::device_ref::to(d.device());
        EXPECT(bool(block::find_device(240, 0)));
    }
    support::buffer data(512);
    REQUIRE(data);
    EXPECT(!block::find_device(240, 0));
    EXPECT_EQ(block::read(*kept, 0, into(data.bytes())).status.error(), k::error::io);
    EXPECT_EQ(block::flush(*kept).error(), k::error::io);
}

// --- Cached

SELFTEST(block, the_cache_is_the_disk_with_its_newest_bytes) {
    k::random random(selftest::seed());
    constexpr k::u64 size = 40 * page + 3 * 512; // ends in the middle of a page
    for (bool late : {false, true}) {
        known_disk d(size / 512, late);
        support::buffer model(size), piece(5 * page);
        REQUIRE(d && model && piece);
        support::fill_pattern(model.bytes(), 1);
        std::memcpy(d->content.data(), model.data(), size);
        block::cache& c = d.device().cache();
        for (unsigned round = 0; round < 300; round++) {
            const k::u64 at = random.below(size), bytes = std::min(1 + random.below(piece.size()), size - at);
            const auto part = piece.first(bytes);
            switch (random.below(8)) {
            case 0: EXPECT(c.sync()); break;
            case 1: c.drop_clean(); break;
            case 2: { // past the cache
                const k::u64 first = at / 512 * 512, whole = std::min(k::align_up(bytes, k::u64{512}), size - first);
                const auto blocks = piece.first(std::min<k::u64>(whole, piece.size()));
                support::fill_pattern(blocks, round);
                EXPECT(c.write_direct(first, over(blocks), false).status);
                std::memcpy(model.data() + first, blocks.data(), blocks.size());
                break;
            }
            case 3:
            case 4: {
                support::fill_pattern(part, round);
                const xio::moved m = c.write(at, over(part));
                EXPECT(m.status);
                EXPECT_EQ(m.bytes, bytes);
                std::memcpy(model.data() + at, part.data(), bytes);
                break;
            }
            default: {
                xio::sink to = into(part);
                const xio::moved m = c.read(at, to);
                EXPECT_EQ(m.bytes, bytes);
                EXPECT(support::same_bytes(part, model.bytes().subspan(at, bytes)));
            }
            }
        }
        EXPECT(c.sync());
        EXPECT_EQ(c.dirty_pages(), 0u);
        EXPECT(support::same_bytes(d->content.bytes(), model.bytes()));
    }
}

SELFTEST(block, writing_back_copies_nothing_and_waits_for_nobody) {
    known_disk d(64 * 8, true);
    support::buffer data(16 * page), newer(16 * page);
    REQUIRE(d && data && newer);
    block::cache& c = d.device().cache();
    support::fill_pattern(data.bytes(), 1);
    support::fill_pattern(newer.bytes(), 2);
    EXPECT(c.write(0, over(data.bytes())).status);
    d->holds = true;
    d->most_waiting = 0; // the disk was read when it was added
    std::atomic<bool> synced = false;
    REQUIRE(support::run_aside(
        [&] {
            EXPECT(c.sync());
            synced = true;
        },
        [&] {
            const ktime::ns deadline = ktime::after(5 * ktime::second);
            while (!d->most_waiting.load() && ktime::now() < deadline)
                lwkt::sleep_for(50 * ktime::microsecond);
            // The disk has it and does not answer. Half of it is written again meanwhile.
            EXPECT(c.write(0, over(newer.first(8 * page))).status);
            EXPECT(!synced.load());
            EXPECT_EQ(c.dirty_pages(), 8u);
            d->holds = false;
        }));
    // The older version went out whole, and its end did not clean the newer one.
    EXPECT(support::same_bytes(d->content.first(16 * page), data.bytes()));
    EXPECT_EQ(c.dirty_pages(), 8u);
    EXPECT(c.sync());
    EXPECT(support::same_bytes(d->content.first(8 * page), newer.first(8 * page)));
    EXPECT(d->flushes.load() >= 2u);
}

// Blocks are written again while older versions of them are on their way, and the disk answers in any order: no sector
// ever goes back to an older one, no page that is newer counts as clean, and at the end the disk has the newest.
SELFTEST(block, the_newer_of_two_versions_on_their_way_stays) {
    constexpr k::u64 pages = 24, writes = 600;
    known_disk d(pages * 8, true);
    support::buffer piece(4 * page), model(pages * page);
    REQUIRE(d && piece && model);
    std::memset(model.data(), 0, model.size());
    d->watches_numbers = true;
    d->change_limits() = {.segments = 2, .segment_bytes = page}; // many requests
    block::cache& c = d.device().cache();
    std::atomic<bool> ends = false;
    std::atomic<unsigned> wrong = 0;
    k::u64 rewritten = 0;
    REQUIRE(support::run_aside(
        [&] {
            while (!ends.load())
                if (!c.sync()) wrong++;
        },
        [&] {
            k::random random(selftest::seed());
            for (k::u64 version = 1; version <= writes; version++) {
                const k::u64 first = random.below(pages), count = std::min(1 + random.below(4), pages - first);
                const auto part = piece.first(count * page);
                for (k::u64 at = 0; at < part.size(); at += block::sector_bytes)
                    *reinterpret_cast<k::u64*>(part.data() + at) = version;
                const k::u64 under_way =
                    d.device().read_statistics().submitted - d.device().read_statistics().completed;
                if (!c.write(first * page, over(part)).status) wrong++;
                std::memcpy(model.data() + first * page, part.data(), part.size());
                rewritten += under_way != 0;
                if (random.below(4) == 0) lwkt::sleep_for(50 * ktime::microsecond);
            }
            ends = true;
        }));
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT(rewritten > writes / 10); // or this has shown nothing
    EXPECT(c.sync());
    EXPECT_EQ(c.dirty_pages(), 0u);
    EXPECT_EQ(d->fallen.load(), 0u);
    bool newest = true;
    for (k::u64 at = 0; at < model.size(); at += block::sector_bytes)
        newest &= !std::memcmp(d->content.data() + at, model.data() + at, sizeof(k::u64));
    EXPECT(newest);
}

// How many requests write-back makes, and how many are under way at once: neighbours share one as far as it can carry
// them, and what lies apart does not wait for each other.
SELFTEST(block, neighbours_share_a_request_and_others_go_together) {
    constexpr k::u64 pages = 128, carries = 8; // pages a request
    known_disk d(pages * 8, true);
    support::buffer data(page);
    REQUIRE(d && data);
    d->change_limits() = {.segments = carries, .segment_bytes = page};
    block::cache& c = d.device().cache();
    for (k::u64 i = 0; i < pages; i++) // one after the other, as a program writes
        EXPECT(c.write(i * page, over(data.bytes())).status);
    EXPECT(c.write_back());
    EXPECT_EQ(d->writes.load(), pages / carries);
    d->writes = d->most_waiting = 0;
    for (k::u64 i = 0; i < pages; i += 2)
        EXPECT(c.write(i * page, over(data.bytes())).status);
    EXPECT(c.write_back());
    EXPECT_EQ(d->writes.load(), pages / 2);
    EXPECT(d->most_waiting.load() >= block::gather::most_requests / 2);
    EXPECT_EQ(c.dirty_pages(), 0u);
}

SELFTEST(block, gathered_writes_arrive_merged_and_tell_what_failed) {
    constexpr k::u64 sectors = 400;
    struct told {
        k::u64 good = 0, bad = 0;
        static void ended(k::u64 offset, k::u64 bytes, k::status status, void* argument) {
            auto& self = *static_cast<told*>(argument);
            (status ? self.good : self.bad) += bytes;
            EXPECT(status || (offset <= 100 * 512 && offset + bytes > 100 * 512));
        }
    } sum;
    known_disk d(sectors, true);
    support::buffer data(sectors * 512), zeroes(512);
    REQUIRE(d && data && zeroes);
    support::fill_pattern(data.bytes(), selftest::seed());
    auto g = mem::make_box<block::gather>(d.device(), told::ended, &sum);
    REQUIRE(g);
    for (k::u64 s = 0; s < sectors; s += 2)
        g->write(s * 512, over(data.bytes().subspan(s * 512, 1024)));
    EXPECT_EQ(d->writes.load(), 0u);
    g->finish();
    EXPECT_EQ(sum.good, sectors * 512);
    EXPECT(d->writes.load() <= sectors / 16 + 1); // 8 segments of up to 8 KiB
    EXPECT(support::same_bytes(d->content.bytes(), data.bytes()));
    sum.good = 0;
    d->bad_sector = 100;
    for (k::u64 s = 0; s < sectors; s += 4) // apart, and more than fit at once
        g->write(s * 512, over(zeroes.bytes()));
    g->finish();
    EXPECT_EQ(sum.bad, 512u);
    EXPECT_EQ(sum.good, (sectors / 4 - 1) * 512);
}

SELFTEST(block, a_write_back_that_fails_is_told_and_tried_again) {
    known_disk d(64);
    support::buffer data(page);
    REQUIRE(d && data);
    block::cache& c = d.device().cache();
    support::fill_pattern(data.bytes(), 1);
    EXPECT(c.write(0, over(data.bytes())).status);
    d->writes_fail = true;
    EXPECT(!c.write_back());
    EXPECT_EQ(c.sync().error(), k::error::io);
    EXPECT_EQ(c.dirty_pages(), 1u);
    d->writes_fail = false;
    EXPECT(c.sync()); // what failed before has been told
    EXPECT(support::same_bytes(d->content.first(page), data.bytes()));
    // One that nobody has heard of yet is told even if all is well now.
    EXPECT(c.write(0, over(data.bytes())).status);
    d->writes_fail = true;
    EXPECT(!c.write_back());
    d->writes_fail = false;
    EXPECT_EQ(c.sync().error(), k::error::io);
    EXPECT(c.sync());
}

SELFTEST(block, a_bad_sector_is_no_good_page) {
    known_disk d(64 * 8);
    support::buffer data(page);
    REQUIRE(d && data);
    d->bad_sector = 5 * 8 + 2;
    block::cache& c = d.device().cache();
    xio::sink to = into(data.bytes());
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(c.read(5 * page, to).status.error(), k::error::io);
        EXPECT(c.read(4 * page, to).status);
        EXPECT(c.read(6 * page, to).status);
        EXPECT_EQ(c.write(5 * page + 1, over(data.first(10))).status.error(), k::error::io);
    }
    d->bad_sector = ~k::u64{0};
    EXPECT(c.read(5 * page, to).status);
}
