// Memory of a space that is worth lending, for tests of loans.
#pragma once

#include "sys/vm/loan.h"
#include "tests/support/in_space.h"

namespace tests {

constexpr k::u64 lent_pages = 32, lent_bytes = lent_pages * arch::page_size; // worth lending on any machine

inline k::u64 copied_for(xio::reason why) {
    return xio::read_ledger().copied[static_cast<unsigned>(why)];
}

// Memory of a space, with a number in each page, and ranges over it.
struct lender {
    k::ref<vm::space> s;
    vm::user_address at = 0;
    xio::user_range range{};
    xio::user_ranges ranges{};

    explicit lender(k::u32 first = 100) {
        auto made = vm::space::create();
        if (!made) return;
        s = *std::move(made);
        at = fresh(*s, lent_pages);
        for (unsigned i = 0; i < lent_pages; i++)
            if (!put(*s, at + i * arch::page_size, first + i)) return;
        range = {at, lent_bytes};
        ranges = {s.get(), {&range, 1}};
    }
    k::result<xio::source> lend(xio::stability promise = xio::stability::stable) {
        in_space here(*s);
        return vm::bind_source(*s, xio::source::over_user(ranges), promise);
    }
    // Not by pins.
    k::result<xio::source> lend_as_a_whole() {
        in_space here(*s);
        return vm::bind_source(*s, xio::source::over_user(ranges), xio::stability::stable, 1, 1);
    }
    k::result<xio::sink> lend_to_fill() {
        in_space here(*s);
        return vm::bind_sink(*s, xio::sink::over_user(ranges));
    }
    k::u32 page(unsigned i) { return get(*s, at + i * arch::page_size).value_or(~0u); }
    bool set(unsigned i, k::u32 value) { return put(*s, at + i * arch::page_size, value); }
};

inline k::u32 number_in(const xio::source& from, unsigned page) {
    auto value = from.read_value<k::u32>(page * arch::page_size);
    return value ? *value : ~0u;
}

} // namespace tests
