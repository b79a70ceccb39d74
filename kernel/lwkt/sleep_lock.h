// A lock that its holder keeps while it sleeps: for what must stay as it is across a wait, where a token would be given
// up. One holder; who wants it sleeps. Thread context.
#pragma once

#include "kernel/lwkt/contention.h"
#include "kernel/lwkt/wait_queue.h"

namespace lwkt {

class CAPABILITY("sleep lock") sleep_lock {
  public:
    sleep_lock() = default;
    ~sleep_lock() { kassert(state_.load(std::memory_order_relaxed) == free); }
    sleep_lock(const sleep_lock&) = delete;
    sleep_lock& operator=(const sleep_lock&) = delete;

  private:
    friend class sleep_hold;
    friend class sleep_attempt;
    enum : k::u8 { free, held, wanted };

    void lock() noexcept ACQUIRE() {
        k::u8 seen = free;
        if (state_.compare_exchange_strong(seen, held, std::memory_order_acquire)) [[likely]]
            return;
        note_wait(waited_for::sleep_lock);
        // Who has waited does not know whether others still do, and says that they might.
        waiters_.wait([this] { return state_.exchange(wanted, std::memory_order_acquire) == free; });
    }
    bool try_lock() noexcept {
        k::u8 seen = free;
        return state_.compare_exchange_strong(seen, held, std::memory_order_acquire);
    }
    void unlock() noexcept RELEASE() {
        if (state_.exchange(free, std::memory_order_release) == wanted) waiters_.wake_one();
    }

    std::atomic<k::u8> state_ = free;
    wait_queue waiters_;
};

class [[nodiscard]] SCOPED_CAPABILITY sleep_hold {
  public:
    explicit sleep_hold(sleep_lock& lock) noexcept ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
    ~sleep_hold() RELEASE() { lock_.unlock(); }
    sleep_hold(const sleep_hold&) = delete;
    sleep_hold& operator=(const sleep_hold&) = delete;

  private:
    sleep_lock& lock_;
};

// Holds a lock if nobody else does; true then. For what may be left undone: nothing that the lock guards.
class [[nodiscard]] sleep_attempt {
  public:
    explicit sleep_attempt(sleep_lock& lock) noexcept NO_THREAD_SAFETY_ANALYSIS
        : lock_(lock.try_lock() ? &lock : nullptr) {}
    ~sleep_attempt() NO_THREAD_SAFETY_ANALYSIS {
        if (lock_) lock_->unlock();
    }
    sleep_attempt(const sleep_attempt&) = delete;
    sleep_attempt& operator=(const sleep_attempt&) = delete;
    explicit operator bool() const noexcept { return lock_; }

  private:
    sleep_lock* const lock_;
};

} // namespace lwkt
