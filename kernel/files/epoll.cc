#include "kernel/files/epoll.h"

#include "kernel/files/epoll_graph.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "sys/vm/object.h"

#include <climits>

namespace files {

namespace {

constexpr k::u32 always_wanted = poll_error | poll_hangup;
constexpr k::u32 flag_bits = epoll_exclusive | epoll_wakeup | epoll_one_shot | epoll_edge;

// All items of all epolls may take so much of memory; ENOSPC beyond.
constinit std::atomic<k::u64> items_alive = 0;

bool too_many_items() noexcept {
    constexpr k::u64 part_of_memory = 50;
    const k::u64 most = vm::promise_limit() * arch::page_size / part_of_memory / sizeof(epoll_item);
    return items_alive.load(std::memory_order_relaxed) >= most;
}

} // namespace

// --- Items
// ------------------------------------------------------------------------------------------------------------

epoll_item::epoll_item(epoll& owner, file& target, int fd, const epoll_event& what) noexcept
    : watcher(fired), owner_(owner), target_(target), fd_(fd), event_(what) {
    items_alive.fetch_add(1, std::memory_order_relaxed);
}

epoll_item::~epoll_item() {
    items_alive.fetch_sub(1, std::memory_order_relaxed);
}

k::u32 epoll_item::look() noexcept {
    const k::u32 wanted = event_.events & ~flag_bits;
    return wanted ? target_.ready() & wanted : 0;
}

void epoll_item::fired(watcher& w, k::u32 events, lwkt::wake_list& woken) {
    auto& item = static_cast<epoll_item&>(w);
    epoll& owner = item.owner_;
    {
        lwkt::spin_guard guard(owner.lock_);
        if (!(events & item.event_.events & ~flag_bits)) return;
        owner.enlist_locked(item);
    }
    // Also if it stood there already: it may be somebody's who has looked at it and found it not ready.
    woken.take_all(owner.queue_);
    owner.pollable_.notify(poll_can_read, woken);
}

void epoll::enlist_locked(epoll_item& item) noexcept {
    if (std::exchange(item.listed_, true)) return;
    ready_.push_back(item);
}

// A new or changed item: it may be ready from the start.
void epoll::announce(epoll_item& item) noexcept {
    if (!item.look()) return;
    {
        lwkt::spin_guard guard(lock_);
        enlist_locked(item);
    }
    queue_.wake_all();
    pollable_.notify(poll_can_read);
}

// --- Waiting
// ----------------------------------------------------------------------------------------------------------

k::u32 epoll::listed() noexcept {
    lwkt::spin_guard guard(lock_);
    return static_cast<k::u32>(ready_.size());
}

k::status epoll::sleep_until_ready(ktime::ns deadline) noexcept {
    return proc::sleep(
        queue_,
        [this] {
            lwkt::spin_guard guard(lock_);
            return !ready_.empty();
        },
        deadline);
}

// Takes the item off the list and says what is ready; those that report levels go to the end of the list again.
k::u32 epoll::report_locked(epoll_item& item, epoll_event& out) noexcept {
    ready_.erase(ready_.iterator_to(item));
    item.listed_ = false;
    const k::u32 bits = item.look();
    if (!bits) return 0;
    out = {bits, item.event_.data};
    if (item.event_.events & epoll_one_shot)
        item.event_.events &= flag_bits;
    else if (!(item.event_.events & epoll_edge))
        enlist_locked(item);
    return bits;
}

std::size_t epoll::harvest(std::span<epoll_event> out, k::u32& left) noexcept {
    std::size_t count = 0;
    while (count < out.size() && left) {
        left--;
        lwkt::spin_guard guard(lock_); // anew for each: asking a file may take dozens of instructions
        if (ready_.empty()) break;
        if (report_locked(ready_.front(), out[count])) count++;
    }
    return count;
}

k::u32 epoll::ready() noexcept {
    lwkt::spin_guard guard(lock_);
    while (!ready_.empty()) {
        epoll_item& item = ready_.front();
        if (item.look()) return poll_can_read;
        ready_.pop_front(); // not any more; it will be told of again
        item.listed_ = false;
    }
    return 0;
}

// --- Control
// ----------------------------------------------------------------------------------------------------------

// Takes an item out of the set and the list: nobody comes to it any more but through its file's list and its watcher.
// Without `fd` the first one of that file. Null: there is none.
epoll_item* epoll::take_out(file& target, const int* fd) noexcept {
    lwkt::spin_guard guard(lock_);
    const by_target::key key(&target, fd ? *fd : INT_MIN);
    auto at = items_.lower_bound(key, by_target());
    if (at == items_.end() || &at->target_ != &target || (fd && at->fd_ != *fd)) return nullptr;
    epoll_item& item = *at;
    items_.erase(at);
    if (std::exchange(item.listed_, false)) ready_.erase(ready_.iterator_to(item));
    return &item;
}

// What take_out() gave goes.
void epoll::discard(epoll_item* item) noexcept {
    item->leave();
    if (epoll_of(item->target_)) children_.erase(children_.iterator_to(*item));
    epoll_items_of(item->target_).remove(*item);
    mem::destroy(item);
}

k::status epoll::add(file& target, int fd, const epoll_event& what) noexcept {
    pollable* place = target.watched();
    if (!place) return k::error::perm;
    epoll* nested = epoll_of(target);
    if ((what.events & epoll_exclusive) && nested) return k::error::inval;
    if (too_many_items()) return k::error::nospc;
    auto made = mem::make_box<epoll_item>(*this, target, fd, epoll_event{what.events | always_wanted, what.data});
    if (!made) return k::error::nomem;

    graph_hold relations(nested);
    lwkt::token_hold hold(control_);
    if (nested && !epoll_graph::may_watch(*this, *nested)) return k::error::loop;
    {
        lwkt::spin_guard guard(lock_);
        if (!items_.insert(*made).second) return k::error::exist;
    }
    epoll_item& item = *made.release();
    epoll_items_of(target).insert(item);
    if (nested) children_.push_back(item);
    if (nested && !epoll_graph::few_paths_up(*nested)) {
        discard(take_out(target, &fd));
        return k::error::loop;
    }
    item.watch(*place);
    announce(item);
    return {};
}

k::status epoll::change(file& target, int fd, const epoll_event& what) noexcept {
    if (what.events & epoll_exclusive) return k::error::inval;
    lwkt::token_hold hold(control_);
    epoll_item* item;
    {
        lwkt::spin_guard guard(lock_);
        auto at = items_.find(by_target::key(&target, fd), by_target());
        if (at == items_.end()) return k::error::noent;
        item = &*at;
        item->event_ = {what.events | always_wanted, what.data};
    }
    announce(*item);
    return {};
}

k::status epoll::remove(file& target, int fd) noexcept {
    graph_hold relations(epoll_of(target));
    lwkt::token_hold hold(control_);
    epoll_item* item = take_out(target, &fd);
    if (!item) return k::error::noent;
    discard(item);
    return {};
}

void epoll::forget(file& target) noexcept {
    graph_hold relations(epoll_of(target));
    lwkt::token_hold hold(control_);
    if (epoll_item* item = take_out(target, nullptr)) discard(item);
}

void forget_in_epolls(file& f) noexcept {
    for (epoll_items_of items(f); !items.empty();) {
        if (file_ref owner = items.hold_first_owner())
            static_cast<epoll&>(*owner).forget(f);
        else
            lwkt::sleep_for(20 * ktime::microsecond); // it is just going, and takes its items with it
    }
}

// --- The file
// ----------------------------------------------------------------------------------------------------------

epoll::epoll() noexcept : file(open_read_write, file_kind::epoll) {}

epoll::~epoll() {
    graph_hold relations(!children_.empty());
    for (;;) {
        epoll_item* item;
        {
            lwkt::spin_guard guard(lock_);
            if (items_.empty()) return;
            item = &*items_.begin();
            items_.erase(items_.begin());
            if (std::exchange(item->listed_, false)) ready_.erase(ready_.iterator_to(*item));
        }
        discard(item);
    }
}

k::result<file_ref> epoll::create() noexcept {
    auto* made = mem::make<epoll>();
    if (!made) return k::error::nomem;
    return file_ref(made);
}

k::status epoll::describe(stat_record& out) noexcept {
    out = simple_stat(0600, inode_);
    return {};
}

epoll* epoll_of(file& f) noexcept {
    return f.kind() == file_kind::epoll ? static_cast<epoll*>(&f) : nullptr;
}

} // namespace files
