// Threads taken out of wait queues by somebody who holds a spinlock, to be woken after it.
//
// A thread that was taken out stays where it is until it is woken: its queue may go meanwhile, the thread may not.
#pragma once

#include "kernel/lwkt/wait_queue.h"

namespace lwkt {

// Wakes what it holds when it goes. Declare it before the guard of the lock; a critical section all the while. Not in
// an IPI function.
class wake_list {
  public:
    wake_list() = default;
    ~wake_list() {
        while (!list_.empty()) {
            thread& t = list_.front();
            list_.pop_front(); // before it runs: its link is its own again then
            wake(t);
        }
    }

    // All threads that wait there now. Under any spinlock.
    void take_all(wait_queue& from) noexcept {
        spin_guard guard(from.lock_);
        for (thread& t : from.list_)
            t.waiting_in = nullptr;
        list_.splice(list_.end(), from.list_);
    }

  private:
    critical section_;
    wait_queue::list list_;
};

} // namespace lwkt
