// arch::user_map: what is mapped is what was entered, whatever the order; the effective right is that of all levels; no
// table is lost. Against an array that is too simple to be wrong.
#include "kernel/lib/random.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/slab.h"
#include "tests/arch/table_frames.h"
#include "tests/support/page_set.h"

#include <algorithm>

using arch::large_page_size;
using arch::page_size;
using arch::user_execute;
using arch::user_read;
using arch::user_write;
using arch::vaddr;
using arch_test::table_frames;

namespace {

constexpr std::size_t large_pages = large_page_size / page_size;

// Windows of addresses, each around a border between tables of some level.
constexpr std::size_t window_pages = 4 * large_pages;
constexpr vaddr windows[] = {
    0,
    (vaddr{1} << 30) - window_pages / 2 * page_size,
    (vaddr{1} << 39) - window_pages / 2 * page_size,
    (vaddr{200} << 39) - window_pages / 2 * page_size,
    k::align_down<vaddr>(arch::user_end, large_page_size) - (window_pages - large_pages) * page_size,
};
constexpr std::size_t model_pages = std::size(windows) * window_pages;

constexpr bool is_user(vaddr va) {
    return va < arch::user_end;
}
constexpr vaddr address_of(std::size_t n) {
    return windows[n / window_pages] + n % window_pages * page_size;
}

// What `may` comes out as: who writes or executes can read.
constexpr unsigned effective(unsigned may) {
    return may ? may | user_read : 0;
}

struct modelled {
    k::u64 frame;
    k::u8 may;
    bool large;
};

class model {
  public:
    model() : pages_(static_cast<modelled*>(mem::allocate(model_pages * sizeof(modelled)))) {
        if (pages_) std::fill_n(pages_, model_pages, modelled{});
    }
    ~model() { mem::free(pages_); }
    explicit operator bool() const { return pages_ != nullptr; }
    modelled& operator[](std::size_t n) { return pages_[n]; }

    // The range, made larger by the large pages at its ends.
    void grow(std::size_t& first, std::size_t& end) {
        if (pages_[first].large) first = k::align_down(first, large_pages);
        if (pages_[end - 1].large) end = k::align_up(end, large_pages);
    }
    void split(std::size_t n) {
        const std::size_t first = k::align_down(n, large_pages);
        if (!pages_[first].large) return;
        for (std::size_t i = 0; i < large_pages; i++)
            pages_[first + i].large = false;
    }

  private:
    modelled* pages_;
};

bool same(const arch::user_map& map, model& expected, std::size_t n) {
    const arch::user_mapping found = map.find(address_of(n));
    const modelled& page = expected[n];
    if (found.access != page.may) return false;
    return !page.may || (found.frame == page.frame && found.large == page.large);
}

struct actor {
    arch::user_map& map;
    model& expected;
    k::random random;

    std::size_t any_page() {
        for (;;) {
            const std::size_t n = random.below(model_pages);
            if (is_user(address_of(n))) return n;
        }
    }
    // A range within one window.
    void any_range(std::size_t& first, std::size_t& end) {
        first = any_page();
        const std::size_t most = k::align_down(first, window_pages) + window_pages - first;
        end = first + 1 + random.below(random.below(4) ? std::min<std::size_t>(most, 20) : most);
        while (!is_user(address_of(end - 1)))
            end--;
    }
    unsigned any_rights() { return 1 + static_cast<unsigned>(random.below(7)); }

