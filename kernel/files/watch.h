// Watches on files and directories (inotify): what happens to a node goes into the queues of those who watch it.
//
// A watch stands in two lists: its node's, which holds it, and by its number in its queue's. The node's watches
// (attached to it, vfs::watchers) are under a spinlock, a queue under another, taken inside it. Watches do not hold
// their node: when it goes, they are told so and end.
#pragma once

#include "kernel/files/pollable.h"
#include "kernel/lib/result.h"
#include "sys/vfs/events.h"
#include "sys/xio/xio.h"

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

namespace files {

// Linux's IN_ bits beside vfs::event's.
enum watch_bit : k::u32 {
    all_watch_events = 0xfff,
    watch_unmounted = 0x2000,
    watch_overflow = 0x4000,
    watch_ended = 0x8000, // IN_IGNORED
    watch_directories_only = 0x0100'0000,
    watch_no_follow = 0x0200'0000,
    watch_not_unlinked = 0x0400'0000,
    watch_only_fresh = 0x1000'0000,
    watch_add_bits = 0x2000'0000,
    watch_once = 0x8000'0000,
};

class event_queue;
class node_watchers;

class watch final : public k::counted<watch> {
  public:
    watch(k::ref<event_queue> queue, k::ref<vfs::attachment> node, k::u32 wanted) noexcept;
    void last_holder_left() noexcept;

    const k::ref<event_queue> to;
    const k::ref<vfs::attachment> at; // a node_watchers
    int number = 0;                   // set once, by the queue
    k::u32 mask;                      // guarded by the node's lock
    bool spent = false;               // the same: it was for one event, and has had it

    using hook = boost::intrusive::link_mode<boost::intrusive::normal_link>;
    boost::intrusive::list_member_hook<hook> node_link; // guarded by the node's lock
    boost::intrusive::set_member_hook<hook> queue_link; // guarded by the queue's
};

// What has happened and was not read yet. Nothing here sleeps but read().
class event_queue final : public k::counted<event_queue> {
  public:
    static constexpr k::u32 most_events = 16384;
    static constexpr k::u32 most_watches = 65536;

    event_queue() = default;
    ~event_queue();
    void last_holder_left() noexcept;

    // One more event, unless the last one says the same. Without room or memory an overflow takes its place. Under the
    // node's lock.
    void put(const watch& from, k::u32 mask, std::string_view text, k::u32 cookie, lwkt::wake_list& woken) noexcept;
    // As many whole events as fit, as struct inotify_event. EAGAIN, EINTR; EINVAL: not even the first one fits. Thread
    // context of a process.
    k::result<k::u64> read(xio::sink& to, bool nonblocking) noexcept;
    k::u64 bytes() noexcept; // that can be read
    k::u32 ready() noexcept;
    pollable& watched() noexcept { return watched_; }

    // Gives it a number. ENOSPC: too many.
    k::status enrol(watch& w) noexcept;
    void strike_off(watch& w) noexcept;
    // The watch of a number, or the first from there on; empty: none.
    k::ref<watch> find(int number) noexcept;
    k::ref<watch> find_from(int number) noexcept;
    // Nobody reads any more.
    void close() noexcept;

  private:
    struct event;
    struct by_number {
        using type = int;
        int operator()(const watch& w) const { return w.number; }
    };

    void append_locked(event& e) noexcept REQUIRES(lock_);
    event* take(k::u64 room, bool& too_long) noexcept;
    bool take_overflow() noexcept;

    lwkt::spinlock lock_;
    event* first_ GUARDED_BY(lock_) = nullptr;
    event* last_ GUARDED_BY(lock_) = nullptr;
    k::u32 count_ GUARDED_BY(lock_) = 0;
    k::u64 bytes_ GUARDED_BY(lock_) = 0;
    bool overflowed_ GUARDED_BY(lock_) = false; // and who reads was not told yet
    bool closed_ GUARDED_BY(lock_) = false;
    int last_number_ GUARDED_BY(lock_) = 0;
    k::u32 watches_ GUARDED_BY(lock_) = 0;
    boost::intrusive::set<watch, boost::intrusive::member_hook<watch, decltype(watch::queue_link), &watch::queue_link>,
                          boost::intrusive::key_of_value<by_number>, boost::intrusive::constant_time_size<false>>
        by_number_ GUARDED_BY(lock_);
    lwkt::wait_queue readers_;
    pollable watched_;
};

// The watches of a node. Stays with it, and is looked at whenever something happens to it.
class node_watchers final : public vfs::watchers {
  public:
    ~node_watchers() override;
    void last_holder_left() noexcept override;
    void happened(k::u32 event, std::string_view text, k::u32 cookie) noexcept override;
    void node_gone(const vfs::vnode& node) noexcept override;

    // Adds a watch for a queue, or changes the one that it has: its number. EEXIST, ENOSPC, ENOMEM.
    k::result<int> add(event_queue& to, k::u32 mask) noexcept;
    // Ends one, if it has not ended by itself.
    static void end(watch& w) noexcept;

  private:
    watch* find_locked(const event_queue& to) noexcept REQUIRES(lock_);
    bool end_spent() noexcept;
    // Out of both lists; tells the queue. The list's hold goes to the caller.
    k::ref<watch> end_locked(watch& w, lwkt::wake_list& woken) noexcept REQUIRES(lock_);

    lwkt::spinlock lock_;
    boost::intrusive::list<watch, boost::intrusive::member_hook<watch, decltype(watch::node_link), &watch::node_link>,
                           boost::intrusive::constant_time_size<false>>
        list_ GUARDED_BY(lock_);
};

// As node_watchers::add(), for a node that may have none.
k::result<int> add_watch(vfs::vnode& on, event_queue& to, k::u32 mask) noexcept;

} // namespace files
