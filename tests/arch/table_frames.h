// Where the page tables of a test come from, in the place of the kernel's own source for as long as this lives.
#pragma once

#include "arch/common/user_tables.h"
#include "arch/machine.h"
#include "kernel/mem/page.h"
#include "kernel/selftest/selftest.h"

#include <limits>

namespace arch_test {

class table_frames {
  public:
    table_frames() : before_(arch::user_tables::source()) {
        in_use = 0;
        left = std::numeric_limits<unsigned>::max();
        arch::user_map::set_table_source(take, give);
    }
    table_frames(const table_frames&) = delete;
    table_frames& operator=(const table_frames&) = delete;
    ~table_frames() {
        EXPECT_EQ(in_use, 0u);
        arch::user_tables::set_frame_source(before_);
    }

    // How many more there are.
    static inline unsigned left;
    static inline unsigned in_use;

  private:
    static arch::paddr take() {
        if (left == 0) return 0;
        vm::page* p = vm::allocate_page(vm::page_use::page_table, vm::fill::zeroed);
        if (!p) return 0;
        left--;
        in_use++;
        return vm::physical(p);
    }
    static void give(arch::paddr frame) {
        in_use--;
        vm::drop(vm::page_at(frame), vm::hold::reference);
    }

    arch::user_tables::frame_source before_;
};

} // namespace arch_test
