// What memory costs when it comes from this CPU's caches. Budgets are instructions.
#include "kernel/bench/bench.h"
#include "kernel/mem/kernel_space.h"
#include "kernel/mem/slab.h"

namespace {
constexpr unsigned operations = 1000;
}

BENCHMARK(page_allocate_free, 60) {
    return bench::per_operation(operations, [] { (void)vm::page_ref::allocate(0, vm::page_use::test, vm::fill::any); });
}

BENCHMARK(slab_64_allocate_free, 80) {
    return bench::per_operation(operations, [] { mem::free(mem::allocate(64)); });
}

BENCHMARK(block_64k_allocate_free, 0) {
    return bench::per_operation(operations, [] { (void)vm::page_ref::allocate(4, vm::page_use::test, vm::fill::any); });
}

BENCHMARK(window_16_pages, 0) {
    vm::page_ref page = vm::page_ref::allocate(0, vm::page_use::test);
    if (!page) return {0, "cycles", "no memory"};
    return bench::per_operation(20, [&] {
        auto window = mem::window::create(16);
        for (std::size_t i = 0; window && i < 16; i++)
            window->show(i, vm::physical(page.get()), arch::access::read);
    });
}