    void enter() {
        const std::size_t n = any_page();
        const unsigned may = any_rights();
        const k::u64 frame = random.below(1u << 28) << 12;
        if (!map.enter(address_of(n), frame, may)) return lose_writing();
        expected.split(n);
        expected[n] = {frame, static_cast<k::u8>(effective(may)), false};
    }
    void enter_large() {
        const std::size_t n = k::align_down(any_page(), large_pages);
        if (!is_user(address_of(n + large_pages - 1))) return;
        const unsigned may = any_rights();
        const k::u64 frame = random.below(1u << 19) << 21;
        if (!map.enter_large(address_of(n), frame, may)) return lose_writing();
        for (std::size_t i = 0; i < large_pages; i++)
            expected[n + i] = {frame + i * page_size, static_cast<k::u8>(effective(may)), true};
    }
    void remove() {
        std::size_t first, end;
        any_range(first, end);
        const vaddr va = address_of(first);
        const std::size_t pages = end - first;
        expected.grow(first, end);
        bool any = false;
        for (std::size_t n = first; n < end; n++) {
            any |= expected[n].may != 0;
            expected[n] = {};
        }
        EXPECT_EQ(map.remove(va, pages), any);
    }
    void write_protect() {
        std::size_t first, end;
        any_range(first, end);
        const vaddr va = address_of(first);
        const std::size_t pages = end - first;
        expected.grow(first, end);
        const bool any = take_writing(first, end);
        EXPECT(map.write_protect(va, pages) || !any);
    }
    void write_protect_all() {
        const bool any = take_writing(0, model_pages);
        EXPECT(map.write_protect_all() || !any);
        EXPECT(!map.write_protect_all());
    }

    bool take_writing(std::size_t first, std::size_t end) {
        bool any = false;
        for (std::size_t n = first; n < end; n++) {
            any |= (expected[n].may & user_write) != 0;
            expected[n].may &= static_cast<k::u8>(~user_write);
        }
        return any;
    }

    // After a failure: nothing but writing may be gone.
    void lose_writing() {
        for (std::size_t n = 0; n < model_pages; n++) {
            if (!is_user(address_of(n))) continue;
            const unsigned access = map.find(address_of(n)).access;
            if (access == (expected[n].may & ~unsigned{user_write})) expected[n].may = static_cast<k::u8>(access);
            // The page table of a large page may have been made and nothing entered in it.
        }
    }

    void step() {
        switch (random.below(16)) {
        case 0: return enter_large();
        case 1: return write_protect_all();
        case 2:
        case 3: return write_protect();
        case 4:
        case 5: return remove();
        default: return enter();
        }
    }

    void check_all() {
        for (std::size_t n = 0; n < model_pages; n++) {
            if (!is_user(address_of(n)) || same(map, expected, n)) continue;
            const arch::user_mapping found = map.find(address_of(n));
            selftest::fail(k::where::here(), "at {:x}: frame {:x} access {} large {}, expected {:x} {} {}",
                           address_of(n), found.frame, unsigned{found.access}, unsigned{found.large}, expected[n].frame,
                           unsigned{expected[n].may}, unsigned{expected[n].large});
            return;
        }
    }
};

void random_steps(unsigned rounds, bool starved) {
    table_frames frames;
    model expected;
    arch::user_map map;
    REQUIRE(expected && map.create());
    actor a{map, expected, k::random(selftest::seed() + starved)};
    for (unsigned i = 0; i < rounds && !selftest::failed(); i++) {
        if (starved) table_frames::left = static_cast<unsigned>(a.random.below(3));
        a.step();
        for (unsigned j = 0; j < 8; j++) {
            const std::size_t n = a.any_page();
            EXPECT(same(map, expected, n));
        }
        if (i % 64 == 0) a.check_all();
    }
    a.check_all();
    map.destroy();
}

} // namespace

SELFTEST(user_map, random_changes_agree_with_an_array) {
    random_steps(4000, false);
}

SELFTEST(user_map, without_frames_for_tables_what_is_mapped_stays) {
    random_steps(1000, true);
}

SELFTEST(user_map, an_empty_map_has_one_table_and_nothing_in_it) {
    table_frames frames;
    arch::user_map map;
    REQUIRE(map.create());
    EXPECT_EQ(table_frames::in_use, 1u);
    EXPECT_EQ(unsigned{map.find(0).access}, 0u);
    EXPECT_EQ(unsigned{map.find(arch::user_end).access}, 0u);
    EXPECT_EQ(unsigned{map.find(~vaddr{0}).access}, 0u);
    EXPECT(!map.remove(0, arch::user_end / page_size)); // at once: there is nothing to walk
    EXPECT(!map.write_protect(0, arch::user_end / page_size));
    EXPECT(!map.write_protect_all());
    map.destroy();
    map.destroy();
    EXPECT_EQ(table_frames::in_use, 0u);
    table_frames::left = 0;
    EXPECT(!map.create());
}

