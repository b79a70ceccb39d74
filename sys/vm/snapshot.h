// vm::snapshot: pages of a page tree as they are now, lent as one thing. It costs by branches, not by pages: no page is
// pinned, but as long as the branches are shared nobody may write to their pages in place (law 3).
#pragma once

#include "sys/vm/object.h"
#include "sys/xio/xio.h"

namespace vm {

// From how many pages on a snapshot is cheaper than a list of pins: below, hardly a branch is taken whole.
constexpr k::u64 least_snapshot = page_tree::fanout;

class snapshot final : public xio::page_snapshot {
  public:
    // `count` pages from `first` on, filled by nobody, as a stable source of `bytes` from `offset` into the first one
    // on. `whole`: all of them are there; those that are not are zeroes. The caller takes the right to write away from
    // every mapping before anybody else can look at the tree again. ENOMEM, EAGAIN. Any context that may change the
    // tree's owner.
    static k::result<xio::source> take(const page_tree& of, k::u64 first, k::u64 count, bool whole, k::u64 offset,
                                       k::u64 bytes, xio::payer& paid_by) noexcept;
    // The same of few pages, which lie in one leaf of the tree, and are all there. EAGAIN also if one is not, or if
    // somebody fills one of them. `about`: to guard them by.
    static k::result<xio::source> take_few(const page_tree& of, k::u64 first, k::u64 count, k::u64 offset, k::u64 bytes,
                                           xio::payer& paid_by, page_tree::leaf_part& about) noexcept;

    // The pages of a source that is (a slice of) one, from that which its byte `offset` lies in.
    struct view {
        const page_tree* tree = nullptr; // null: it is none
        k::u64 first = 0;
        bool is_all = false;   // and the tree has no others
        bool is_whole = false; // none is missing
    };
    // `with_holes`: also one that lacks pages, which are zeroes.
    static view of(const xio::source& from, k::u64 offset, bool with_holes) noexcept;

    page* page_at(k::u64 index) const noexcept override {
        page* p = tree_.find_page(first_ + index);
        return p ? p : zero_page();
    }
    void last_slice_gone() noexcept override;

    snapshot(k::u64 first, k::u64 count, bool whole) noexcept // for the functions above
        : first_(first), count_(count), whole_(whole) {}

  private:
    page_tree tree_;
    const k::u64 first_, count_;
    bool whole_;
};

} // namespace vm
