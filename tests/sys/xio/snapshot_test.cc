// Sources over pages that somebody holds as a whole: the same bytes and operations as with a list of pins.
#include "kernel/selftest/selftest.h"
#include "sys/xio/segments.h"
#include "sys/xio/view.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

using xio::source;
using xio::platform::page_size;

namespace {

constexpr unsigned count = 6;

struct held_pages final : xio::page_snapshot {
    support::page_set<count> pages;
    support::buffer bytes{count * page_size}; // the same in a row
    unsigned gone = 0;

    vm::page* page_at(k::u64 index) const noexcept override { return pages[index]; }
    void last_slice_gone() noexcept override { gone++; }
    bool fill() {
        if (!pages.allocate() || !bytes) return false;
        support::fill_pattern(bytes.bytes(), 7);
        for (unsigned i = 0; i < count; i++)
            std::memcpy(pages.data(i), bytes.data() + i * page_size, page_size);
        return true;
    }
    std::span<const std::byte> part(k::u64 offset, k::u64 size) const { return bytes.bytes().subspan(offset, size); }
};

bool shows(const source& from, std::span<const std::byte> bytes) {
    auto flat = source::copy_of(bytes);
    return flat && xio::equal(from, *flat) && xio::equal(*flat, from);
}

} // namespace

SELFTEST(xio_snapshot, its_bytes_are_those_of_its_pages) {
    held_pages held;
    REQUIRE(held.fill());
    const k::u64 lent = xio::kernel_payer.source_pages();
    {
        source whole = source::over_snapshot(held, 100, 5 * page_size, {});
        EXPECT_EQ(xio::kernel_payer.source_pages(), lent + count);
        EXPECT(whole.binding() == xio::binding::pages);
        EXPECT(shows(whole, held.part(100, 5 * page_size)));
        auto part = whole.slice(5000, 9000);
        REQUIRE(part);
        EXPECT(shows(*part, held.part(5100, 9000)));
        source rest = part->clone();
        whole = source();
        source front = rest.split_front(3500);
        EXPECT(shows(front, held.part(5100, 3500)));
        EXPECT(shows(rest, held.part(8600, 5500)));
        auto value = rest.read_value<k::u64>(4090 - 404);
        EXPECT(value && std::memcmp(&*value, held.part(8600 + 4090 - 404, 8).data(), 8) == 0);
        EXPECT_EQ(held.gone, 0u);
    }
    EXPECT_EQ(held.gone, 1u);
    EXPECT_EQ(xio::kernel_payer.source_pages(), lent);
}

SELFTEST(xio_snapshot, it_joins_a_list) {
    held_pages held;
    REQUIRE(held.fill());
    source whole = source::over_snapshot(held, 50, 2 * page_size, {});
    auto flat = source::copy_of(held.part(0, 1000));
    REQUIRE(flat);
    auto both = source::append(*flat, whole);
    auto other = source::append(whole, *flat);
    REQUIRE(both && other);
    whole = source(); // the list has pins of its own
    EXPECT_EQ(held.gone, 1u);
    EXPECT(shows(*both->slice(0, 1000), held.part(0, 1000)));
    EXPECT(shows(*both->slice(1000, 2 * page_size), held.part(50, 2 * page_size)));
    EXPECT(shows(*other->slice(0, 2 * page_size), held.part(50, 2 * page_size)));
}

SELFTEST(xio_snapshot, segments_and_views_cover_it) {
    held_pages held;
    REQUIRE(held.fill());
    source whole = source::over_snapshot(held, 10, 4 * page_size, {});
    k::u64 bytes = 0;
    EXPECT(xio::for_each_segment(whole, {.segment_bytes = 1000}, [&](xio::segment s) {
        EXPECT(s.bytes <= 1000);
        const auto* at = xio::platform::direct(vm::page_at(s.address));
        EXPECT(std::memcmp(at + s.address % page_size, held.part(10 + bytes, s.bytes).data(), s.bytes) == 0);
        bytes += s.bytes;
    }));
    EXPECT_EQ(bytes, 4 * page_size);
    auto view = xio::source_view::map(whole);
    REQUIRE(view);
    EXPECT(support::same_bytes(view->bytes(), held.part(10, 4 * page_size)));
}

SELFTEST(xio_snapshot, nobody_becomes_its_sole_owner) {
    held_pages held;
    REQUIRE(held.fill());
    source whole = source::over_snapshot(held, 0, page_size, {});
    const auto sole = whole.into_sole_sink();
    EXPECT(!sole && sole.error() == k::error::busy);
}
