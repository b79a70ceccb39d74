// drivers/busdma: whatever a device's limits are, its segments keep them and carry the right bytes; only what it cannot
// take as it lies is copied; nothing is given back before the device has stopped.
#include "drivers/busdma/busdma.h"
#include "kernel/lib/random.h"
#include "kernel/mem/fault_injection.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

#include <algorithm>

using busdma::bounce_pool;
using busdma::map;
using busdma::tag;
using xio::sink;
using xio::source;

namespace {

constexpr k::u64 page = arch::page_size;

k::u64 bounced_bytes() {
    return xio::read_ledger().copied[static_cast<unsigned>(xio::reason::bounced)];
}

// A device with one queue: a tag, a pool and a map.
struct model_device {
    tag t;
    mem::box<bounce_pool> pool;
    mem::box<map> m;

    model_device(const tag& limits, unsigned pages) : t(limits) {
        if (auto made = bounce_pool::create(t, pages)) pool = *std::move(made);
        m = more();
    }
    mem::box<map> more() {
        auto made = pool ? map::create(t, *pool) : k::result<mem::box<map>>(k::error::nomem);
        return made ? *std::move(made) : mem::box<map>();
    }
    explicit operator bool() const { return bool(m); }
};

// Are the segments such as the tag says?
bool keeps_limits(const tag& t, std::span<const busdma::segment> segments) {
    if (segments.size() > t.segments) return false;
    k::u64 sum = 0;
    for (const busdma::segment& s : segments) {
        const k::u64 last = s.address + s.bytes - 1;
        const bool is_first = &s == &segments.front(), is_last = &s == &segments.back();
        sum += s.bytes;
        if (!s.bytes || last > t.highest() || s.address % t.alignment) return false;
        if (t.segment_bytes && s.bytes > t.segment_bytes) return false;
        if (t.boundary && s.address / t.boundary != last / t.boundary) return false;
        if ((!is_first && s.address % t.joint) || (!is_last && (last + 1) % t.joint)) return false;
    }
    return !t.bytes || sum <= t.bytes;
}

// What the device sees there, byte by byte / puts there.
void device_reads(const map& m, std::span<std::byte> to) {
    std::size_t at = 0;
    for (const busdma::segment& s : m.segments())
        for (k::u64 i = 0; i < s.bytes; i++)
            to[at++] = *static_cast<std::byte*>(arch::memory::direct(s.address + i));
    EXPECT_EQ(at, to.size());
}
void device_writes(const map& m, std::span<const std::byte> from) {
    std::size_t at = 0;
    for (const busdma::segment& s : m.segments())
        for (k::u64 i = 0; i < s.bytes; i++)
            *static_cast<std::byte*>(arch::memory::direct(s.address + i)) = from[at++];
    EXPECT_EQ(at, from.size());
}

constexpr unsigned block_order = 4, block_pages = 1u << block_order;

// Pages of two blocks in a random order, neighbours often together.
struct scattered {
    vm::page_ref blocks[2] = {support::allocate_block(block_order), support::allocate_block(block_order)};
    vm::page* pages[24];
    unsigned count = 0;

    explicit operator bool() const { return blocks[0] && blocks[1]; }
    void choose(k::random& random) {
        count = 1 + static_cast<unsigned>(random.below(std::size(pages)));
        for (unsigned i = 0; i < count; i++) {
            const bool goes_on = i && random.below(2) && (pages[i - 1]->place >> 4) + 1u < block_pages;
            pages[i] = goes_on ? pages[i - 1] + 1 : blocks[random.below(2)].get() + random.below(block_pages);
        }
    }
    k::u64 highest_address() const {
        return std::max(vm::physical(blocks[0].get()), vm::physical(blocks[1].get())) + block_pages * page - 1;
    }
};

tag random_tag(k::random& random, k::u64 highest_address) {
    constexpr k::u64 boundaries[] = {0, 0, 4096, 65536, 1 << 20}, joints[] = {1, 1, 4096, 4, 512},
                     lengths[] = {0, 0, 4096, 8192, 65536, 5 * 4096};
    tag t;
    t.alignment = k::u64{1} << random.below(10);
    t.boundary = boundaries[random.below(std::size(boundaries))];
    t.joint = joints[random.below(std::size(joints))];
    t.segment_bytes = lengths[random.below(std::size(lengths))];
    if (t.joint > 1) t.alignment = std::min(t.alignment, t.joint);
    t.bytes = random.below(3) ? 0 : page + random.below(12 * page);
    t.segments = 1 + random.below(40);
    // Sometimes short of some of the pages.
    if (random.below(2)) t.address_bits = static_cast<unsigned>(std::bit_width(highest_address)) - 1;
    return t;
}

} // namespace