SELFTEST(user_map, protecting_all_and_writing_again_touches_no_neighbour) {
    table_frames frames;
    arch::user_map map;
    REQUIRE(map.create());
    constexpr vaddr here = 0x12'3456'7000, neighbour = here + page_size, afar = here + (vaddr{1} << 39);
    for (const vaddr va : {here, neighbour, afar})
        REQUIRE(map.enter(va, va & 0xffff'f000, user_read | user_write));
    EXPECT(map.write_protect_all());
    for (const vaddr va : {here, neighbour, afar})
        EXPECT_EQ(unsigned{map.find(va).access}, unsigned{user_read});
    REQUIRE(map.enter(here, 0x1000, user_read | user_write));
    EXPECT_EQ(unsigned{map.find(here).access}, unsigned{user_read | user_write});
    EXPECT_EQ(unsigned{map.find(neighbour).access}, unsigned{user_read});
    EXPECT_EQ(unsigned{map.find(afar).access}, unsigned{user_read});
    map.destroy();
}

SELFTEST(user_map, a_large_page_comes_and_goes_in_the_place_of_small_ones) {
    table_frames frames;
    arch::user_map map;
    REQUIRE(map.create());
    constexpr vaddr base = 0x4000'0000;
    REQUIRE(map.enter(base + page_size, 0x1000, user_read));
    const unsigned tables = table_frames::in_use;
    for (unsigned i = 0; i < 5; i++) {
        REQUIRE(map.enter_large(base, 0x20'0000, user_read | user_write));
        EXPECT(map.find(base + 5 * page_size).large);
        EXPECT_EQ(map.find(base + 5 * page_size).frame, 0x20'5000u);
        // The table that was here before comes back: none is taken, none lost.
        table_frames::left = 0;
        REQUIRE(map.enter(base + 2 * page_size, 0x9000, user_read | user_execute));
        EXPECT_EQ(map.find(base + 2 * page_size).frame, 0x9000u);
        EXPECT_EQ(map.find(base + 3 * page_size).frame, 0x20'3000u);
        EXPECT_EQ(unsigned{map.find(base + 3 * page_size).access}, unsigned{user_read | user_write});
        EXPECT_EQ(table_frames::in_use, tables);
    }
    map.destroy();
}

// Copies work alike in both ports, once the map is the running thread's.
namespace {

constexpr vaddr first_page = 0x10'0000;

struct copying {
    table_frames frames;
    support::page_set<3> pages;
    arch::user_map map;
    bool good = false;

    // Two pages that may be written, one that may not, then nothing.
    copying() {
        if (!pages.allocate() || !map.create()) return;
        good = true;
        for (unsigned i = 0; i < 3; i++)
            good &= map.enter(first_page + i * page_size, vm::physical(pages[i]),
                              i < 2 ? user_read | user_write : user_read);
        lwkt::critical section;
        lwkt::self().context.set_user(&map, nullptr);
    }
    ~copying() {
        {
            lwkt::critical section;
            lwkt::self().context.set_user(nullptr, nullptr);
        }
        map.destroy();
    }
};

} // namespace

SELFTEST(user_map, copies_stop_at_the_first_page_that_is_not_there) {
    copying c;
    REQUIRE(c.good);
    support::page_set<4> buffer; // one page at a time is enough: what is copied is compared below
    REQUIRE(buffer.allocate());
    std::byte* kernel = buffer.data(0);
    constexpr std::size_t tail = 100;
    std::memset(kernel, 0x5a, page_size);

    // Over the border of two good pages.
    EXPECT_EQ(c.map.copy_out(first_page + page_size - tail, kernel, 2 * tail), 0u);
    EXPECT(c.pages.data(0)[page_size - tail] == std::byte{0x5a} &&
           c.pages.data(0)[page_size - tail - 1] == std::byte{0});
    EXPECT(c.pages.data(1)[tail - 1] == std::byte{0x5a} && c.pages.data(1)[tail] == std::byte{0});
    std::memset(kernel, 0, page_size);
    EXPECT_EQ(c.map.copy_in(kernel, first_page + page_size - tail, 2 * tail), 0u);
    EXPECT(kernel[0] == std::byte{0x5a} && kernel[2 * tail - 1] == std::byte{0x5a});
    EXPECT_EQ(c.map.zero_out(first_page + page_size - 7, 12), 0u);
    EXPECT(c.pages.data(0)[page_size - 7] == std::byte{0} && c.pages.data(1)[4] == std::byte{0});
    EXPECT(c.pages.data(0)[page_size - 8] == std::byte{0x5a} && c.pages.data(1)[5] == std::byte{0x5a});

    // Into the page that may only be read, and out of it into nothing.
    for (const std::size_t before : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{64}}) {
        const vaddr border = first_page + 2 * page_size;
        EXPECT_EQ(c.map.copy_out(border - before, kernel, before + 33), 33u);
        EXPECT_EQ(c.map.zero_out(border - before, before + 33), 33u);
        EXPECT_EQ(c.map.copy_in(kernel, border - before, before + 33), 0u);
        EXPECT_EQ(c.map.copy_in(kernel, border + page_size - before, before + 33), 33u);
    }
    EXPECT_EQ(c.map.copy_in(kernel, first_page, 0), 0u);
}

SELFTEST(user_map, addresses_beyond_user_memory_are_never_touched) {
    copying c;
    REQUIRE(c.good);
    support::page_set<1> last, buffer;
    REQUIRE(last.allocate() && buffer.allocate());
    constexpr vaddr last_page = arch::user_end - page_size;
    REQUIRE(c.map.enter(last_page, vm::physical(last[0]), user_read | user_write));
    std::byte* kernel = buffer.data(0);
    EXPECT_EQ(c.map.copy_in(kernel, arch::user_end - 10, 30), 20u);
    EXPECT_EQ(c.map.copy_out(arch::user_end - 10, kernel, 30), 20u);
    EXPECT_EQ(c.map.zero_out(arch::user_end - 10, 30), 20u);
    EXPECT_EQ(c.map.zero_out(arch::user_end - 10, ~std::size_t{0}), ~std::size_t{0} - 10);
    const vaddr bad[] = {arch::user_end, vaddr{1} << 47, vaddr{1} << 63, reinterpret_cast<vaddr>(kernel),
                         ~vaddr{0} - 8};
    for (const vaddr va : bad) {
        if (va < arch::user_end) continue; // the host's kernel lives there
        EXPECT_EQ(c.map.copy_in(kernel, va, 16), 16u);
        EXPECT_EQ(c.map.copy_out(va, kernel, 16), 16u);
        EXPECT_EQ(c.map.zero_out(va, 16), 16u);
    }
}

SELFTEST(user_map, the_cpu_that_has_a_map_loaded_is_noted) {
    table_frames frames;
    arch::user_map a, b;
    REQUIRE(a.create() && b.create());
    const unsigned here = 1u << arch::cpu::id(); // the test's thread stays on its CPU
    arch::context& mine = lwkt::self().context;
    {
        lwkt::critical section;
        EXPECT_EQ(a.active(), 0u);
        mine.set_user(&a, nullptr);
        EXPECT_EQ(a.active(), here);
        b.activate();
        EXPECT_EQ(a.active(), 0u);
        EXPECT_EQ(b.active(), here);
        arch::user_map::flush_here(0x1000, 1);
        arch::user_map::flush_here(0x1000, 1000);
        arch::user_map::flush_here(0, 0);
        mine.set_user(&a, nullptr);
        EXPECT_EQ(a.active(), here);
    }
    // Kernel threads, the idle one among them, leave it loaded.
    lwkt::sleep_for(1'000'000);
    EXPECT_EQ(a.active(), here);
    {
        lwkt::critical section;
        mine.set_user(nullptr, nullptr);
    }
    EXPECT_EQ(a.active(), 0u);
    a.destroy();
    b.destroy();
}

SELFTEST(memory, a_page_is_zeroed_and_nothing_beside_it) {
    vm::page_ref pages = support::allocate_block(2);
    REQUIRE(pages);
    auto* bytes = static_cast<std::byte*>(pages.data());
    std::memset(bytes, 0xff, pages.size());
    arch::memory::zero_page(bytes + page_size);
    for (std::size_t i = 0; i < pages.size(); i++)
        if (bytes[i] != (i / page_size == 1 ? std::byte{0} : std::byte{0xff}))
            return selftest::fail(k::where::here(), "byte {}", i);
}
