// kernel/mem/page: frames and blocks. None given twice, all come back, free neighbours merge, an empty machine says so.
#include "kernel/mem/page.h"

#include "kernel/lib/random.h"
#include "kernel/mem/kernel_space.h"
#include "tests/kernel/lwkt/crew.h"

#include <algorithm>
#include <cstring>

using lwkt_test::crew;
using vm::fill;
using vm::hold;
using vm::page;
using vm::page_ref;
using vm::page_use;

namespace {

constexpr std::size_t words = arch::page_size / sizeof(k::u64);

k::u64* words_of(const page* p) {
    return static_cast<k::u64*>(vm::direct(p));
}

// Marks a block with a number and says whether all of the marks are (still) there.
void mark(const page* head, k::u64 number) {
    for (std::size_t i = 0; i < std::size_t{1} << head->order(); i++) {
        words_of(head + i)[0] = number + i;
        words_of(head + i)[words - 1] = ~(number + i);
    }
}
bool marked(const page* head, k::u64 number) {
    for (std::size_t i = 0; i < std::size_t{1} << head->order(); i++)
        if (words_of(head + i)[0] != number + i || words_of(head + i)[words - 1] != ~(number + i)) return false;
    return true;
}

bool is_zero(const page* head) {
    const k::u64* at = words_of(head);
    return std::all_of(at, at + (words << head->order()), [](k::u64 word) { return word == 0; });
}

// All that can be had in blocks of one order, chained through their first words.
struct hoard {
    page* first = nullptr;
    k::u64 blocks = 0;

    void take_all(unsigned order) {
        while (page* p = order ? vm::allocate_block(order, page_use::test, fill::any)
                               : vm::allocate_page(page_use::test, fill::any)) {
            *static_cast<page**>(vm::direct(p)) = first;
            first = p;
            blocks++;
        }
    }
    void give_back() {
        while (page* p = first) {
            first = *static_cast<page**>(vm::direct(p));
            vm::drop(p, hold::reference);
            blocks--;
        }
    }
};

k::u64 blocks_to_be_had(unsigned order) {
    vm::drain_page_cache();
    hoard h;
    h.take_all(order);
    const k::u64 blocks = h.blocks;
    h.give_back();
    vm::drain_page_cache();
    return blocks;
}

} // namespace

SELFTEST(mem, a_page_comes_with_one_reference_and_its_use) {
    page_ref p = page_ref::allocate(0, page_use::test);
    REQUIRE(p);
    EXPECT(p->holds.only(hold::reference));
    EXPECT(p->use == page_use::test);
    EXPECT_EQ(p.size(), arch::page_size);
    EXPECT(vm::page_of(p.data()) == p.get());
    EXPECT(vm::page_at(vm::physical(p.get())) == p.get());
    EXPECT(vm::head_of(p.get()) == p.get());
    page_ref moved = std::move(p);
    EXPECT(!p);
    EXPECT(moved->holds.only(hold::reference));
}

SELFTEST(mem, blocks_of_every_order_are_aligned_whole_and_known_to_each_page) {
    for (unsigned order = 0; order <= vm::max_order; order++) {
        page_ref block = page_ref::allocate(order, page_use::test);
        if (!block && order > 9) continue; // a small machine may have no such run
        REQUIRE(block);
        const arch::paddr base = vm::physical(block.get());
        EXPECT(k::is_aligned(base, arch::page_size << order));
        EXPECT_EQ(block.size(), arch::page_size << order);
        const std::size_t count = std::size_t{1} << order;
        for (const std::size_t i : {std::size_t{0}, count / 2, count - 1}) {
            EXPECT(vm::head_of(block.get() + i) == block.get());
            EXPECT_EQ(block.get()[i].order(), order);
            EXPECT(block.get()[i].use == page_use::test);
        }
        std::memset(block.data(), 0x5a, block.size());
    }
}

