#include "kernel/proc/limits.h"

#include <algorithm>

namespace proc {

namespace {

constexpr limit initial_limit(resource what) {
    switch (what) {
    case resource::stack: return {8u << 20, unlimited};
    case resource::core: return {0, unlimited};
    case resource::processes: return {4096, 4096};
    case resource::files: return {1024, 4096};
    case resource::locked: return {8u << 20, 8u << 20};
    case resource::signals: return {4096, 4096};
    case resource::queues: return {819200, 819200};
    case resource::nice:
    case resource::real_time: return {0, 0};
    default: return {unlimited, unlimited};
    }
}

} // namespace

limits::limits() noexcept {
    for (unsigned i = 0; i < resources; i++) {
        values_[i] = initial_limit(static_cast<resource>(i));
        soft_[i].store(values_[i].soft, std::memory_order_relaxed);
    }
}

limits::limits(const limits& parents) noexcept {
    lwkt::spin_guard guard(parents.lock_);
    for (unsigned i = 0; i < resources; i++) {
        values_[i] = parents.values_[i];
        soft_[i].store(values_[i].soft, std::memory_order_relaxed);
    }
}

k::status limits::set(resource what, limit to, bool privileged) noexcept {
    const auto index = static_cast<unsigned>(what);
    if (to.soft > to.hard) return k::error::inval;
    lwkt::spin_guard guard(lock_);
    if (to.hard > values_[index].hard && !privileged) return k::error::perm;
    values_[index] = to;
    soft_[index].store(to.soft, std::memory_order_relaxed);
    return {};
}

void limits::raise_soft(resource what, k::u64 from) noexcept {
    const auto index = static_cast<unsigned>(what);
    lwkt::spin_guard guard(lock_);
    if (values_[index].soft != from || from >= values_[index].hard) return;
    values_[index].soft++;
    soft_[index].store(from + 1, std::memory_order_relaxed);
}

} // namespace proc
