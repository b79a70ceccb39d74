// Pages of a test's own: single ones or a block, given back when the set goes.
#pragma once

#include "kernel/mem/page.h"

#include <cstring>
#include <span>

namespace support {

// Up to Capacity single pages, in no particular order.
template <std::size_t Capacity> class page_set {
  public:
    page_set() = default;
    page_set(const page_set&) = delete;
    page_set& operator=(const page_set&) = delete;
    ~page_set() { drop_all(); }

    // False without memory.
    [[nodiscard]] bool allocate(std::size_t count = Capacity) {
        while (count_ < count) {
            vm::page* p = vm::allocate_page(vm::page_use::test, vm::fill::zeroed);
            if (!p) return false;
            pages_[count_++] = p;
        }
        return true;
    }

    std::size_t size() const { return count_; }
    vm::page* operator[](std::size_t i) const { return pages_[i]; }
    std::span<vm::page* const> span() const { return {pages_, count_}; }
    std::byte* data(std::size_t i) const { return static_cast<std::byte*>(vm::direct(pages_[i])); }

    // Gives up the set's references; whoever else holds the pages keeps them.
    void drop_all() {
        while (count_)
            vm::drop(pages_[--count_], vm::hold::reference);
    }

  private:
    vm::page* pages_[Capacity] = {};
    std::size_t count_ = 0;
};

// A block of 2^order pages.
inline vm::page_ref allocate_block(unsigned order) {
    return vm::page_ref::allocate(order, vm::page_use::test, vm::fill::zeroed);
}

// Pages that tests hold, in any way, on all CPUs.
inline k::u64 test_pages_in_use() {
    return vm::account().in_use[static_cast<unsigned>(vm::page_use::test)];
}

} // namespace support
