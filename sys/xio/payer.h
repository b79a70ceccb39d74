// Who pays for pins. Every list is charged to one payer, page by page, sources and sinks apart.
//
// A payer lives as long as its owner wants it and pages are charged to it, whichever is longer: a list may outlive the
// process whose memory it lends.
#pragma once

#include "kernel/lib/panic.h"
#include "kernel/lib/types.h"

#include <atomic>

namespace xio {

class payer {
  public:
    // `gone` is called, on any CPU and in any context that may let go of an xio, once the owner has left and nothing
    // is charged any more. Null: the payer is for ever.
    constexpr explicit payer(void (*gone)(payer&) = nullptr) noexcept : gone_(gone) {}
    payer(const payer&) = delete;
    payer& operator=(const payer&) = delete;

    k::u64 source_pages() const noexcept { return word_.load(std::memory_order_relaxed) & count_mask; }
    k::u64 sink_pages() const noexcept { return word_.load(std::memory_order_relaxed) >> sink_shift & count_mask; }
    // The owner's last use.
    void owner_leaves() noexcept { subtract(owned); }

  private:
    friend class extent_list;
    friend class list_builder;
    // One word: "nothing charged and nobody there" is one comparison.
    static constexpr unsigned sink_shift = 31;
    static constexpr k::u64 count_mask = (k::u64{1} << sink_shift) - 1;
    static constexpr k::u64 owned = k::u64{1} << 62;

    static constexpr k::u64 units(bool sink, k::u64 pages) { return pages << (sink ? sink_shift : 0); }
    void charge(bool sink, k::u64 pages) noexcept { word_.fetch_add(units(sink, pages), std::memory_order_relaxed); }
    void discharge(bool sink, k::u64 pages) noexcept { subtract(units(sink, pages)); }
    void source_becomes_sink(k::u64 pages) noexcept {
        word_.fetch_add(units(true, pages) - units(false, pages), std::memory_order_relaxed);
    }
    void subtract(k::u64 amount) noexcept {
        if (word_.fetch_sub(amount, std::memory_order_acq_rel) == amount && gone_) [[unlikely]]
            gone_(*this);
    }

    std::atomic<k::u64> word_ = owned;
    void (*gone_)(payer&);
};

// For what the kernel lends on its own account.
extern payer kernel_payer;

} // namespace xio
