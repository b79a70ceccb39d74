// drivers/iommu: whatever is opened and closed, a domain's tables say what is open, no more and no less, and what the
// hardware may remember is forgotten before close() is over.
#include "drivers/iommu/domain.h"

#include "drivers/busdma/busdma.h"
#include "kernel/lib/random.h"
#include "kernel/lwkt/thread.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

#include <bit>

namespace {

constexpr k::u64 page = arch::page_size;

// Hardware that remembers all that it was ever allowed, until it is told to forget.
class remembers final : public iommu::forgetter {
  public:
    static constexpr k::u64 pages = 2048;
    k::u8 known[pages] = {};
    k::u64 first_page = 0;
    unsigned times = 0;

    void forget(k::u16 domain, k::u64 first, k::u64 count) noexcept override {
        EXPECT_EQ(unsigned{domain}, 7u);
        times++;
        for (k::u64 i = 0; i < count; i++)
            if (first + i - first_page < pages) known[first + i - first_page] = 0;
    }
    // As hardware does: it looks into the tables at any time.
    void look(iommu::domain& d) {
        for (k::u64 i = 0; i < pages; i++)
            if (!known[i]) known[i] = static_cast<k::u8>(d.permissions((first_page + i) * page));
    }
};

} // namespace

SELFTEST(iommu, a_device_sees_what_is_open_and_no_more) {
    for (unsigned levels : {3u, 4u}) {
        auto hardware = mem::make_box<remembers>();
        REQUIRE(hardware);
        hardware->first_page = (k::u64{1} << (levels == 3 ? 38 : 47)) / page - 700; // across tables of every level
        auto made = iommu::domain::create(*hardware, 7, levels, "a model");
        REQUIRE(made);
        iommu::domain& d = **made;
        const k::u64 base = hardware->first_page * page;
        EXPECT(d.reserve(base, remembers::pages * page));
        struct stretch {
            xio::segment what[2];
            unsigned how;
        } open[24] = {};
        k::random random(selftest::seed());
        for (unsigned round = 0; round < 400; round++) {
            stretch& s = open[random.below(24)];
            lwkt::critical section;
            if (s.how) {
                d.close(s.what, static_cast<iommu::access>(s.how));
                s.how = 0;
            } else {
                s.how = 1 + static_cast<unsigned>(random.below(3));
                for (xio::segment& part : s.what) {
                    part.address = base + random.below((remembers::pages - 40) * page);
                    part.bytes = random.below(6) ? 1 + random.below(30 * page) : 0;
                }
                d.open(s.what, static_cast<iommu::access>(s.how));
            }
            if (random.below(3) == 0) hardware->look(d);
            if (round % 8) continue;
            k::u8 wanted[remembers::pages] = {};
            for (const stretch& o : open)
                for (const xio::segment& part : o.what)
                    for (k::u64 at = part.address / page;
                         o.how && part.bytes && at <= (part.address + part.bytes - 1) / page; at++)
                        wanted[at - hardware->first_page] |= static_cast<k::u8>(o.how);
            unsigned wrong = 0, remembered = 0;
            for (k::u64 i = 0; i < remembers::pages; i++) {
                wrong += d.permissions((hardware->first_page + i) * page) != wanted[i];
                remembered += (hardware->known[i] & ~wanted[i]) != 0;
            }
            EXPECT_EQ(wrong, 0u);
            EXPECT_EQ(remembered, 0u);
        }
        lwkt::critical section;
        for (stretch& s : open)
            if (s.how) d.close(s.what, static_cast<iommu::access>(s.how));
    }
}

SELFTEST(iommu, what_lies_beyond_its_tables_is_refused) {
    auto hardware = mem::make_box<remembers>();
    REQUIRE(hardware);
    auto made = iommu::domain::create(*hardware, 7, 3, "a model");
    REQUIRE(made);
    EXPECT_EQ((*made)->reserve(k::u64{1} << 39, page).error(), k::error::toobig);
    EXPECT_EQ((*made)->reserve((k::u64{1} << 39) - page, 2 * page).error(), k::error::toobig);
    EXPECT((*made)->reserve((k::u64{1} << 39) - page, page));
    EXPECT((*made)->reserve(0, 0));
}

SELFTEST(iommu, pages_of_a_map_are_open_while_it_is_loaded) {
    auto hardware = mem::make_box<remembers>();
    support::page_set<3> pages;
    REQUIRE(hardware && pages.allocate());
    auto made = iommu::domain::create(*hardware, 7, 4, "a model");
    REQUIRE(made);
    iommu::domain& d = **made;
    const busdma::tag tag{.segments = 8, .domain = &d};
    auto pool = busdma::bounce_pool::create(tag, 0);
    REQUIRE(pool);
    auto one = busdma::map::create(tag, **pool), two = busdma::map::create(tag, **pool);
    auto from = xio::source::over_pages(pages.span().first(2), 0, 2 * page);
    auto to = xio::sink::over_pages(pages.span().subspan(1), 100, page);
    REQUIRE(one && two && from && to);
    const auto rights = [&](unsigned i) { return d.permissions(vm::physical(pages[i])); };
    {
        lwkt::critical section;
        EXPECT((*one)->load(*from));
        EXPECT((*two)->load(*to));
        EXPECT_EQ(rights(0), 1u);
        EXPECT_EQ(rights(1), 3u);
        EXPECT_EQ(rights(2), 2u);
        (*one)->unload();
        EXPECT_EQ(rights(0), 0u);
        EXPECT_EQ(rights(1), 2u);
        (*two)->quarantine(); // it may still be written to, and can
        EXPECT_EQ(rights(1), 2u);
        (*two)->device_stopped();
        EXPECT_EQ(rights(1), 0u);
        EXPECT_EQ(rights(2), 0u);
    }
    EXPECT_EQ(hardware->times, 3u);
    auto ring = busdma::memory::create(tag, 3 * page);
    REQUIRE(ring);
    const arch::paddr at = ring->address();
    EXPECT_EQ(d.permissions(at + 2 * page), 3u);
    *ring = busdma::memory();
    EXPECT_EQ(d.permissions(at), 0u);
}
