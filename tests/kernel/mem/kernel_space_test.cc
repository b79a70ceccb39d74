// kernel/mem/kernel_space: ranges that merge, stacks above a guard page, windows over scattered pages.
#include "kernel/mem/kernel_space.h"

#include "kernel/lib/random.h"
#include "kernel/mem/slab.h"
#include "tests/kernel/lwkt/crew.h"

#include <algorithm>
#include <cstring>

using lwkt_test::crew;
using mem::stack;
using mem::va_arena;
using mem::va_range;
using mem::window;

namespace {

constexpr arch::vaddr arena_base = 0x10000000;
constexpr std::size_t arena_pages = 256;

bool can_read(arch::vaddr at) {
    char byte;
    return arch::memory::copy_catching(&byte, reinterpret_cast<const void*>(at), 1) == 0;
}
bool can_write(arch::vaddr at) {
    const char byte = 1;
    return arch::memory::copy_catching(reinterpret_cast<void*>(at), &byte, 1) == 0;
}

} // namespace

SELFTEST(mem, address_ranges_fit_a_model_and_merge_to_one) {
    constexpr unsigned slots = 40;
    va_arena arena;
    REQUIRE(arena.initialise(arena_base, arena_pages));
    bool taken[arena_pages] = {};
    va_range* held[slots] = {};
    k::random random(selftest::seed());
    for (unsigned i = 0; i < 4000; i++) {
        va_range*& slot = held[random.below(slots)];
        if (slot) {
            const std::size_t first = (slot->base - arena_base) >> arch::page_shift;
            EXPECT_EQ(static_cast<std::size_t>(std::count(taken + first, taken + first + slot->pages, true)),
                      slot->pages);
            std::fill_n(taken + first, slot->pages, false);
            arena.release(std::exchange(slot, nullptr));
            continue;
        }
        const std::size_t pages = 1 + random.below(16);
        slot = arena.allocate(pages);
        // First fit: it lies where the model has the first gap that is large enough, or there is none.
        const bool* gap = std::search_n(taken, taken + arena_pages, static_cast<int>(pages), false);
        EXPECT_EQ(slot != nullptr, gap != taken + arena_pages);
        if (!slot) continue;
        EXPECT_EQ(slot->pages, pages);
        EXPECT_EQ(slot->base, arena_base + (static_cast<std::size_t>(gap - taken) << arch::page_shift));
        std::fill_n(taken + (gap - taken), pages, true);
    }
    for (va_range*& slot : held)
        if (slot) arena.release(slot);
    va_range* whole = arena.allocate(arena_pages); // one range again
    REQUIRE(whole);
    EXPECT_EQ(whole->base, arena_base);
    EXPECT(!arena.allocate(1));
    mem::destroy(whole);
}

SELFTEST(mem, a_stack_is_usable_and_ends_in_a_guard_page) {
    auto made = stack::create();
    REQUIRE(made);
    const arch::vaddr base = made->base();
    EXPECT(k::is_aligned(base, arch::vaddr{arch::page_size}));
    std::memset(reinterpret_cast<void*>(base), 0x77, stack::size);
    EXPECT(can_read(base) && can_write(base + stack::size - 1));
    EXPECT(!can_read(base - 1));
    EXPECT(!can_write(base - arch::page_size));
    // A copy that runs down into the guard from above stops at its first byte beyond the stack.
    char bytes[64] = {};
    const std::size_t left =
        arch::memory::copy_catching(reinterpret_cast<void*>(base - sizeof bytes), bytes, sizeof bytes);
    EXPECT_EQ(left, sizeof bytes);
    char seen[2 * sizeof bytes];
    const std::size_t missing = arch::memory::copy_catching(
        seen, reinterpret_cast<const void*>(base + stack::size - sizeof bytes), sizeof bytes);
    EXPECT_EQ(missing, 0u);
    EXPECT_EQ(seen[0], 0x77);
}

SELFTEST(mem, a_stack_that_is_gone_is_not_mapped_any_more) {
    arch::vaddr base;
    {
        auto made = stack::create();
        REQUIRE(made);
        base = made->base();
        EXPECT(can_write(base));
    }
    EXPECT(!can_read(base));
}

