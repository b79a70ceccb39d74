#include "sys/xio/guard.h"

namespace xio::guard {

namespace {

using platform::page;
using platform::pin_kind;

// A page's guard count holds the sources in its lower bits and the sinks above; both have room for all pins.
constexpr k::u32 one_sink = 1u << 20;
[[maybe_unused]] constexpr k::u32 one(pin_kind kind) {
    return kind == pin_kind::source ? 1 : one_sink;
}
[[maybe_unused]] constexpr bool writable(k::u32 count) {
    return count == 0 || count >= one_sink;
}

[[maybe_unused]] platform::spinlock lock; // over the guard counts and the direct map's permissions

template <class Change> void change_each(page* first, k::u64 pages, Change change) {
    platform::spin_guard section(lock);
    for (page* p = first; p != first + pages; p++) {
        if (!platform::guardable(p)) continue;
        k::u32& count = platform::guard_count(p);
        const bool before = writable(count);
        change(count);
        if (writable(count) != before) (void)platform::protect(p, !before);
    }
}

} // namespace

void begin(page* first, k::u64 pages, pin_kind kind) noexcept {
    if constexpr (k::debug_build) change_each(first, pages, [kind](k::u32& count) { count += one(kind); });
}
void end(page* first, k::u64 pages, pin_kind kind) noexcept {
    if constexpr (k::debug_build) change_each(first, pages, [kind](k::u32& count) { count -= one(kind); });
}

} // namespace xio::guard
