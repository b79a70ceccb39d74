#include "kernel/mem/fault_injection.h"

namespace mem::fault_injection {

namespace {
std::atomic<k::i64> remaining;
}

namespace detail {
std::atomic<bool> armed;

bool count_down() noexcept {
    if (remaining.fetch_sub(1, std::memory_order_relaxed) != 1) return false;
    armed.store(false, std::memory_order_relaxed);
    return true;
}
} // namespace detail

void fail_nth(k::u64 n) noexcept {
    remaining.store(static_cast<k::i64>(n), std::memory_order_relaxed);
    detail::armed.store(n != 0, std::memory_order_relaxed);
}

bool fired() noexcept {
    return remaining.load(std::memory_order_relaxed) <= 0 && !detail::armed.load(std::memory_order_relaxed);
}

} // namespace mem::fault_injection
