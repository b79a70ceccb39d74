// A real device with 28 bits of address, where the machine has one (-device edu): what it reaches goes as it lies, what
// it does not reach bounces, and both arrive.
#include "drivers/edu/edu.h"
#include "kernel/lib/log.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

namespace {

constexpr k::u64 whole = edu::device::buffer_bytes;

k::u64 bounced_bytes() {
    return xio::read_ledger().copied[static_cast<unsigned>(xio::reason::bounced)];
}

// Pages of memory on either side of the device's reach.
struct sides {
    vm::page_ref low, high;
    bool find(k::u64 highest) {
        low = vm::page_ref(vm::allocate_below(highest, 0, vm::page_use::test));
        vm::page_ref unwanted[200];
        for (vm::page_ref& p : unwanted) {
            vm::page_ref fresh = vm::page_ref::allocate(0, vm::page_use::test);
            if (fresh && vm::physical(fresh.get()) > highest) {
                high = std::move(fresh);
                break;
            }
            p = std::move(fresh);
        }
        return low && high;
    }
};

void there_and_back(edu::device& d, vm::page* out, vm::page* in, k::u64 offset, k::u64 bytes) {
    const std::span<std::byte> from(static_cast<std::byte*>(vm::direct(out)) + offset, bytes);
    const std::span<std::byte> to(static_cast<std::byte*>(vm::direct(in)) + offset, bytes);
    support::fill_pattern(from, bytes);
    auto source = xio::source::over_run(out, offset, bytes);
    REQUIRE(source);
    EXPECT(d.put(*source));
    std::memset(to.data(), 0, to.size());
    auto sink = xio::sink::over_run(in, offset, bytes);
    REQUIRE(sink);
    EXPECT(d.get(*sink));
    EXPECT(support::has_pattern(to, bytes));
}

} // namespace

SELFTEST(edu, what_lies_too_high_bounces_and_arrives) {
    edu::device* d = edu::device::found();
    if (!d) return;
    sides memory;
    if (!memory.find(d->limits().highest())) return; // a small machine: all of it within reach
    k::u64 before = bounced_bytes();
    there_and_back(*d, memory.low.get(), memory.low.get(), 0, whole);
    there_and_back(*d, memory.low.get(), memory.low.get(), 100, 700);
    EXPECT_EQ(bounced_bytes(), before);
    there_and_back(*d, memory.high.get(), memory.low.get(), 0, whole);
    EXPECT_EQ(bounced_bytes() - before, whole);
    before = bounced_bytes();
    there_and_back(*d, memory.low.get(), memory.high.get(), 8, 1000);
    EXPECT_EQ(bounced_bytes() - before, 1000u);
    k::log("edu: bounced {} bytes as it should\n", whole + 1000);
}

SELFTEST(edu, what_is_too_much_for_it_is_refused) {
    edu::device* d = edu::device::found();
    if (!d) return;
    vm::page_ref block = vm::page_ref::allocate(1, vm::page_use::test);
    REQUIRE(block);
    auto source = xio::source::over_run(block.get(), 0, whole + 1);
    REQUIRE(source);
    EXPECT_EQ(d->put(*source).error(), k::error::inval);
    *source = xio::source();
    EXPECT(block->holds.only(vm::hold::reference));
}
