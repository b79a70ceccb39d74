#include "kernel/lwkt/wait_queue.h"

#include "kernel/lwkt/scheduler_priv.h"

namespace lwkt {

void wait_queue::enqueue() noexcept {
    thread& t = self();
    check_may_block(t);
    spin_guard guard(lock_);
    t.waiting_in = this;
    list_.push_back(t);
}

void single_waiter::lie_down() noexcept {
    thread& t = self();
    check_may_block(t);
    t.waiting_in.store(this, std::memory_order_relaxed);
    thread* const other = sleeper_.exchange(&t, std::memory_order_acq_rel);
    kassert(!other);
}

bool wait_place::take_out(thread& t) noexcept {
    if (!for_one_) return static_cast<wait_queue*>(this)->take_from_list(t);
    thread* expected = &t;
    auto& here = static_cast<single_waiter*>(this)->sleeper_;
    if (!here.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) return false;
    t.waiting_in.store(nullptr, std::memory_order_relaxed);
    return true;
}

bool wait_queue::take_from_list(thread& t) noexcept {
    spin_guard guard(lock_);
    if (t.waiting_in != this) return false;
    list_.erase(list_.iterator_to(t));
    t.waiting_in = nullptr;
    return true;
}

bool wait_place::sleep_until(ktime::ns deadline, successor* next) noexcept {
    struct timer {
        ktime::callout callout{[](ktime::callout& c) {
            auto& late = reinterpret_cast<timer&>(c);
            if (!late.place->take_out(*late.sleeper)) return;
            late.expired = true;
            wake_local(*late.sleeper);
        }};
        wait_place* place;
        thread* sleeper;
        bool expired = false; // not in the thread: taking tokens back may wait in another queue
    } limit{.place = this, .sleeper = &self()};
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
    // The place lives as long as the thread waits, and the thread cannot go on before this critical section ends.
    wait_place* place = t.waiting_in;
    if (place && t.state == thread_state::blocked && place->take_out(t)) wake_local(t);
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
