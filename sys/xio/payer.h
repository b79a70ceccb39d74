// Who pays for pins. Every list is charged to one payer, page by page, sources and sinks apart.
#pragma once

#include "kernel/lib/types.h"

#include <atomic>

namespace xio {

class payer {
  public:
    k::u64 source_pages() const noexcept { return pages_[0].load(std::memory_order_relaxed); }
    k::u64 sink_pages() const noexcept { return pages_[1].load(std::memory_order_relaxed); }

  private:
    friend class extent_list;
    friend class list_builder;
    std::atomic<k::u64> pages_[2];
};

// For what the kernel lends on its own account.
extern payer kernel_payer;

} // namespace xio
