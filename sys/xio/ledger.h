// The copy ledger: every payload byte that a CPU copies is counted here, by reason, on the CPU that copied it.
// "Zero copy" is then a test: the difference of two readings.
#pragma once

#include "sys/xio/platform.h"

#include <string_view>

namespace xio {

// Why bytes were copied.
enum class reason : k::u8 {
    asked,         // copy() from a source to a sink: the caller wanted two of it
    kernel_read,   // out of a source into kernel bytes
    kernel_write,  // from kernel bytes into a sink or a fresh source
    pins_full,     // a page had no room for one more pin
    copy_on_write, // a page that others hold was about to change
    page_in,       // a page was made of bytes that lie elsewhere
    file_read,     // out of a file's pages, to whoever reads
    file_write,    // into a file's pages
    too_small,     // below the threshold from which lending pays
    over_limit,    // the payer has lent too much already
    not_lendable,  // the pages could not be kept as they are: odd, shared or being filled
    loan_ended,    // a loan lasted too long
    bounced,       // a device cannot reach the pages, or not as they lie
};
constexpr unsigned reasons = 13;

// What else happens to xio, for the books.
enum class happening : k::u8 {
    built,         // a list of extents was made
    released,      // and its last holder let go
    bytes_lent,    // bytes put under pins instead of being copied
    mapped,        // windows over scattered pages
    build_refused, // nothing was held in the end: no memory, or a full pin count
};
constexpr unsigned happenings = 5;

struct ledger {
    k::u64 copied[reasons];
    k::u64 count[happenings];

    k::u64 copied_bytes() const {
        k::u64 sum = 0;
        for (k::u64 bytes : copied)
            sum += bytes;
        return sum;
    }
};

// The sum over all CPUs. Exact when nobody is copying. Any context.
ledger read_ledger() noexcept;
std::string_view name_of(reason r);
std::string_view name_of(happening h);

// One CPU's part. Only that CPU adds, in a critical section; others may read meanwhile, hence atomic, but no
// addition needs a locked instruction.
class local_ledger {
  public:
    void copied(reason why, k::u64 bytes) noexcept { add(copied_[static_cast<unsigned>(why)], bytes); }
    void happened(happening what, k::u64 amount) noexcept { add(count_[static_cast<unsigned>(what)], amount); }
    void add_to(ledger& sum) const noexcept;

    static platform::per_cpu<local_ledger> all;

  private:
    static void add(std::atomic<k::u64>& counter, k::u64 amount) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    std::atomic<k::u64> copied_[reasons];
    std::atomic<k::u64> count_[happenings];
};

inline void note_copied(reason why, k::u64 bytes) noexcept {
    platform::critical section;
    local_ledger::all.local().copied(why, bytes);
}
inline void note(happening what, k::u64 amount = 1) noexcept {
    platform::critical section;
    local_ledger::all.local().happened(what, amount);
}

} // namespace xio
