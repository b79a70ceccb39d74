#include "kernel/files/epoll_graph.h"

namespace files {

namespace {

constinit lwkt::spinlock links;
lwkt::token graph;
k::u64 last_visit; // numbers the walks; under `graph`

constexpr unsigned most_paths = 500;

} // namespace

void epoll_items_of::insert(epoll_item& item) noexcept {
    lwkt::spin_guard guard(links);
    item.next_ = file_.epoll_items_;
    if (item.next_) item.next_->previous_ = &item;
    file_.epoll_items_ = &item;
}

void epoll_items_of::remove(epoll_item& item) noexcept {
    lwkt::spin_guard guard(links);
    (item.previous_ ? item.previous_->next_ : file_.epoll_items_) = item.next_;
    if (item.next_) item.next_->previous_ = item.previous_;
}

bool epoll_items_of::empty() noexcept {
    lwkt::spin_guard guard(links);
    return !file_.epoll_items_;
}

// While the item stands in the list its epoll has not been freed: ~epoll() takes it out first.
file_ref epoll_items_of::hold_first_owner() noexcept {
    lwkt::spin_guard guard(links);
    if (!file_.epoll_items_) return {};
    return file_ref::to_living(file_.epoll_items_->owner_);
}

graph_hold::graph_hold(bool needed) noexcept {
    if (needed) hold_.emplace(graph);
}

bool epoll_graph::reaches(epoll& from, const epoll& to, k::u64 visit) noexcept {
    if (&from == &to) return true;
    if (std::exchange(from.visit_, visit) == visit) return false;
    for (epoll_item& item : from.children_)
        if (reaches(*epoll_of(item.target_), to, visit)) return true;
    return false;
}

// Levels of epolls below.
unsigned epoll_graph::height(epoll& of, k::u64 visit) noexcept {
    if (std::exchange(of.visit_, visit) == visit) return of.memo_;
    unsigned highest = 0;
    for (epoll_item& item : of.children_)
        highest = std::max(highest, height(*epoll_of(item.target_), visit) + 1);
    return of.memo_ = highest;
}

// Levels of epolls above.
unsigned epoll_graph::depth(epoll& of, k::u64 visit) noexcept {
    if (std::exchange(of.visit_, visit) == visit) return of.memo_;
    unsigned deepest = 0;
    for (epoll_item* item = epoll_items_of(of).first(); item; item = item->next_)
        deepest = std::max(deepest, depth(item->owner_, visit) + 1);
    return of.memo_ = deepest;
}

unsigned epoll_graph::paths_up(epoll& from, k::u64 visit) noexcept {
    if (std::exchange(from.visit_, visit) == visit) return from.memo_;
    unsigned paths = 0;
    for (epoll_item* item = epoll_items_of(from).first(); item && paths <= most_paths; item = item->next_)
        paths += 1 + paths_up(item->owner_, visit);
    return from.memo_ = std::min(paths, most_paths + 1);
}

bool epoll_graph::few_below(epoll& from, k::u64 visit) noexcept {
    if (std::exchange(from.walk_, visit) == visit) return true;
    if (paths_up(from, visit) > most_paths) return false;
    for (epoll_item& item : from.children_)
        if (!few_below(*epoll_of(item.target_), visit)) return false;
    return true;
}

bool epoll_graph::may_watch(epoll& watcher, epoll& watched) noexcept {
    if (reaches(watched, watcher, ++last_visit)) return false;
    const unsigned below = height(watched, ++last_visit);
    const unsigned above = depth(watcher, ++last_visit);
    return above + 1 + below + 1 <= epoll::most_levels;
}

bool epoll_graph::few_paths_up(epoll& from) noexcept {
    return few_below(from, ++last_visit);
}

} // namespace files
