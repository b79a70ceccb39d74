// Which epolls watch a file, and how epolls watch each other.
#pragma once

#include "kernel/files/epoll.h"

#include <optional>

namespace files {

// The items that watch one file, in a list that the file begins. One spinlock for all files: lists are short, and
// change only when items come and go.
class epoll_items_of {
  public:
    explicit epoll_items_of(file& f) noexcept : file_(f) {}

    void insert(epoll_item& item) noexcept;
    void remove(epoll_item& item) noexcept;
    bool empty() noexcept;
    // The epoll of the first item, if it is not about to go.
    file_ref hold_first_owner() noexcept;
    // Of an epoll, under the token `graph`: all changes hold it too.
    epoll_item* first() const noexcept { return file_.epoll_items_; }

  private:
    file& file_;
};

// Holds the token `graph` for a scope, if an epoll that watches an epoll is concerned.
class graph_hold {
  public:
    explicit graph_hold(bool needed) noexcept;

  private:
    std::optional<lwkt::token_hold> hold_;
};

// Walks under the token `graph`. Each visits an epoll once, however many paths lead to it.
class epoll_graph {
  public:
    // Would no loop and no tower higher than most_levels come of it?
    static bool may_watch(epoll& watcher, epoll& watched) noexcept;
    // Are the ways from this epoll and all below it up to those that nobody watches few enough, so that firing stays
    // short?
    static bool few_paths_up(epoll& from) noexcept;

  private:
    static bool reaches(epoll& from, const epoll& to, k::u64 visit) noexcept;
    static unsigned height(epoll& of, k::u64 visit) noexcept;
    static unsigned depth(epoll& of, k::u64 visit) noexcept;
    static unsigned paths_up(epoll& from, k::u64 visit) noexcept;
    static bool few_below(epoll& from, k::u64 visit) noexcept;
};

} // namespace files
