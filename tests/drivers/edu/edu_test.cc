// A real device with 28 bits of address, where the machine has one (-device edu): what it reaches goes as it lies, what
// it does not reach bounces, and both arrive.
#include "drivers/edu/edu.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/thread.h"
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

// With an IOMMU (-device intel-iommu): the device sees the pages of a loaded map, as the map says, and nothing else.
SELFTEST(edu, what_is_in_no_map_is_out_of_reach) {
    edu::device* d = edu::device::found();
    if (!d || !d->limits().domain) return;
    iommu::domain& domain = *d->limits().domain;
    vm::page_ref block = vm::page_ref(vm::allocate_below(d->limits().highest(), 2, vm::page_use::test));
    REQUIRE(block);
    auto* bytes = static_cast<std::byte*>(vm::direct(block.get()));
    const arch::paddr at = vm::physical(block.get());
    constexpr k::u64 page = arch::page_size, some = 512;
    const std::span<std::byte> secret(bytes + page, some);
    const auto refused = [&](arch::paddr where, bool to_memory) {
        const k::u64 before = domain.faults();
        EXPECT(d->copy_unasked(where, some, to_memory));
        const ktime::ns deadline = ktime::after(5 * ktime::second);
        while (domain.faults() == before && ktime::now() < deadline)
            lwkt::sleep_for(ktime::millisecond);
        return domain.faults() > before;
    };
    // What is in its buffer first, so that it would be seen where it does not belong.
    support::fill_pattern({bytes, whole}, 1);
    auto source = xio::source::over_run(block.get(), 0, whole);
    REQUIRE(source);
    EXPECT(d->put(*source));
    support::fill_pattern(secret, 2);
    // Never loaded.
    EXPECT_EQ(domain.permissions(at + page), 0u);
    EXPECT(refused(at + page, true));
    EXPECT(support::has_pattern(secret, 2));
    EXPECT(refused(at + page, false));
    // Loaded to be read: not to be written, and the page beside it not at all.
    busdma::tag limits = d->limits();
    auto pool = busdma::bounce_pool::create(limits, 1);
    REQUIRE(pool);
    auto map = busdma::map::create(limits, **pool);
    REQUIRE(map);
    auto lent = xio::source::over_run(block.get(), page, some);
    auto sink = xio::sink::over_run(block.get(), page, some);
    REQUIRE(lent && sink);
    {
        lwkt::critical section;
        EXPECT((*map)->load(*lent));
    }
    EXPECT_EQ(domain.permissions(at + page), static_cast<unsigned>(iommu::access::read));
    EXPECT(refused(at + page, true));
    EXPECT(refused(at + 2 * page, false));
    EXPECT(support::has_pattern(secret, 2));
    EXPECT(d->copy_unasked(at + page, some, false));
    {
        lwkt::critical section;
        (*map)->unload();
    }
    {
        lwkt::critical section;
        EXPECT((*map)->load(*sink));
    }
    EXPECT(d->copy_unasked(at + page, some, true)); // what it has read a moment ago
    {
        lwkt::critical section;
        (*map)->unload();
    }
    EXPECT(support::has_pattern(secret, 2));
    // Not any more, though it has just been there.
    EXPECT_EQ(domain.permissions(at + page), 0u);
    EXPECT(refused(at + page, false));
    support::fill_pattern(secret, 3);
    EXPECT(refused(at + page, true));
    EXPECT(support::has_pattern(secret, 3));
    k::log("edu: nothing outside of a map was reached, {} times\n", domain.faults());
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