SELFTEST(busdma, any_limits_are_kept_and_all_bytes_arrive) {
    k::random random(selftest::seed());
    scattered memory;
    support::buffer seen(24 * page), wanted(24 * page);
    REQUIRE(memory && seen && wanted);
    unsigned loaded = 0, refused = 0, with_bounces = 0;
    auto seen_enough = [&] { return loaded > 50 && refused > 20 && with_bounces > 20; };
    // Few of a kind in the first rounds is chance; none of it in so many more is not.
    for (unsigned round = 0; round < 300 || (round < 3000 && !seen_enough()); round++) {
        const tag t = random_tag(random, memory.highest_address());
        REQUIRE(t.is_sound());
        model_device d(t, 24);
        REQUIRE(d);
        memory.choose(random);
        const std::span pages(memory.pages, memory.count);
        const k::u64 offset = random.below(3) ? random.below(8) * 512 : random.below(page);
        const k::u64 size = 1 + random.below(memory.count * page - offset);
        auto from = source::over_pages(pages, offset, size);
        auto to = sink::over_pages(pages, offset, size);
        REQUIRE(from && to);
        lwkt::critical section;
        const k::status fits = d.m->load(*from);
        const k::u64 prefix = busdma::fitting(t, d.pool->size(), *from, 1);
        EXPECT_EQ(bool(fits), prefix == size);
        if (!fits) {
            EXPECT_EQ(fits.error(), k::error::toobig);
            refused++;
            auto part = from->slice(0, prefix);
            REQUIRE(part);
            if (prefix) {
                REQUIRE(d.m->load(*part));
                EXPECT(keeps_limits(t, d.m->segments()));
                d.m->unload();
            }
            continue;
        }
        loaded++;
        EXPECT(keeps_limits(t, d.m->segments()));
        REQUIRE(from->read(0, wanted.first(size)));
        const k::u64 before = bounced_bytes();
        d.m->sync_for_device();
        device_reads(*d.m, seen.first(size));
        EXPECT(support::same_bytes(seen.first(size), wanted.first(size)));
        with_bounces += bounced_bytes() != before;
        d.m->unload();
        REQUIRE(d.m->load(*to));
        d.m->sync_for_device();
        support::fill_pattern(wanted.first(size), random.next());
        // A page that stands there twice keeps what the device wrote last, at both places.
        device_writes(*d.m, wanted.first(size));
        d.m->sync_for_cpu();
        EXPECT(keeps_limits(t, d.m->segments()));
        const bool distinct = [&] {
            for (unsigned i = 0; i < memory.count; i++)
                for (unsigned j = 0; j < i; j++)
                    if (memory.pages[i] == memory.pages[j]) return false;
            return true;
        }();
        if (distinct) {
            REQUIRE(from->read(0, seen.first(size)));
            EXPECT(support::same_bytes(seen.first(size), wanted.first(size)));
        }
        d.m->unload();
    }
    EXPECT(seen_enough());
}

SELFTEST(busdma, a_device_that_reaches_all_copies_nothing) {
    support::page_set<40> pages;
    REQUIRE(pages.allocate());
    model_device d({.segments = 64}, 16);
    REQUIRE(d);
    EXPECT_EQ(d.pool->size(), 0u); // it needs none
    auto from = source::over_pages(pages.span(), 123, 40 * page - 200);
    REQUIRE(from);
    const k::u64 before = xio::read_ledger().copied_bytes();
    lwkt::critical section;
    REQUIRE(d.m->load(*from));
    d.m->sync_for_device();
    d.m->sync_for_cpu();
    d.m->unload();
    EXPECT_EQ(xio::read_ledger().copied_bytes(), before);
}

