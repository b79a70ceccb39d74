// What user mode and its memory cost below the kernel. Budgets are instructions.
#include "kernel/bench/bench.h"
#include "tests/arch/user_world.h"

using namespace arch_test;

namespace {

constexpr unsigned operations = 1000;
constexpr bench::figure no_figure = {0, "cycles", "no user mode, or no memory"};

} // namespace

// From `syscall` to the next user instruction, with nothing done for it; the loop's jump is counted too.
BENCHMARK(user_null_exit, 100) {
    if (!arch::user_context::supported()) return no_figure;
    table_frames frames;
    user_world w(code("\x0f\x05\xeb\xfc")); // 1: syscall; jmp 1b
    if (!w) return no_figure;
    return bench::per_operation(operations, [&] { (void)w.context.run(); });
}

// The same by an exception and iretq.
BENCHMARK(user_exception_exit, 125) {
    if (!arch::user_context::supported()) return no_figure;
    table_frames frames;
    user_world w(code("\xcc\xeb\xfd")); // 1: int3; jmp 1b
    if (!w) return no_figure;
    return bench::per_operation(operations, [&] { (void)w.context.run(); });
}

BENCHMARK(user_map_enter, 70) {
    table_frames frames;
    arch::user_map map;
    if (!map.create()) return no_figure;
    arch::vaddr va = 0;
    const bench::figure f = bench::per_operation(operations, [&] {
        (void)map.enter(0x1234'0000'0000 + va, 0x1000, arch::user_read | arch::user_write);
        va = (va + arch::page_size) & 0xf'ffff;
    });
    map.destroy();
    return f;
}

BENCHMARK(user_map_remove_one, 0) {
    table_frames frames;
    arch::user_map map;
    if (!map.create()) return no_figure;
    (void)map.enter(0x1234'0000'0000, 0x1000, arch::user_read);
    const bench::figure f = bench::per_operation(operations, [&] { (void)map.remove(0x1234'0000'0000, 1); });
    map.destroy();
    return f;
}

BENCHMARK(user_map_protect_all, 0) {
    table_frames frames;
    arch::user_map map;
    if (!map.create()) return no_figure;
    for (const arch::vaddr va : {code_at, stack_at})
        (void)map.enter(va, 0x1000, arch::user_read | arch::user_write);
    const bench::figure f = bench::per_operation(operations, [&] { (void)map.write_protect_all(); });
    map.destroy();
    return f;
}

BENCHMARK(page_zero, 180) {
    vm::page_ref page = vm::page_ref::allocate(0, vm::page_use::test);
    if (!page) return no_figure;
    return bench::per_operation(operations, [&] { arch::memory::zero_page(page.data()); });
}
