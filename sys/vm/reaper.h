// Loans end. Whoever keeps a source beyond a call (a pipe, a queue of messages, a cache) keeps it in a kept_source, and
// what is a loan of some space's memory there is turned into a private copy when it has lasted too long: 500 ms, or
// 50 ms while memory is short. A receiver that was stopped holds nobody's memory.
//
// The loans that a CPU keeps stand on its own shelf, oldest first, under the shelf's lock; a callout looks at the
// shelf while something stands there, and a thread of the machine, the reaper, makes the copies. Nothing wakes up where
// nothing is lent.
//
// A reader works on a slice of its own and may go on with it while the kept source is exchanged.
#pragma once

#include "kernel/lwkt/thread.h"
#include "kernel/time/callout.h"
#include "sys/xio/xio.h"

namespace vm {

class shelf;

constexpr ktime::ns longest_loan = 500 * ktime::millisecond;
constexpr ktime::ns longest_loan_when_short = 50 * ktime::millisecond;

// A source that stays where it is for as long as it takes. One thread at a time uses it; it never blocks. Any context
// but an interrupt's and the log's.
class kept_source {
  public:
    kept_source() = default;
    ~kept_source();
    kept_source(const kept_source&) = delete;
    kept_source& operator=(const kept_source&) = delete;

    // Begins to keep it; to be called once. A range is no such source.
    void keep(xio::source what) noexcept;
    // A part of what was kept, which nobody exchanges. EINVAL if it does not lie inside, or was forgotten.
    k::result<xio::source> slice(k::u64 offset, k::u64 bytes) const noexcept;
    // All of it that was not forgotten, in the same way.
    xio::source all() const noexcept;
    // What lies before the offset will not be asked for again.
    void forget_before(k::u64 offset) noexcept { front_.store(offset, std::memory_order_relaxed); }

  private:
    friend class shelf;

    // The shelf's lock guards what follows it, if it stands on one; else nobody but its owner knows of it.
    shelf* on_ = nullptr; // immutable once kept
    lwkt::list_hook link_;
    bool listed_ = false; // still a loan
    std::atomic<k::u64> front_ = 0;
    k::u64 base_ = 0; // where in what was kept `source_` begins
    xio::source source_;
};

// One more holder of the same bytes or, if they are a loan, a copy of them in pages of the kernel's, which no space is
// charged for. For who will wait with a source where no reaper finds it. ENOMEM, even if that would only be the pages
// that are kept for the kernel. Thread context.
k::result<xio::source> without_loan(const xio::source& from) noexcept;

// Makes copies of all loans that are kept now, whatever their age, as far as memory goes, and waits until that is done.
// Thread context; blocks.
void reap_all_loans() noexcept;

// Boot, once, before anything is kept.
void start_reaper() noexcept;

} // namespace vm
