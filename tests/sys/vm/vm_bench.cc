// What spaces cost. Budgets are instructions.
#include "kernel/bench/bench.h"
#include "sys/vm/loan.h"
#include "tests/support/in_space.h"

#include <algorithm>

using namespace tests;
using arch::page_size;
using vm::space;

namespace {

constexpr k::u64 pages = 256, mebibyte = pages * page_size;
constexpr bench::figure failed{0, "failed", "no memory"};

// The median of what `timed` takes, with `before` and `after` around it left out.
template <class Before, class Timed, class After> k::u64 median_of(Before before, Timed timed, After after) {
    k::u64 taken[15];
    for (k::u64& t : taken) {
        before();
        const k::u64 start = arch::clock::cycles();
        timed();
        t = arch::clock::cycles() - start;
        after();
    }
    std::sort(std::begin(taken), std::end(taken));
    return taken[std::size(taken) / 2];
}

bench::figure a_page(k::u64 cycles) {
    return {(cycles + pages / 2) / pages, "cycles", "a page"};
}

// Touches every page of a range.
void touch(space& s, vm::user_address at, k::u8 access) {
    for (k::u64 i = 0; i < pages; i++)
        (void)s.fault(at + i * page_size, access);
}

struct touched_space {
    k::ref<space> s;
    vm::user_address at = 0;
    bool ready() {
        auto made = space::create();
        if (!made) return false;
        s = *std::move(made);
        at = fresh(*s, pages);
        touch(*s, at, arch::user_write);
        return at != 0;
    }
};

} // namespace

BENCHMARK(vm_fault_anonymous, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    vm::user_address at = 0;
    return a_page(median_of([&] { at = fresh(*t.s, pages); }, [&] { touch(*t.s, at, arch::user_write); },
                            [&] { (void)t.s->unmap(at, mebibyte); }));
}

BENCHMARK(vm_unmap_touched, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    vm::user_address at = 0;
    return a_page(median_of(
        [&] {
            at = fresh(*t.s, pages);
            touch(*t.s, at, arch::user_write);
        },
        [&] { (void)t.s->unmap(at, mebibyte); }, [] {}));
}

BENCHMARK(vm_map_unmap, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    return bench::per_operation(200, [&] { (void)t.s->unmap(fresh(*t.s, pages), mebibyte); });
}

BENCHMARK(vm_fork_and_drop, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    return bench::per_operation(20, [&] { (void)t.s->fork(); });
}

BENCHMARK(vm_copy_on_write_fault, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    k::ref<space> child;
    return a_page(median_of([&] { child = *t.s->fork(); }, [&] { touch(*t.s, t.at, arch::user_write); }, [] {}));
}

BENCHMARK(vm_write_again_after_fork, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    return a_page(median_of([&] { (void)t.s->fork(); }, [&] { touch(*t.s, t.at, arch::user_write); }, [] {}));
}

// Lending and releasing, with a writer that touches every page again each time; only the lending is timed.
BENCHMARK(vm_loan_1MiB, 3000) {
    touched_space t;
    if (!t.ready()) return failed;
    xio::user_range range{t.at, mebibyte};
    xio::user_ranges ranges{t.s.get(), {&range, 1}};
    in_space here(*t.s);
    const k::u64 cycles =
        median_of([&] { touch(*t.s, t.at, arch::user_write); },
                  [&] { (void)vm::bind_source(*t.s, xio::source::over_user(ranges), xio::stability::stable); }, [] {});
    return {cycles};
}

BENCHMARK(vm_copy_1MiB, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    xio::user_range range{t.at, mebibyte};
    xio::user_ranges ranges{t.s.get(), {&range, 1}};
    in_space here(*t.s);
    auto room = xio::sink::fresh(mebibyte);
    if (!room) return failed;
    const auto from = xio::source::over_user(ranges);
    return bench::per_operation(3, [&] { (void)xio::copy_some(from, *room); });
}

BENCHMARK(vm_write_after_loan, 0) {
    touched_space t;
    if (!t.ready()) return failed;
    xio::user_range range{t.at, mebibyte};
    xio::user_ranges ranges{t.s.get(), {&range, 1}};
    in_space here(*t.s);
    return a_page(
        median_of([&] { (void)vm::bind_source(*t.s, xio::source::over_user(ranges), xio::stability::stable); },
                  [&] { touch(*t.s, t.at, arch::user_write); }, [] {}));
}

BENCHMARK(vm_deliver_1MiB, 0) {
    touched_space from, to;
    if (!from.ready() || !to.ready()) return failed;
    xio::user_range range{from.at, mebibyte}, target{to.at, mebibyte};
    xio::user_ranges ranges{from.s.get(), {&range, 1}}, targets{to.s.get(), {&target, 1}};
    k::result<xio::source> lent = k::error::inval;
    {
        in_space here(*from.s);
        lent = vm::bind_source(*from.s, xio::source::over_user(ranges), xio::stability::stable);
    }
    if (!lent) return failed;
    in_space here(*to.s);
    return bench::per_operation(3, [&] {
        auto sink = xio::sink::over_user(targets);
        (void)vm::deliver(*to.s, sink, *lent);
    });
}