SELFTEST(mem, a_block_larger_than_any_is_refused) {
    EXPECT(!vm::allocate_block(vm::max_order + 1, page_use::test, fill::any));
    EXPECT(!vm::allocate_block(63, page_use::test, fill::any));
}

SELFTEST(mem, zeroed_pages_are_zero_whoever_had_them_before) {
    constexpr unsigned many = 80; // more than a CPU's cache holds
    page* pages[many];
    for (unsigned round = 0; round < 3; round++) {
        for (page*& p : pages) {
            REQUIRE((p = vm::allocate_page(page_use::test, fill::any)));
            std::memset(vm::direct(p), 0xa5, arch::page_size);
        }
        for (page* p : pages)
            vm::drop(p, hold::reference);
        if (round == 1) lwkt::sleep_for(2 * ktime::millisecond); // the idle thread zeroes some ahead
        for (page*& p : pages) {
            REQUIRE((p = vm::allocate_page(page_use::test, fill::zeroed)));
            EXPECT(is_zero(p));
        }
        for (page* p : pages) {
            std::memset(vm::direct(p), 0xa5, arch::page_size);
            vm::drop(p, hold::reference);
        }
    }
    for (unsigned order = 1; order <= 4; order++) {
        page_ref dirty = page_ref::allocate(order, page_use::test);
        REQUIRE(dirty);
        std::memset(dirty.data(), 0xa5, dirty.size());
        dirty = page_ref();
        page_ref clean = page_ref::allocate(order, page_use::test, fill::zeroed);
        REQUIRE(clean);
        EXPECT(is_zero(clean.get()));
    }
}

SELFTEST(mem, no_frame_is_given_out_twice) {
    constexpr unsigned slots = 64;
    struct slot {
        page* block;
        k::u64 number;
    };
    auto body = [&](unsigned thread) {
        auto* held = static_cast<slot*>(mem::allocate(sizeof(slot) * slots));
        if (!held) return;
        std::fill_n(held, slots, slot{});
        k::random random(selftest::seed() + thread);
        for (unsigned i = 0; i < 3000; i++) {
            slot& s = held[random.below(slots)];
            if (s.block) {
                EXPECT(marked(s.block, s.number));
                vm::drop(std::exchange(s.block, nullptr), hold::reference);
                continue;
            }
            const auto order = random.below(4) ? 0 : static_cast<unsigned>(random.below(5));
            s.block = page_ref::allocate(order, page_use::test).release();
            if (!s.block) continue;
            s.number = random.next();
            mark(s.block, s.number);
        }
        for (unsigned i = 0; i < slots; i++)
            if (held[i].block) {
                EXPECT(marked(held[i].block, held[i].number));
                vm::drop(held[i].block, hold::reference);
            }
        mem::free(held);
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    c.join();
}

// What is held, in a model: a byte a frame. The allocator may give only frames that the model has as free.
SELFTEST(mem, random_traffic_fits_a_model_and_merges_back_to_large_blocks) {
    constexpr unsigned slots = 128;
    const k::u64 frames = arch::memory::frame_limit();
    page_ref model_block = page_ref::allocate(static_cast<unsigned>(std::bit_width((frames - 1) >> arch::page_shift)),
                                              page_use::test, fill::zeroed);
    page_ref slots_block = page_ref::allocate(0, page_use::test, fill::zeroed);
    REQUIRE(model_block && slots_block);
    auto* taken = static_cast<unsigned char*>(model_block.data());
    auto** held = static_cast<page**>(slots_block.data());
    static_assert(slots * sizeof(page*) <= arch::page_size);

    const unsigned large = 8;
    const k::u64 before = blocks_to_be_had(large);
    k::random random(selftest::seed());
    for (unsigned i = 0; i < 6000; i++) {
        page*& slot = held[random.below(slots)];
        const bool giving = slot != nullptr;
        const auto order = static_cast<unsigned>(random.below(7));
        if (!giving) slot = page_ref::allocate(order, page_use::test).release();
        if (!slot) continue;
        const auto first = static_cast<std::size_t>(vm::physical(slot) >> arch::page_shift);
        const std::size_t count = std::size_t{1} << slot->order();
        const unsigned expected = giving ? count : 0;
        EXPECT_EQ(static_cast<unsigned>(std::count(taken + first, taken + first + count, 1)), expected);
        std::fill_n(taken + first, count, static_cast<unsigned char>(!giving));
        if (giving) vm::drop(std::exchange(slot, nullptr), hold::reference);
    }
    for (unsigned i = 0; i < slots; i++)
        if (held[i]) vm::drop(held[i], hold::reference);
    EXPECT_EQ(blocks_to_be_had(large), before);
}

SELFTEST(mem, the_account_of_pages_adds_up_and_knows_each_use) {
    const vm::page_account before = vm::account();
    page_ref one = page_ref::allocate(0, page_use::test);
    page_ref eight = page_ref::allocate(3, page_use::buffer);
    REQUIRE(one && eight);
    const vm::page_account held = vm::account();
    EXPECT_EQ(held.total, before.total);
    const auto test = static_cast<unsigned>(page_use::test), buffer = static_cast<unsigned>(page_use::buffer);
    EXPECT_EQ(held.in_use[test], before.in_use[test] + 1);
    EXPECT_EQ(held.in_use[buffer], before.in_use[buffer] + 8);
    k::u64 sum = held.free + held.cached;
    for (unsigned use = 0; use < vm::page_uses; use++)
        sum += held.in_use[use];
    EXPECT_EQ(sum, held.total);
}

SELFTEST(mem, a_page_freed_on_another_cpu_comes_back) {
    constexpr unsigned many = 200;
    page_ref table = page_ref::allocate(0, page_use::test);
    REQUIRE(table);
    auto** pages = static_cast<page**>(table.data());
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < many; i++)
            REQUIRE((pages[i] = vm::allocate_page(page_use::test, fill::any)));
        auto body = [&](unsigned) {
            for (unsigned i = 0; i < many; i++)
                vm::drop(pages[i], hold::reference);
        };
        crew c;
        REQUIRE(c.start(arch::cpu::count() - 1, body));
        c.join();
    }
    EXPECT_EQ(vm::account().in_use[static_cast<unsigned>(page_use::test)], 1u);
}

