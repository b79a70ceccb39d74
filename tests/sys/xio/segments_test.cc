// Segments for devices: every limit kept, neighbours joined, nothing begun that cannot be finished.
#include "kernel/selftest/selftest.h"
#include "sys/xio/segments.h"
#include "tests/support/page_set.h"

#include <algorithm>

using xio::segment;
using xio::segment_limits;
using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;

// Byte by byte: when must a new segment begin?
bool begins_segment(k::u64 address, k::u64 previous, k::u64 length, const segment_limits& limits) {
    return address != previous + 1 || (limits.segment_bytes && length == limits.segment_bytes) ||
           (limits.boundary && address % limits.boundary == 0);
}

// The addresses of a list of runs, one after the other.
struct run {
    k::u64 address, bytes;
};

// Compares the walk with the simple model. Says how many segments there are.
k::u64 expect_model(const source& s, std::span<const run> runs, const segment_limits& limits) {
    k::u64 segments = 0, at = 0, used = 0; // the place in `runs`
    segment current{};
    auto next_byte = [&] {
        while (at < runs.size() && used == runs[at].bytes)
            at++, used = 0;
        return at < runs.size() ? runs[at].address + used++ : ~k::u64{0};
    };
    k::u64 byte = next_byte();
    bool same = true;
    auto status = xio::for_each_segment(s, limits, [&](segment seen) {
        current = {byte, 1};
        while ((byte = next_byte()) != ~k::u64{0} &&
               !begins_segment(byte, current.address + current.bytes - 1, current.bytes, limits))
            current.bytes++;
        same = same && seen.address == current.address && seen.bytes == current.bytes;
        segments++;
    });
    EXPECT(status);
    EXPECT(same);
    EXPECT_EQ(byte, ~k::u64{0}); // all of it
    return segments;
}

} // namespace

SELFTEST(xio, segments_join_neighbours_within_the_limits) {
    vm::page_ref block = support::allocate_block(6);
    REQUIRE(block);
    const k::u64 base = vm::physical(block.get());
    // Two runs that meet, one apart, and a page twice.
    vm::page* const pages[] = {block.get() + 1, block.get() + 2, block.get() + 9, block.get() + 9, block.get() + 10};
    const run runs[] = {{base + page + 50, 2 * page - 50}, {base + 9 * page, page}, {base + 9 * page, 2 * page - 3}};
    auto s = source::over_pages(pages, 50, 5 * page - 53);
    REQUIRE(s);
    constexpr k::u64 lengths[] = {0, 1, 7, 512, page, 3 * page}, boundaries[] = {0, 1, 512, page, 65536};
    for (k::u64 segment_bytes : lengths)
        for (k::u64 boundary : boundaries)
            expect_model(*s, runs, {segment_bytes, 0, boundary});
    EXPECT_EQ(expect_model(*s, runs, {}), 3u);
}

SELFTEST(xio, extents_that_lie_together_make_one_segment) {
    vm::page_ref block = support::allocate_block(2);
    REQUIRE(block);
    auto whole = source::over_run(block.get(), 0, 4 * page);
    REQUIRE(whole);
    auto front = whole->slice(0, 5001), back = whole->slice(5001, 4 * page - 5001);
    REQUIRE(front && back);
    auto both = source::append(*front, *back);
    REQUIRE(both);
    const run runs[] = {{vm::physical(block.get()), 4 * page}};
    EXPECT_EQ(expect_model(*both, runs, {}), 1u);
    EXPECT_EQ(expect_model(*both, runs, {512, 0, 0}), 32u);
}

SELFTEST(xio, a_device_that_takes_one_segment_of_a_sector) {
    vm::page_ref block = support::allocate_block(1);
    REQUIRE(block);
    constexpr segment_limits sector{512, 1, 65536};
    struct range {
        k::u64 offset, bytes;
        bool fits;
    };
    constexpr range ranges[] = {{0, 512, true}, {0, 513, false},         {511, 512, true},
                                {100, 1, true}, {page - 256, 512, true}, {0, 0, true}};
    for (const range& r : ranges) {
        auto s = source::over_run(block.get(), r.offset, r.bytes);
        REQUIRE(s);
        unsigned visits = 0;
        auto status = xio::for_each_segment(*s, sector, [&](segment) { visits++; });
        EXPECT_EQ(bool(status), r.fits);
        EXPECT_EQ(visits, r.fits && r.bytes ? 1u : 0u);
        if (!status) EXPECT_EQ(status.error(), k::error::toobig);
    }
}

SELFTEST(xio, no_segment_crosses_64_kib) {
    vm::page_ref block = support::allocate_block(6); // 256 KiB, aligned
    REQUIRE(block);
    const k::u64 base = vm::physical(block.get());
    auto s = source::over_run(block.get(), 65536 - 10, 65536 + 20);
    REQUIRE(s);
    const run runs[] = {{base + 65526, 65556}};
    EXPECT_EQ(expect_model(*s, runs, {0, 0, 65536}), 3u);
    EXPECT_EQ(expect_model(*s, runs, {65536, 0, 0}), 2u);
}

SELFTEST(xio, too_many_segments_are_refused_before_the_first) {
    support::page_set<5> pages;
    REQUIRE(pages.allocate());
    auto s = source::over_pages(pages.span(), 0, 5 * page);
    REQUIRE(s);
    k::u64 count = 0;
    EXPECT(xio::for_each_segment(*s, {page, 0, 0}, [&](segment) { count++; }));
    EXPECT_EQ(count, 5u);
    unsigned visits = 0;
    auto refused = xio::for_each_segment(*s, {page, 4, 0}, [&](segment) { visits++; });
    EXPECT(!refused && refused.error() == k::error::toobig);
    EXPECT_EQ(visits, 0u);
    EXPECT(xio::for_each_segment(*s, {page, 5, 0}, [&](segment) { visits++; }));
    EXPECT_EQ(visits, 5u);
}

SELFTEST(xio, sinks_have_segments_too) {
    vm::page_ref block = support::allocate_block(1);
    REQUIRE(block);
    auto to = xio::sink::over_run(block.get(), 1, 2 * page - 1);
    REQUIRE(to);
    segment seen{};
    EXPECT(xio::for_each_segment(*to, {0, 1, 0}, [&](segment s) { seen = s; }));
    EXPECT_EQ(seen.address, vm::physical(block.get()) + 1);
    EXPECT_EQ(seen.bytes, 2 * page - 1);
}
