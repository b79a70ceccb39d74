#include "kernel/lwkt/wait_queue.h"

namespace lwkt {

void wait_queue::enqueue() noexcept {
    assert_may_block();
    spin_guard guard(lock_);
    thread& t = self();
    t.waiting_in = this;
    list_.push_back(t);
}

// Takes a thread out if it still stands in the queue. False: a waker has it and its wake() is on the way.
bool wait_queue::take_out(thread& t) noexcept {
    spin_guard guard(lock_);
    if (t.waiting_in != this) return false;
    list_.erase(list_.iterator_to(t));
    t.waiting_in = nullptr;
    return true;
}

void wait_queue::leave() noexcept {
    if (!take_out(self())) block(); // the wake-up that is on its way must not hit a later sleep
}

bool wait_queue::sleep(ktime::ns deadline) noexcept {
    return sleep(deadline, nullptr);
}

bool wait_queue::sleep(ktime::ns deadline, successor* next) noexcept {
    thread& t = self();
    if (deadline == ktime::forever) [[likely]] {
        next ? next->sleep() : block();
        return true;
    }
    struct timer {
        ktime::callout callout{[](ktime::callout& c) {
            auto& late = reinterpret_cast<timer&>(c);
            if (!late.queue->take_out(*late.sleeper)) return;
            late.expired = true;
            wake_local(*late.sleeper);
        }};
        wait_queue* queue;
        thread* sleeper;
        bool expired = false; // not in the thread: taking tokens back may wait in another queue
    } limit{.queue = this, .sleeper = &t};
    limit.callout.arm(deadline);
    next ? next->sleep() : block();
    limit.callout.cancel();
    return !limit.expired;
}

thread* wait_queue::pop() noexcept {
    spin_guard guard(lock_);
    if (list_.empty()) return nullptr;
    thread& t = list_.front();
    list_.pop_front();
    t.waiting_in = nullptr;
    return &t;
}

void wait_queue::wake_one() noexcept {
    critical section;
    if (thread* t = pop()) wake(*t);
}

void wait_queue::wake_all() noexcept {
    critical section;
    list woken;
    {
        spin_guard guard(lock_);
        woken.swap(list_);
        for (thread& t : woken)
            t.waiting_in = nullptr;
    }
    while (!woken.empty()) {
        thread& t = woken.front();
        woken.pop_front(); // before it runs: its link is its own again then
        wake(t);
    }
}

void interrupt_wait(thread& t) noexcept {
    if (t.home.load(std::memory_order_relaxed) != arch::cpu::id()) return;
    // The queue lives as long as the thread waits, and the thread cannot go on before this critical section ends.
    wait_queue* queue = t.waiting_in;
    if (queue && t.state == thread_state::blocked && queue->take_out(t)) wake_local(t);
}

void completion::signal() noexcept {
    critical section;
    wait_queue::list woken;
    {
        // Under the lock, which wait() takes last: nobody sees the count at zero and destroys us before we let go.
        spin_guard guard(queue_.lock_);
        if (remaining_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
        woken.swap(queue_.list_);
        for (thread& t : woken)
            t.waiting_in = nullptr;
    }
    while (!woken.empty()) {
        thread& t = woken.front();
        woken.pop_front();
        wake(t);
    }
}

bool completion::wait(ktime::ns deadline) noexcept {
    const bool done = queue_.wait([this] { return remaining_.load(std::memory_order_acquire) == 0; }, deadline);
    spin_guard guard(queue_.lock_);
    return done;
}

} // namespace lwkt