// Without memory everything that needs some says so, and goes on when there is some again.
SELFTEST(mem, exhaustion_is_an_error_for_everyone_and_ends) {
    lwkt::reap_threads(0);
    mem::trim_slabs();
    // A place for what the slab allocator still has in hand.
    struct chain {
        chain* next;
    };
    hoard h;
    h.take_all(0);
    EXPECT(h.blocks > 1000);
    EXPECT(!vm::allocate_page(page_use::test, fill::zeroed));
    EXPECT(!vm::allocate_block(3, page_use::test, fill::any));
    chain* objects = nullptr;
    unsigned count = 0;
    for (const std::size_t size : {16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096}) {
        while (void* object = mem::allocate(size)) {
            objects = new (object) chain{objects};
            count++;
        }
        EXPECT(!mem::allocate(size));
    }
    EXPECT(count < 8192); // what was left in slabs that were partly used
    auto never = [](void*) { EXPECT(!"a thread without memory"); };
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        const k::status spawned = lwkt::spawn("no memory", cpu, lwkt::normal_priority, never, nullptr);
        EXPECT(!spawned && spawned.error() == k::error::nomem);
    }
    EXPECT(!mem::stack::create());
    EXPECT(!mem::window::create(3));
    while (chain* object = objects) {
        objects = object->next;
        mem::free(object);
    }
    h.give_back();
    EXPECT(page_ref::allocate(5, page_use::test));
    std::atomic<bool> ran = false;
    auto body = [&](unsigned) { ran.store(true); };
    crew c;
    REQUIRE(c.start(0, body));
    c.join();
    EXPECT(ran.load());
}
