// Benchmarks of the kernel's own operations, counted in the machine's cycles: one an instruction under QEMU's
// -icount shift=0, the time stamp counter elsewhere. Registered like self-tests:
//
//     BENCHMARK(thread_yield, 150) { return bench::per_operation(1000, [] { lwkt::yield(); }); }
//
// The number is the budget in instructions; 0: reported only.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

#include <algorithm>
#include <span>
#include <string_view>

namespace bench {

// What was measured. `per_cycle` values are counted; time values need several CPUs or are too long to count.
struct figure {
    k::u64 value;
    const char* unit = "cycles";
    const char* remark = "";
};

struct benchmark {
    const char* name;
    k::u64 budget;
    figure (*run)();
};

// Runs what matches; one line each: bench NAME VALUE UNIT BUDGET REMARK, tabs between. True if any matched.
bool run_matching(std::string_view glob);

// The median over 31 rounds of `operations` calls, in cycles a call, rounded to the nearest.
template <class Operation> figure per_operation(unsigned operations, Operation operation) {
    constexpr unsigned rounds = 31;
    k::u64 taken[rounds];
    operation(); // first touches are not the subject
    for (k::u64& t : taken) {
        const k::u64 start = arch::clock::cycles();
        for (unsigned i = 0; i < operations; i++)
            operation();
        t = arch::clock::cycles() - start;
    }
    std::sort(taken, taken + rounds);
    return {(taken[rounds / 2] + operations / 2) / operations};
}

// The same in nanoseconds.
template <class Operation> figure ns_per_operation(unsigned operations, Operation operation) {
    figure f = per_operation(operations, operation);
    f.value = f.value * 1000 / (arch::clock::cycles_hz() / 1'000'000);
    f.unit = "ns";
    return f;
}

} // namespace bench

#define BENCHMARK(name_, budget_)                                                                                      \
    static bench::figure bench_##name_();                                                                              \
    static constexpr bench::benchmark bench_entry_##name_{#name_, budget_, bench_##name_};                             \
    [[gnu::used, gnu::retain,                                                                                          \
      gnu::section("benchmarks")]] static constinit const bench::benchmark* const bench_pointer_##name_ =              \
        &bench_entry_##name_;                                                                                          \
    static bench::figure bench_##name_()
