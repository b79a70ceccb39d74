#include "kernel/files/pollable.h"

namespace files {

void watcher::watch(pollable& at) noexcept {
    kassert(!at_);
    at_ = &at;
    lwkt::spin_guard guard(at.lock_);
    at.list_.push_back(*this);
    at.watchers_.fetch_add(1, std::memory_order_relaxed);
}

void watcher::leave() noexcept {
    if (!at_) return;
    pollable& at = *std::exchange(at_, nullptr);
    lwkt::spin_guard guard(at.lock_);
    at.list_.erase(at.list_.iterator_to(*this));
    at.watchers_.fetch_sub(1, std::memory_order_relaxed);
}

void pollable::notify(k::u32 events, lwkt::wake_list& woken) noexcept {
    lwkt::spin_guard guard(lock_);
    for (watcher& w : list_)
        w.fire_(w, events, woken);
}

void pollable::notify_all(k::u32 events) noexcept {
    lwkt::wake_list woken;
    notify(events, woken);
}

} // namespace files