SELFTEST(busdma, only_the_pages_out_of_reach_are_bounced) {
    scattered memory;
    REQUIRE(memory);
    tag t{.address_bits = static_cast<unsigned>(std::bit_width(memory.highest_address())) - 1, .segments = 64};
    model_device d(t, 32);
    REQUIRE(d);
    vm::page* const pages[] = {memory.blocks[0].get(), memory.blocks[1].get() + 3, memory.blocks[0].get() + 5};
    k::u64 out_of_reach = 0;
    for (vm::page* p : pages)
        if (vm::physical(p) > t.highest()) out_of_reach += page;
    EXPECT(out_of_reach != 0);
    auto from = source::over_pages(pages, 0, 3 * page);
    REQUIRE(from);
    const k::u64 before = bounced_bytes();
    lwkt::critical section;
    REQUIRE(d.m->load(*from));
    d.m->sync_for_device();
    d.m->unload();
    EXPECT_EQ(bounced_bytes() - before, out_of_reach);
}

// Small joints: what lies badly shares bounce pages, and what lies well beside it does not bounce.
SELFTEST(busdma, what_bounces_together_shares_a_page) {
    vm::page_ref block = support::allocate_block(2);
    REQUIRE(block);
    model_device d({.alignment = 4, .segments = 16, .joint = 4}, 4);
    REQUIRE(d);
    auto odd = source::over_run(block.get(), 1, 2 * page + 6); // two pages and two words, the last half of another run
    auto even = source::over_run(block.get() + 3, 8, 514);
    REQUIRE(odd && even);
    auto both = source::append(*odd, *even);
    REQUIRE(both);
    lwkt::critical section;
    const k::u64 before = bounced_bytes();
    REQUIRE(d.m->load(*both));
    EXPECT_EQ(d.pool->left(), 1u); // and the rest, whose words are not those of memory any more
    d.m->sync_for_device();
    EXPECT_EQ(bounced_bytes() - before, 2 * page + 520);
    d.m->unload();
    auto words = source::over_run(block.get(), 0, page + 4);
    auto lies_well = source::append(*even, *words); // the second begins in the middle of a word
    auto good = source::append(*words, *even);      // all words
    REQUIRE(words && lies_well && good);
    REQUIRE(d.m->load(*good));
    EXPECT_EQ(d.m->segments().size(), 2u);
    EXPECT_EQ(d.pool->left(), 4u);
    d.m->unload();
    REQUIRE(d.m->load(*lies_well));
    EXPECT_EQ(d.pool->left(), 2u);
    EXPECT_EQ(d.m->segments()[0].bytes, 512u);
    d.m->unload();
}

SELFTEST(busdma, what_does_not_fit_holds_nothing) {
    support::page_set<9> pages;
    REQUIRE(pages.allocate());
    model_device d({.segments = 2, .segment_bytes = 2048}, 0);
    REQUIRE(d);
    {
        auto from = source::over_pages(pages.span().first(1), 0, page);
        auto longer = source::over_pages(pages.span().first(2), 0, page + 1);
        REQUIRE(from && longer);
        lwkt::critical section;
        EXPECT_EQ(d.m->load(*longer).error(), k::error::toobig);
        EXPECT_EQ(busdma::fitting(d.t, 0, *longer, 512), page);
        REQUIRE(d.m->load(*from));
        d.m->unload();
        REQUIRE(d.m->load(source()));
        EXPECT(d.m->segments().empty());
        d.m->unload();
    }
    for (std::size_t i = 0; i < pages.size(); i++)
        EXPECT(pages[i]->holds.only(vm::hold::reference));
}

namespace {

constexpr k::u64 odd_bytes = 100;

struct queue_of_waiters {
    unsigned order[4] = {};
    unsigned count = 0;
    static void ready(map& m, void* argument) {
        auto& q = *static_cast<queue_of_waiters*>(argument);
        EXPECT(m.is_loaded());
        q.order[q.count++] = static_cast<unsigned>(m.bytes() / odd_bytes);
    }
};
} // namespace

