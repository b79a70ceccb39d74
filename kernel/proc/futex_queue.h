// The waiters of all futexes, without the memory that they are about: for futex.cc, futex_calls.cc and tests.
#pragma once

#include "kernel/lwkt/wait_queue.h"
#include "kernel/proc/futex.h"

#include <boost/intrusive/list.hpp>
#include <optional>

namespace proc::futexes {

using key = vm::space::word_key;

struct bucket;

// Lives on the stack of the thread that waits.
struct waiter {
    waiter(const futexes::key& what, k::u32 wanted) noexcept : of(what), bits(wanted) {}

    // Guarded by the bucket's lock.
    futexes::key of;
    const k::u32 bits;
    lwkt::list_hook link;
    std::atomic<bucket*> in = nullptr; // changes under the locks of both buckets; read without to find the lock

    lwkt::wait_queue queue;             // its thread only
    std::atomic<bool> woken = false;    // taken out by a waker, who still touches it ...
    std::atomic<bool> released = false; // ... until this is true
};
using waiter_list =
    boost::intrusive::list<waiter, boost::intrusive::member_hook<waiter, lwkt::list_hook, &waiter::link>,
                           boost::intrusive::constant_time_size<false>>;

struct alignas(64) bucket {
    lwkt::spinlock lock;
    waiter_list waiters GUARDED_BY(lock);
};
bucket& bucket_of(const key& k) noexcept;

// The locks of two buckets, which may be one; taken in address order.
class two_buckets {
  public:
    two_buckets(bucket& a, bucket& b) noexcept : first_((&a < &b ? a : b).lock) {
        if (&a != &b) second_.emplace((&a < &b ? b : a).lock);
    }

  private:
    lwkt::spin_guard first_;
    std::optional<lwkt::spin_guard> second_;
};

// Waiters that were taken out; wakes them when it goes. Declare it before the guard.
class woken_list {
  public:
    woken_list() = default;
    ~woken_list();
    // Under the lock of its bucket.
    void take(bucket& from, waiter& w) noexcept;

  private:
    lwkt::critical section_;
    waiter_list list_;
};

// Stands in line, under the bucket's lock if `as_expected()` says yes there. False: it said no.
template <class Test> bool enter(waiter& w, Test as_expected) noexcept {
    bucket& b = bucket_of(w.of);
    lwkt::spin_guard guard(b.lock);
    if (!as_expected()) return false;
    w.in.store(&b, std::memory_order_relaxed);
    b.waiters.push_back(w);
    return true;
}

// Leaves the line. False: a waker took it out already, and is done with it now.
bool leave(waiter& w) noexcept;

// Takes up to `count` waiters with one of the bits out of the line. The lock of the key's bucket is held.
k::u64 take_locked(const key& from, k::u64 count, k::u32 bits, woken_list& woken) noexcept;
// Moves up to `count` waiters into another line. Both locks are held.
k::u64 requeue_locked(const key& from, const key& to, k::u64 count) noexcept;

k::u64 wake(const key& k, k::u64 count, k::u32 bits) noexcept;

} // namespace proc::futexes
