// Walks a failing allocation through everything that a thread, a stack, a window and objects need.
#include "kernel/mem/fault_injection.h"

#include "kernel/mem/kernel_space.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/leak_check.h"
#include "tests/kernel/lwkt/crew.h"

#include <algorithm>
#include <iterator>

using mem::fault_injection::fail_nth;
using mem::fault_injection::fired;

namespace {

// Fails the first, the second, ... allocation of the operation until it gets by without. The operation says whether
// it succeeded. Returns how many allocations there were.
template <class Operation> unsigned walk(Operation operation) {
    for (unsigned n = 1; n < 200; n++) {
        (void)selftest::count_resources(); // empty caches: each walk starts alike
        fail_nth(n);
        const bool done = operation();
        const bool failed = fired();
        fail_nth(0);
        if (!failed) {
            EXPECT(done);
            return n - 1;
        }
    }
    EXPECT(!"an operation without end");
    return 0;
}

} // namespace

SELFTEST(mem, the_nth_allocation_fails_and_the_next_does_not) {
    lwkt::critical section; // nothing else allocates here
    fail_nth(3);
    bool got[5];
    for (bool& each : got) {
        void* object = mem::allocate(4096); // of more than a slab's object: one allocation each
        each = object != nullptr;
        mem::free(object);
    }
    EXPECT(got[0] && got[1] && !got[2] && got[3] && got[4]);
    EXPECT(fired());
    fail_nth(1);
    EXPECT(!fired());
    fail_nth(0);
    EXPECT(vm::page_ref::allocate(0, vm::page_use::test));
}

SELFTEST(mem, a_thread_that_finds_no_memory_at_any_step_is_refused_and_leaves_nothing) {
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu += std::max(1u, arch::cpu::count() - 1)) {
        const unsigned steps = walk([&] {
            std::atomic<bool> ran = false;
            const k::status made = lwkt::spawn(
                "walk", cpu, lwkt::normal_priority,
                [](void* ran) { static_cast<std::atomic<bool>*>(ran)->store(true); }, &ran);
            if (!made) EXPECT(made.error() == k::error::nomem);
            if (made) lwkt_test::wait_until([&] { return ran.load(); });
            const k::u64 alive = lwkt::threads_alive();
            return made.has_value() && alive > 0;
        });
        EXPECT(steps >= mem::stack::pages); // small objects may find room in slabs that are there
    }
}

SELFTEST(mem, a_stack_that_finds_no_memory_at_any_step_leaves_nothing) {
    const selftest::resources before = selftest::count_resources();
    const unsigned steps = walk([] {
        auto made = mem::stack::create();
        if (!made) EXPECT(made.error() == k::error::nomem);
        return made.has_value();
    });
    EXPECT(steps >= mem::stack::pages);
    selftest::expect_same_resources(before);
}

SELFTEST(mem, a_window_that_finds_no_memory_at_any_step_leaves_nothing) {
    const selftest::resources before = selftest::count_resources();
    const unsigned steps = walk([] {
        auto made = mem::window::create(5);
        if (!made) EXPECT(made.error() == k::error::nomem);
        return made.has_value();
    });
    EXPECT(steps >= 2);
    selftest::expect_same_resources(before);
}

SELFTEST(mem, objects_that_find_no_memory_at_any_step_are_null) {
    constexpr std::size_t sizes[] = {16, 100, 600, 2000, 5000};
    const unsigned steps = walk([&] {
        void* objects[std::size(sizes)];
        bool all = true;
        for (std::size_t i = 0; i < std::size(sizes); i++)
            all &= (objects[i] = mem::allocate(sizes[i])) != nullptr;
        for (void* object : objects)
            mem::free(object);
        return all;
    });
    EXPECT(steps >= std::size(sizes));
}
