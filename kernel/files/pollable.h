// Readiness: how poll, select and epoll learn that something changed.
//
// A pollable is the place where watchers stand; whatever changes a file's ready() calls notify() afterwards. A
// watcher's fire function runs under the pollable's spinlock: it marks what happened and takes those who sleep out of
// their queue; notify() wakes them after the lock was let go.
//
// Rule: what ready() looks at changes under a spinlock that ready() takes too, and notify() comes after it. A
// watcher that came too late to be told then sees the change when it looks, and nobody pays for watchers while there
// are none.
#pragma once

#include "kernel/lwkt/wake_list.h"

#include <boost/intrusive/list.hpp>

namespace files {

// poll(2)'s bits; epoll's are the same numbers.
constexpr k::u32 poll_in = 1, poll_priority = 2, poll_out = 4, poll_error = 8, poll_hangup = 0x10, poll_invalid = 0x20,
                 poll_read_normal = 0x40, poll_read_band = 0x80, poll_write_normal = 0x100, poll_write_band = 0x200,
                 poll_read_hangup = 0x2000;
// What everybody can read, or write, says both.
constexpr k::u32 poll_can_read = poll_in | poll_read_normal, poll_can_write = poll_out | poll_write_normal;

class pollable;

class watcher {
  public:
    // Marks what happened; who sleeps for it goes into `woken`. Under the pollable's lock.
    using fire_function = void (*)(watcher&, k::u32 events, lwkt::wake_list& woken);
    explicit watcher(fire_function fire) noexcept : fire_(fire) {}
    ~watcher() { kassert(!at_); }
    watcher(const watcher&) = delete;
    watcher& operator=(const watcher&) = delete;

    // Stands at a pollable / leaves it; after leave() it will not fire any more. leave() without watch() is nothing.
    // Who watches looks at ready() after it.
    void watch(pollable& at) noexcept;
    void leave() noexcept;

  private:
    friend class pollable;
    lwkt::list_hook link_;
    pollable* at_ = nullptr;
    fire_function fire_;
};

class pollable {
  public:
    pollable() = default;
    ~pollable() { kassert(list_.empty()); }
    pollable(const pollable&) = delete;
    pollable& operator=(const pollable&) = delete;

    // Tells all watchers. Any thread or critical section, not from an IPI function, and under no spinlock.
    void notify(k::u32 events) noexcept {
        if (watchers_.load(std::memory_order_relaxed)) [[unlikely]]
            notify_all(events);
    }
    // The same, for who wakes later: also under spinlocks, but not one that ready() takes.
    void notify(k::u32 events, lwkt::wake_list& woken) noexcept;

  private:
    friend class watcher;
    void notify_all(k::u32 events) noexcept;

    std::atomic<k::u32> watchers_ = 0; // how many stand in list_
    lwkt::spinlock lock_;
    boost::intrusive::list<watcher, boost::intrusive::member_hook<watcher, lwkt::list_hook, &watcher::link_>,
                           boost::intrusive::constant_time_size<false>>
        list_ GUARDED_BY(lock_);
};

} // namespace files