SELFTEST(mem, stacks_made_and_ended_on_all_cpus_do_not_overlap) {
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        stack held[4];
        k::u64 marks[4] = {};
        for (unsigned i = 0; i < 40; i++) {
            const auto which = random.below(4);
            if (held[which]) {
                EXPECT_EQ(*reinterpret_cast<k::u64*>(held[which].base()), marks[which]);
                held[which] = stack();
                continue;
            }
            auto made = stack::create();
            if (!made) continue;
            held[which] = std::move(*made);
            marks[which] = random.next();
            auto* at = reinterpret_cast<k::u64*>(held[which].base());
            std::fill_n(at, stack::size / sizeof *at, marks[which]);
        }
        for (unsigned i = 0; i < 4; i++)
            if (held[i]) EXPECT_EQ(*reinterpret_cast<k::u64*>(held[i].base()), marks[i]);
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    c.join();
}

SELFTEST(mem, a_window_shows_scattered_pages_in_a_row) {
    constexpr std::size_t count = 8;
    vm::page* pages[count];
    for (vm::page*& p : pages)
        REQUIRE((p = vm::allocate_page(vm::page_use::test, vm::fill::any)));
    std::swap(pages[0], pages[5]);
    std::swap(pages[2], pages[7]);
    {
        auto made = window::create(count);
        REQUIRE(made);
        auto* bytes = static_cast<unsigned char*>(made->data());
        for (std::size_t i = 0; i < count; i++) {
            std::memset(vm::direct(pages[i]), static_cast<int>(i + 1), arch::page_size);
            made->show(i, vm::physical(pages[i]), arch::access::read_write);
        }
        for (std::size_t i = 0; i < count; i++) {
            EXPECT_EQ(bytes[i * arch::page_size], i + 1);
            EXPECT_EQ(bytes[(i + 1) * arch::page_size - 1], i + 1);
        }
        std::memset(bytes + arch::page_size - 4, 0xcc, 8); // over the seam
        EXPECT_EQ(static_cast<unsigned char*>(vm::direct(pages[0]))[arch::page_size - 1], 0xcc);
        EXPECT_EQ(static_cast<unsigned char*>(vm::direct(pages[1]))[3], 0xcc);
        EXPECT_EQ(static_cast<unsigned char*>(vm::direct(pages[1]))[4], 2);
    }
    for (vm::page* p : pages)
        vm::drop(p, vm::hold::reference);
}

SELFTEST(mem, a_window_to_read_cannot_be_written_through) {
    vm::page_ref page = vm::page_ref::allocate(0, vm::page_use::test, vm::fill::zeroed);
    REQUIRE(page);
    arch::vaddr at;
    {
        auto made = window::create(2);
        REQUIRE(made);
        made->show(0, vm::physical(page.get()), arch::access::read);
        at = reinterpret_cast<arch::vaddr>(made->data());
        EXPECT(can_read(at));
        EXPECT(!can_write(at));
        EXPECT(!can_read(at + arch::page_size)); // nothing is shown there
        EXPECT_EQ(*static_cast<char*>(page.data()), 0);
    }
    EXPECT(!can_read(at));
}

// Regression: assigning to a window that was made on another CPU kept the other CPU's number.
SELFTEST(mem, a_window_belongs_to_the_cpu_that_made_what_it_shows) {
    window empty;
    EXPECT(lwkt::hand_over(arch::cpu::count() - 1).has_value());
    auto made = window::create(1);
    if (made) {
        empty = std::move(*made);
        window shown = std::move(empty);
        EXPECT(!can_read(reinterpret_cast<arch::vaddr>(shown.data())));
    }
    EXPECT(made.has_value());
    EXPECT(lwkt::hand_over(0).has_value());
}

SELFTEST(mem, windows_on_all_cpus_at_once_show_what_they_should) {
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + number);
        for (unsigned round = 0; round < 60; round++) {
            const auto count = static_cast<std::size_t>(1 + random.below(6));
            auto made = window::create(count);
            if (!made) continue;
            vm::page_ref pages[6];
            for (std::size_t i = 0; i < count; i++) {
                pages[i] = vm::page_ref::allocate(0, vm::page_use::test);
                if (!pages[i]) return;
                *static_cast<k::u64*>(pages[i].data()) = number * 1000 + i;
                made->show(i, vm::physical(pages[i].get()), arch::access::read_write);
            }
            for (std::size_t i = 0; i < count; i++)
                EXPECT_EQ(*reinterpret_cast<k::u64*>(static_cast<char*>(made->data()) + i * arch::page_size),
                          number * 1000 + i);
            window shown = std::move(*made); // closes before the pages go
        }
    };
    crew c;
    REQUIRE(c.start_everywhere(body, 2));
    c.join();
}
