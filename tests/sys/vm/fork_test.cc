// Fork: both sides see what was there, neither sees what the other writes, and what it costs does not grow.
#include "kernel/selftest/selftest.h"
#include "sys/vm/loan.h"
#include "tests/support/in_space.h"

using namespace tests;
using arch::page_size;
using vm::space;

SELFTEST(fork, each_side_keeps_its_own_writes) {
    auto made = space::create();
    REQUIRE(made);
    space& parent = **made;
    const auto at = fresh(parent, 300);
    for (unsigned i = 0; i < 300; i += 7)
        REQUIRE(put(parent, at + i * page_size, i));
    auto child = parent.fork();
    REQUIRE(child);
    for (unsigned i = 0; i < 300; i += 14)
        EXPECT(put(parent, at + i * page_size, 1000 + i));
    for (unsigned i = 7; i < 300; i += 14)
        EXPECT(put(**child, at + i * page_size, 2000 + i));
    for (unsigned i = 0; i < 300; i += 7) {
        EXPECT_EQ(get(parent, at + i * page_size).value_or(~0u), i % 14 ? i : 1000 + i);
        EXPECT_EQ(get(**child, at + i * page_size).value_or(~0u), i % 14 ? 2000 + i : i);
    }
    EXPECT_EQ(get(**child, at + page_size).value_or(1), 0u);
}

SELFTEST(fork, a_child_that_is_gone_leaves_no_copy_to_make) {
    auto made = space::create();
    REQUIRE(made);
    space& parent = **made;
    const auto at = fresh(parent, 10);
    REQUIRE(put(parent, at, 1));
    const k::u64 before = xio::read_ledger().copied[static_cast<unsigned>(xio::reason::copy_on_write)];
    {
        auto child = parent.fork();
        REQUIRE(child);
    }
    REQUIRE(put(parent, at, 2));
    EXPECT_EQ(xio::read_ledger().copied[static_cast<unsigned>(xio::reason::copy_on_write)], before);
}

SELFTEST(fork, generations_of_spaces_come_apart_page_by_page) {
    k::ref<space> line[6];
    auto first = space::create();
    REQUIRE(first);
    line[0] = *std::move(first);
    const auto at = fresh(*line[0], 6);
    for (unsigned i = 1; i < 6; i++) {
        REQUIRE(put(*line[i - 1], at + i * page_size, i));
        auto next = line[i - 1]->fork();
        REQUIRE(next);
        line[i] = *std::move(next);
    }
    for (unsigned i = 0; i < 6; i++)
        EXPECT(put(*line[i], at, 100 + i));
    for (unsigned i = 0; i < 6; i++) {
        EXPECT_EQ(get(*line[i], at).value_or(0), 100 + i);
        for (unsigned j = 1; j < 6; j++)
            EXPECT_EQ(get(*line[i], at + j * page_size).value_or(~0u), j <= i || j == i + 1 ? j : 0);
    }
}

SELFTEST(fork, split_entries_share_one_object_in_the_child_too) {
    auto made = space::create();
    REQUIRE(made);
    space& parent = **made;
    const auto at = fresh(parent, 9);
    for (unsigned i = 0; i < 9; i++)
        REQUIRE(put(parent, at + i * page_size, i + 1));
    REQUIRE(parent.protect(at + 3 * page_size, 3 * page_size, arch::user_read));
    auto child = parent.fork();
    REQUIRE(child);
    for (unsigned i = 0; i < 9; i++)
        EXPECT_EQ(get(**child, at + i * page_size).value_or(0), i + 1);
    EXPECT(!put(**child, at + 4 * page_size, 0));
    REQUIRE((*child)->unmap(at, 9 * page_size));
    for (unsigned i = 0; i < 9; i++)
        EXPECT_EQ(get(parent, at + i * page_size).value_or(0), i + 1);
}

SELFTEST(fork, what_is_not_to_be_inherited_is_not) {
    auto made = space::create();
    REQUIRE(made);
    space& parent = **made;
    const auto gone = fresh(parent, 2, 0x60'0000'0000), wiped = fresh(parent, 2, 0x61'0000'0000);
    REQUIRE(put(parent, gone, 1) && put(parent, wiped, 2));
    REQUIRE(parent.set_inheritance(gone, 2 * page_size, vm::inheritance::none));
    REQUIRE(parent.set_inheritance(wiped, 2 * page_size, vm::inheritance::zeroed));
    auto child = parent.fork();
    REQUIRE(child);
    EXPECT(!get(**child, gone));
    EXPECT_EQ(get(**child, wiped).value_or(1), 0u);
    EXPECT_EQ(get(parent, wiped).value_or(0), 2u);
}

namespace {

// The cycles of a fork, and of dropping the child; the best of a few.
k::u64 cost_of_fork(space& parent) {
    k::u64 best = ~k::u64{0};
    for (int i = 0; i < 9; i++) {
        const k::u64 start = arch::clock::cycles();
        {
            auto child = parent.fork();
            if (!child) return 0;
        }
        best = std::min(best, arch::clock::cycles() - start);
    }
    return best;
}

} // namespace

// Counted in nodes and pages, which are exact; time is compared loosely, for machines are noisy.
SELFTEST(fork, costs_the_same_however_much_was_touched) {
    auto made = space::create();
    REQUIRE(made);
    space& parent = **made;
    const auto at = fresh(parent, 4096);
    REQUIRE(put(parent, at, 1));
    const k::u64 small = cost_of_fork(parent);
    for (unsigned i = 0; i < 2048; i++)
        REQUIRE(put(parent, at + i * page_size, i));
    const k::u64 nodes = vm::page_tree::nodes_alive();
    auto child = parent.fork();
    REQUIRE(child);
    EXPECT_EQ(vm::page_tree::nodes_alive(), nodes);
    const k::u64 large = cost_of_fork(parent);
    EXPECT(small && large < small * 8);
}
