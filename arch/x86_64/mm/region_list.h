// A short sorted list of runs of physical memory: adding merges, taking away splits. Fixed capacity, for
// it is needed before there is an allocator; when it is full the smallest run is forgotten.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

#include <array>

namespace arch::x86 {

using k::u64;

class region_list {
  public:
    // Both clip what would pass the end of the 64-bit space. Sizes and addresses need no alignment.
    void add(u64 base, u64 size);
    void remove(u64 base, u64 size);

    // Cuts each run to whole pages and to addresses below `limit`, and forgets what is empty then.
    void trim(u64 limit);

    bool contains(u64 base, u64 size) const;
    std::span<const region> view() const { return {runs_.data(), count_}; }
    u64 total() const;

  private:
    void insert(std::size_t at, region run);
    void erase(std::size_t at);

    std::array<region, 64> runs_{};
    std::size_t count_ = 0;
};

} // namespace arch::x86
