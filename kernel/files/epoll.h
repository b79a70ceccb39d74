// epoll: a file that remembers which others it watches, and which of these have become ready.
//
// An item stands for one watched descriptor. Its watcher puts it into the list of what may be ready; wait() asks the
// files in that list, and only those. Items do not keep their files open: the last holder of a file takes its items
// away (forget_in_epolls()).
//
// Locks, in the order in which they are taken: `graph`, a token, when the watched file is an epoll itself; control_, a
// token, to add, change and remove items; a pollable's lock; lock_ of an epoll, which guards the set of items and
// the list; then lock_ of an epoll that it watches, and whatever ready() of a file takes. Epolls watch each other
// without loops and at most `most_levels` deep, so the last step ends.
//
// While an item is in the set its file's memory is there: it goes only after its items were taken out under lock_.
#pragma once

#include "kernel/files/file.h"
#include "kernel/lwkt/token.h"

#include <boost/intrusive/set.hpp>

#include <span>

namespace files {

// struct epoll_event.
struct [[gnu::packed]] epoll_event {
    k::u32 events; // poll bits and epoll_flag
    k::u64 data;   // the caller's
};
static_assert(sizeof(epoll_event) == 12);

enum epoll_flag : k::u32 {
    epoll_exclusive = 1u << 28, // accepted: all who wait are woken nevertheless
    epoll_wakeup = 1u << 29,    // accepted: this machine does not go to sleep
    epoll_one_shot = 1u << 30,
    epoll_edge = 1u << 31,
};

class epoll;

class epoll_item final : public watcher {
  public:
    epoll_item(epoll& owner, file& target, int fd, const epoll_event& what) noexcept;
    ~epoll_item();

  private:
    friend class epoll;
    friend class epoll_items_of;
    friend class epoll_graph;
    static void fired(watcher& w, k::u32 events, lwkt::wake_list& woken);

    // What the file says now of what is wanted. The owner's lock_ is held, or the file is.
    k::u32 look() noexcept;

    boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> set_link_;
    lwkt::list_hook ready_link_;
    lwkt::list_hook child_link_; // the target is an epoll. `graph`
    epoll_item* next_ = nullptr; // of the same file
    epoll_item* previous_ = nullptr;
    epoll& owner_;
    file& target_;
    const int fd_;
    // Guarded by the owner's lock_.
    bool listed_ = false; // in its list of what may be ready
    epoll_event event_;   // no bits: a one-shot that was fired
};

class epoll final : public file {
  public:
    static constexpr unsigned most_levels = 5;

    static k::result<file_ref> create() noexcept; // ENOMEM
    epoll() noexcept;                             // for create()
    ~epoll() override;

    // epoll_ctl(2). The caller holds `target`. EEXIST; EPERM: that file is always ready; ELOOP; EINVAL;
    // ENOMEM; ENOSPC: all epolls together watch too much.
    k::status add(file& target, int fd, const epoll_event& what) noexcept;
    // ENOENT.
    k::status change(file& target, int fd, const epoll_event& what) noexcept;
    k::status remove(file& target, int fd) noexcept;

    // Sleeps until something is ready, or the deadline; 0 then. `left` is the caller's, zero at first: with it a
    // further call continues where `out` was too short, and reports nothing twice. EINTR.
    k::status sleep_until_ready(ktime::ns deadline) noexcept;
    k::u32 listed() noexcept;
    // Reports what is ready among the next `left` items of the list, and counts them down.
    std::size_t harvest(std::span<epoll_event> out, k::u32& left) noexcept;

    k::status describe(stat_record& out) noexcept override;
    k::u32 ready() noexcept override;
    pollable* watched() noexcept override { return &pollable_; }

  private:
    friend class epoll_item;
    friend class epoll_graph;
    friend void forget_in_epolls(file& f) noexcept;

    struct by_target {
        using key = std::pair<const file*, int>;
        static key of(const epoll_item& i) noexcept { return {&i.target_, i.fd_}; }
        bool operator()(const epoll_item& a, const epoll_item& b) const noexcept { return of(a) < of(b); }
        bool operator()(const key& a, const epoll_item& b) const noexcept { return a < of(b); }
        bool operator()(const epoll_item& a, const key& b) const noexcept { return of(a) < b; }
    };
    using item_set = boost::intrusive::set<
        epoll_item,
        boost::intrusive::member_hook<
            epoll_item, boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>,
            &epoll_item::set_link_>,
        boost::intrusive::compare<by_target>, boost::intrusive::constant_time_size<false>>;
    using ready_list =
        boost::intrusive::list<epoll_item,
                               boost::intrusive::member_hook<epoll_item, lwkt::list_hook, &epoll_item::ready_link_>>;
    using child_list =
        boost::intrusive::list<epoll_item,
                               boost::intrusive::member_hook<epoll_item, lwkt::list_hook, &epoll_item::child_link_>,
                               boost::intrusive::constant_time_size<false>>;

    void enlist_locked(epoll_item& item) noexcept REQUIRES(lock_);
    void announce(epoll_item& item) noexcept;
    k::u32 report_locked(epoll_item& item, epoll_event& out) noexcept REQUIRES(lock_);
    epoll_item* take_out(file& target, const int* fd) noexcept;
    void discard(epoll_item* item) noexcept;
    void forget(file& target) noexcept;

    const k::u64 inode_ = fresh_inode();
    lwkt::token control_;
    lwkt::wait_queue queue_; // those in sleep_until_ready()
    pollable pollable_;

    lwkt::spinlock lock_;
    item_set items_ GUARDED_BY(lock_);
    ready_list ready_ GUARDED_BY(lock_); // items that may be ready

    // Guarded by the token `graph`.
    child_list children_; // items that watch epolls
    k::u64 visit_ = 0;    // the walk that came here last
    unsigned memo_ = 0;   // what it found
    k::u64 walk_ = 0;     // the same for a second way of walking
};

// The epoll behind a file, if it is one.
epoll* epoll_of(file& f) noexcept;

// Nobody watches this file any more. For its last holder; thread context.
void forget_in_epolls(file& f) noexcept;

} // namespace files