SELFTEST(busdma, loads_wait_in_line_for_bounce_pages) {
    vm::page_ref block = support::allocate_block(3);
    REQUIRE(block);
    model_device d({.alignment = 512, .segments = 64}, 4);
    REQUIRE(d);
    // Pieces that lie badly: each must bounce.
    auto one = source::over_run(block.get(), 1, odd_bytes);
    REQUIRE(one);
    auto two = source::append(*one, *one);
    REQUIRE(two);
    auto three = source::append(*two, *one);
    REQUIRE(three);
    auto first = d.more(), second = d.more(), third = d.more(), fourth = d.more();
    REQUIRE(first && second && third && fourth);
    queue_of_waiters q;
    lwkt::critical section;
    REQUIRE(d.m->load(*three));
    EXPECT_EQ(d.pool->left(), 1u);
    EXPECT_EQ(first->load(*two).error(), k::error::again);
    auto waits = first->load_or_wait(*two, queue_of_waiters::ready, &q);
    REQUIRE(waits && !*waits);
    auto behind = second->load_or_wait(*three, queue_of_waiters::ready, &q);
    REQUIRE(behind && !*behind);
    auto gives_up = third->load_or_wait(*one, queue_of_waiters::ready, &q);
    REQUIRE(gives_up && !*gives_up);
    third->unload();
    EXPECT_EQ(fourth->load(*one).error(), k::error::again);
    d.m->unload(); // there are four again: the first, and not the one behind it
    EXPECT_EQ(q.count, 1u);
    EXPECT_EQ(q.order[0], 2u);
    EXPECT_EQ(fourth->load(*one).error(), k::error::again); // nobody passes who waits
    first->unload();
    EXPECT_EQ(q.count, 2u);
    EXPECT_EQ(q.order[1], 3u);
    second->unload();
    EXPECT_EQ(d.pool->left(), 4u);
}

SELFTEST(busdma, quarantine_keeps_pages_until_the_device_has_stopped) {
    support::page_set<3> pages;
    REQUIRE(pages.allocate());
    model_device d({.segments = 8}, 0);
    REQUIRE(d);
    {
        auto to = sink::over_pages(pages.span(), 0, 3 * page);
        REQUIRE(to);
        lwkt::critical section;
        REQUIRE(d.m->load(*to));
        d.m->quarantine();
    } // the request is over, its sink gone
    EXPECT_EQ(busdma::pages_in_quarantine(), 3u);
    EXPECT_EQ(pages[0]->holds.count(vm::hold::sink_pin), 1u);
    {
        lwkt::critical section;
        *static_cast<volatile std::byte*>(arch::memory::direct(d.m->segments()[0].address)) =
            std::byte{1}; // a late write
        d.m->device_stopped();
    }
    EXPECT_EQ(busdma::pages_in_quarantine(), 0u);
    EXPECT_EQ(pages[0]->holds.count(vm::hold::sink_pin), 0u);
}

SELFTEST(busdma, without_memory_nothing_is_made) {
    const tag t{.address_bits = 32, .alignment = 4, .segments = 40};
    for (k::u64 n = 1; n < 30; n++) {
        mem::fault_injection::fail_nth(n);
        model_device d(t, 8);
        const bool failed = mem::fault_injection::fired();
        mem::fault_injection::fail_nth(0);
        EXPECT_EQ(bool(d), !failed);
        if (!failed) return;
    }
    EXPECT(false);
}

SELFTEST(busdma, shared_memory_lies_within_reach) {
    const tag t{.address_bits = 26};
    auto rings = busdma::memory::create(t, 3 * page);
    REQUIRE(rings);
    EXPECT(rings->address() + 3 * page - 1 <= t.highest());
    EXPECT(support::all_bytes_are({rings->data(), 3 * page}, 0));
    EXPECT(!busdma::memory::create({.address_bits = 13}, 64 * page)); // there is no RAM so low
}
