// Resource limits (getrlimit(2)), a pair of numbers each. What is enforced, and by whom, stands at each name.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"

namespace proc {

enum class resource : k::u8 {
    cpu,           // seconds of CPU time: SIGXCPU, then SIGKILL, by process_timers
    file_size,     // kept, not enforced
    data,          // private writable memory: the space's map() and brk
    stack,         // where growth of the main stack ends; set by exec
    core,          // kept: there are no core files
    resident,      // kept, as in Linux
    processes,     // threads of a user: fork and clone
    files,         // descriptors lie below it
    locked,        // bytes: mlock
    address_space, // the space's map()
    locks,         // kept
    signals,       // queued signals of a user
    queues,        // kept
    nice,          // kept
    real_time,     // kept
    real_time_us,  // kept
};
constexpr unsigned resources = 16;
constexpr k::u64 unlimited = ~k::u64{0};

// struct rlimit64.
struct limit {
    k::u64 soft, hard;
};

// A process's limits. Any of its threads, and prlimit64() of others, may change them.
class limits {
  public:
    limits() noexcept; // those of the first process
    limits(const limits& parents) noexcept;
    limits& operator=(const limits&) = delete;

    limit get(resource what) const noexcept {
        lwkt::spin_guard guard(lock_);
        return values_[static_cast<unsigned>(what)];
    }
    // The number that counts. One plain load, for hot paths.
    k::u64 soft(resource what) const noexcept {
        return soft_[static_cast<unsigned>(what)].load(std::memory_order_relaxed);
    }
    // EINVAL if soft is above hard; EPERM to raise the hard one without privilege.
    k::status set(resource what, limit to, bool privileged) noexcept;
    // Adds one to the soft limit, unless it is not `from` any more. It is below the hard one.
    void raise_soft(resource what, k::u64 from) noexcept;

  private:
    mutable lwkt::spinlock lock_;
    limit values_[resources] GUARDED_BY(lock_);
    std::atomic<k::u64> soft_[resources]; // the same soft ones again
};

} // namespace proc
