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
    void show(const void*, std::size_t) noexcept override {}
    // As hardware does: it looks into the tables at any time.
    void look(iommu::domain& d) {
        for (k::u64 i = 0; i < pages; i++)
            if (!known[i]) known[i] = static_cast<k::u8>(d.permissions((first_page + i) * page));
    }
};

// Hardware that does not look into the CPUs' caches: of memory it sees what it was shown, line by line, and of the rest
// what was there before, which is nonsense.
class looks_into_memory final : public iommu::forgetter {
  public:
    static constexpr std::size_t line_bytes = 64, most_lines = 4096;
    unsigned count = 0, shown = 0;

    void forget(k::u16, k::u64, k::u64) noexcept override {}
    void show(const void* at, std::size_t bytes) noexcept override {
        const auto first = k::align_down(reinterpret_cast<std::uintptr_t>(at), line_bytes);
        const auto end = reinterpret_cast<std::uintptr_t>(at) + bytes;
        for (auto here = first; here < end; here += line_bytes) {
            line* l = find(here);
            if (!l && count < most_lines) (l = &lines_[count++])->at = here;
            EXPECT(l);
            if (l) std::memcpy(l->content, reinterpret_cast<const void*>(here), line_bytes);
            shown++;
        }
    }
    // What it finds by walking from the root; ~0: nonsense.
    k::u64 rights(const iommu::domain& d, unsigned levels, arch::paddr at) {
        arch::paddr table = d.tables();
        for (unsigned level = levels;; level--) {
            const auto index = at >> (12 + 9 * (level - 1)) & 511;
            const line* l = find(
                k::align_down(reinterpret_cast<std::uintptr_t>(arch::memory::direct(table)) + index * 8, line_bytes));
            if (!l) return ~k::u64{0};
            const k::u64 entry = l->content[index % 8];
            if (level == 1 || !entry) return entry & 3;
            table = entry & 0x000f'ffff'ffff'f000;
        }
    }

  private:
    struct line {
        std::uintptr_t at;
        k::u64 content[line_bytes / 8];
    };
    line* find(std::uintptr_t at) {
        for (line& l : std::span(lines_, count))
            if (l.at == at) return &l;
        return nullptr;
    }
    line lines_[most_lines];
};

} // namespace

// All that it may look at is shown to it, new tables whole, and of changes no more than their lines.
SELFTEST(iommu, a_unit_that_sees_no_caches_is_shown_all) {
    for (unsigned levels : {3u, 4u}) {
        auto hardware = mem::make_box<looks_into_memory>();
        REQUIRE(hardware);
        auto made = iommu::domain::create(*hardware, 7, levels, "a model");
        REQUIRE(made);
        iommu::domain& d = **made;
        const arch::paddr base = 0x1'3fe0'0000; // across tables of the last two levels
        EXPECT_EQ(hardware->rights(d, levels, base), 0u);
        EXPECT(d.reserve(base, 600 * page));
        EXPECT_EQ(hardware->rights(d, levels, base + 599 * page), 0u);
        const xio::segment parts[] = {{base + 5 * page, 16 * page}, {base + 510 * page + 100, 4 * page}};
        lwkt::critical section;
        for (bool opens : {true, false}) {
            const unsigned before = hardware->shown;
            opens ? d.open(parts, iommu::access::write) : d.close(parts, iommu::access::write);
            EXPECT_EQ(hardware->shown - before, 3u + 2u); // lines of eight pages
            unsigned wrong = 0;
            for (unsigned i = 0; i < 600; i++) {
                const bool is_open = opens && ((i >= 5 && i < 21) || (i >= 510 && i < 515));
                wrong += hardware->rights(d, levels, base + i * page) != (is_open ? 2u : 0u);
            }
            EXPECT_EQ(wrong, 0u);
        }
    }
}

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
