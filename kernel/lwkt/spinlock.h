// Spinlocks, for the few short pieces of state that several CPUs share. Holding one is a critical section;
// the holder must not block, must not send to a CPU and wait, and should be done in some dozens of instructions.
#pragma once

#include "kernel/lib/annotations.h"
#include "kernel/lwkt/critical.h"

namespace lwkt {

class CAPABILITY("spinlock") spinlock {
  public:
    constexpr spinlock() = default;
    spinlock(const spinlock&) = delete;
    spinlock& operator=(const spinlock&) = delete;

  private:
    friend class spin_guard;
    void lock() noexcept ACQUIRE() {
        if (taken_.exchange(true, std::memory_order_acquire)) [[unlikely]]
            spin();
    }
    void spin() noexcept; // until it is ours (contention.cc)
    void unlock() noexcept RELEASE() { taken_.store(false, std::memory_order_release); }

    std::atomic<bool> taken_ = false;
};

class [[nodiscard]] SCOPED_CAPABILITY spin_guard {
  public:
    explicit spin_guard(spinlock& lock) noexcept ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
    ~spin_guard() RELEASE() { lock_.unlock(); }

  private:
    critical section_; // entered before the lock is taken, left after it is given up
    spinlock& lock_;
};

} // namespace lwkt
