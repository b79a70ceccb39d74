// Wait queues: threads of any CPU sleep until a condition holds. And the same for one thread, which costs less.
//
// A short spinlock guards the list. A waker takes a thread out of the list and then wakes it, which is a message
// if the thread is another CPU's; because a blocked thread is never moved, the message always finds
// it. A time-out that comes second sees that the thread is out of the list and leaves it to the waker.
#pragma once

#include "kernel/lwkt/spinlock.h"
#include "kernel/lwkt/thread.h"
#include "kernel/time/callout.h"

#include <utility>

namespace lwkt {

// A thread that was taken out of a queue and is to run when its waker sleeps, or else when this ends: on the waker's
// CPU that costs one switch and nothing more. Until then the waker does nothing that could wait for it, such as
// touching user memory.
class [[nodiscard]] successor {
  public:
    successor() = default;
    ~successor() {
        if (next_) wake_now();
    }
    successor(const successor&) = delete;
    successor& operator=(const successor&) = delete;

    void wake_now() noexcept {
        if (thread* t = std::exchange(next_, nullptr)) wake(*t);
    }

  private:
    friend class wait_queue;
    friend class wait_place;
    friend class single_waiter;
    void take(thread& t) noexcept {
        wake_now(); // it has one already
        next_ = &t;
    }
    void sleep() noexcept { next_ ? block_for(*std::exchange(next_, nullptr)) : block(); }

    thread* next_ = nullptr;
};

// What the two kinds of places where threads sleep have in common.
class wait_place {
  protected:
    explicit wait_place(bool for_one) noexcept : for_one_(for_one) {}
    friend void interrupt_wait(thread& t) noexcept;
    // Takes a thread out if it still is in this place. False: a waker has it and its wake() is on the way.
    bool take_out(thread& t) noexcept;
    // After ready() was found true at the last moment.
    void leave() noexcept {
        if (!take_out(self())) block(); // the wake-up that is on its way must not hit a later sleep
    }
    // False if the deadline came first.
    bool sleep(ktime::ns deadline, successor* next) noexcept {
        if (deadline != ktime::forever) [[unlikely]]
            return sleep_until(deadline, next);
        next ? next->sleep() : block();
        return true;
    }

  private:
    bool sleep_until(ktime::ns deadline, successor* next) noexcept;

    const bool for_one_;
};

class wait_queue : private wait_place {
  public:
    wait_queue() noexcept : wait_place(false) {}
    ~wait_queue() { kassert(list_.empty()); }

    // Sleeps until ready() is true; false if the deadline came first. ready() is called in a critical section and
    // must not block; whoever makes it true calls wake_one() or wake_all() afterwards. Thread context.
    template <class Ready> bool wait(Ready ready, ktime::ns deadline = ktime::forever) noexcept {
        for (;;) {
            critical section;
            if (ready()) return true;
            enqueue();
            if (ready()) { // made true before we could be seen
                leave();
                return true;
            }
            if (!sleep(deadline, nullptr)) return ready();
        }
    }

    // The same by a thread that has a successor, which runs as soon as this one sleeps, or is awake when this returns.
    template <class Ready> bool wait(Ready ready, ktime::ns deadline, successor& next) noexcept {
        for (;;) {
            critical section;
            if (ready()) {
                next.wake_now();
                return true;
            }
            enqueue();
            if (ready()) {
                next.wake_now();
                leave();
                return true;
            }
            if (!sleep(deadline, &next)) return ready();
        }
    }

    // Wakes the thread that waits longest / all threads that wait now. Any thread or critical section, but not
    // from an IPI function.
    void wake_one() noexcept;
    void wake_all() noexcept;
    // wake_one() by a thread that will sleep at once: the other one runs then. Which one it is; null: nobody waits.
    // Also with a spinlock held.
    const thread* wake_one(successor& next) noexcept {
        thread* t = pop();
        if (t) next.take(*t);
        return t;
    }

  private:
    friend class completion;
    friend class wait_place;
    friend class wake_list;
    using list = boost::intrusive::list<thread, boost::intrusive::member_hook<thread, list_hook, &thread::wait_link>,
                                        boost::intrusive::constant_time_size<false>>;

    void enqueue() noexcept;
    bool take_from_list(thread& t) noexcept;
    thread* pop() noexcept;

    spinlock lock_;
    list list_ GUARDED_BY(lock_);
};

// Where at most one thread at a time sleeps: no list and no lock. Whoever takes the thread out may touch this place no
// more once it is awake, and the thread may not leave it while somebody is about to.
class single_waiter : private wait_place {
  public:
    single_waiter() noexcept : wait_place(true) {}
    ~single_waiter() { kassert(!sleeper_.load(std::memory_order_relaxed)); }

    // As wait_queue::wait(); but for whoever expects to sleep: ready() is first asked when the thread can be woken.
    template <class Ready> [[gnu::always_inline]] bool wait(Ready ready, ktime::ns deadline, successor& next) noexcept {
        for (;;) {
            critical section;
            lie_down();
            if (ready()) {
                next.wake_now();
                leave();
                return true;
            }
            const bool in_time = sleep(deadline, &next);
            if (ready()) return true;
            if (!in_time) return false;
        }
    }

    // Wakes the thread, if one sleeps here: true. Any thread or critical section, but not from an IPI function.
    bool wake() noexcept {
        critical section;
        thread* t = take();
        if (t) lwkt::wake(*t);
        return t;
    }
    // The same by a thread that will sleep at once: the other one runs then. Also with a spinlock held.
    bool wake(successor& next) noexcept {
        thread* t = take();
        if (t) next.take(*t);
        return t;
    }

  private:
    friend class wait_place;
    void lie_down() noexcept;
    // Both sides exchange: a waker that finds nobody is one whose doing the sleeper sees when it asks ready().
    thread* take() noexcept {
        thread* t = sleeper_.exchange(nullptr, std::memory_order_acq_rel);
        if (t) t->waiting_in.store(nullptr, std::memory_order_relaxed);
        return t;
    }

    std::atomic<thread*> sleeper_ = nullptr;
};

// Wakes a thread out of the place in which it sleeps, if it sleeps in one: wait() looks at its condition
// again and goes back to sleep if that does not hold. On the CPU that the thread belongs to or is on its way to, in a
// critical section or IPI function; one that is still on its way stands in no queue, and nothing happens.
void interrupt_wait(thread& t) noexcept;

// Something that will have happened `count` times. May be destroyed as soon as wait() has returned.
class completion {
  public:
    explicit completion(unsigned count = 1) noexcept : remaining_(count) {}
    void signal() noexcept;
    // False if the deadline came first.
    bool wait(ktime::ns deadline = ktime::forever) noexcept;

  private:
    wait_queue queue_;
    std::atomic<unsigned> remaining_;
};

} // namespace lwkt
