// The list behind every source and sink: extents, the blocks that hold them, a position in them.
//
// A list is built once and never changes; any number of slices on any CPU share it and count as its
// holders. It owns the pins of its pages: taken when it is built, given up when its last holder lets go. Four
// extents stand in the list itself, the others in chained blocks of 1 KiB.
#pragma once

#include "kernel/lib/result.h"
#include "sys/xio/payer.h"
#include "sys/xio/platform.h"

namespace xio {

using platform::page;
using platform::pin_kind;

// How long the bytes stay as they are.
enum class stability : k::u8 {
    blocked, // the owner sleeps until the release; nothing is protected
    stable,  // nobody changes them for as long as the loan lasts
    live,    // shared on purpose, may change
};

// What can be said of two pieces together: stable only if both are.
constexpr stability weaker(stability a, stability b) {
    if (a == stability::stable) return b;
    if (b == stability::stable) return a;
    return a == b ? a : stability::live;
}

// A run of bytes in physically contiguous pages.
struct extent {
    page* first;
    k::u64 offset : 12; // of the first byte in the first page
    k::u64 bytes : 52;

    k::u64 pages() const { return (end() + platform::page_size - 1) / platform::page_size; }
    bool is_whole_page() const { return offset == 0 && bytes == platform::page_size; }
    // Where it ends, from the start of the first page.
    k::u64 end() const { return offset + bytes; }
};
constexpr k::u64 max_bytes = (k::u64{1} << 52) - platform::page_size;

template <unsigned Slots> struct basic_extent_block {
    basic_extent_block<0>* next = nullptr;
    k::u32 count = 0;
    extent slots[Slots];
};
// The common beginning of blocks of any size.
template <> struct basic_extent_block<0> {
    basic_extent_block<0>* next;
    k::u32 count;
    extent slots[];
};
using extent_block = basic_extent_block<0>;
using inline_block = basic_extent_block<4>;
using chained_block = basic_extent_block<63>;
static_assert(sizeof(chained_block) == 1024);
static_assert(offsetof(inline_block, slots) == offsetof(extent_block, slots));

// A place in a list: a byte of an extent of a block.
struct position {
    const extent_block* block = nullptr;
    k::u32 index = 0;
    k::u64 offset = 0; // into the extent's bytes

    const extent& at() const { return block->slots[index]; }
    // Moves `bytes` forward, which lie in the list.
    void advance(k::u64 bytes) {
        offset += bytes;
        while (offset >= at().bytes)
            [[unlikely]] {
                if (index + 1 == block->count && !block->next) break; // the end of the list
                offset -= at().bytes;
                next_extent();
            }
    }
    void next_extent() {
        if (++index == block->count && block->next) {
            block = block->next;
            index = 0;
        }
    }
};

class page_snapshot;

class extent_list {
  public:
    extent_list(payer& who, pin_kind kind, stability promise) noexcept
        : payer_(who), birth_ns_(platform::now_ns()), kind_(kind), stability_(promise) {}
    extent_list(const extent_list&) = delete;
    extent_list& operator=(const extent_list&) = delete;

    // The list of a single run, which most lists are, without a builder in between. Null, and why.
    template <pin_kind Kind> static extent_list* of_run(payer& who, stability promise, page* first, k::u64 offset,
                                                        k::u64 bytes, k::error& why) noexcept;

    // A list in name only: the pages are the snapshot's, in which it stands.
    static extent_list* of_snapshot(payer& who, stability promise, page_snapshot& what, k::u64 offset,
                                    k::u64 bytes) noexcept;

    void add_holder() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
    void drop_holder() noexcept {
        if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
    }
    bool one_holder() const noexcept { return holders_.load(std::memory_order_acquire) == 1; }

    // Null: there are none, but a snapshot.
    const extent_block* blocks() const { return snapshot_ ? nullptr : reinterpret_cast<const extent_block*>(&first_); }
    page_snapshot* snapshot() const { return snapshot_; }
    k::u64 bytes() const { return bytes_; }
    payer& paid_by() const { return payer_; }
    k::u64 birth_ns() const { return birth_ns_; }
    stability promise() const { return stability_; }

    // Source pins become sink pins. False, with nothing changed, unless nothing else holds any of the pages.
    bool make_sole_sink() noexcept;
    // Of a sink's list: can nobody else fill the pages?
    bool only_sink() noexcept;

  private:
    friend class list_builder;
    void destroy() noexcept;
    void enter_in_books() noexcept;
    void unpin_all() noexcept;
    template <pin_kind Kind> void unpin_as() noexcept;
    void free_blocks() noexcept;
    template <class Visit> bool visit_heads(Visit visit) noexcept;
    template <class Visit> void visit_extents(Visit visit) noexcept;

    std::atomic<k::u32> holders_ = 1;
    payer& payer_;
    k::u64 bytes_ = 0;
    k::u64 pages_ = 0; // charged to the payer; a page that stands here twice counts twice
    k::u64 birth_ns_;
    pin_kind kind_;
    stability stability_;
    page_snapshot* snapshot_ = nullptr;
    inline_block first_;
};

// Pages that somebody holds as a whole and knows by index: what stands behind a source instead of a list of pins where
// that would be long. The kernel's is a snapshot of a page tree (sys/vm/snapshot.h).
class page_snapshot {
  public:
    // One of its pages. Any context.
    virtual page* page_at(k::u64 index) const noexcept = 0;
    // The last slice is gone. Any context that may let go of an xio.
    virtual void last_slice_gone() noexcept = 0;

  protected:
    ~page_snapshot() = default;

  private:
    friend class extent_list;
    alignas(extent_list) std::byte list_[sizeof(extent_list)]; // of those slices
};

// Makes a list: all of it or nothing. What was added is pinned at once; a builder that is dropped or has failed
// lets go of everything.
class list_builder {
  public:
    list_builder(payer& who, pin_kind kind, stability promise) noexcept;
    ~list_builder() { abandon(); }
    list_builder(const list_builder&) = delete;
    list_builder& operator=(const list_builder&) = delete;

    // A run of bytes, `offset` (any size) from the start of `first`. Somebody holds the pages while this runs.
    void add(page* first, k::u64 offset, k::u64 bytes) noexcept;
    // Single pages in any order; the bytes start at `offset` in the first. There must be enough of them.
    void add_pages(std::span<page* const> pages, k::u64 offset, k::u64 bytes) noexcept;
    // A stretch of another list.
    void add(position from, k::u64 bytes) noexcept;

    // Gives up, for the first reason that was given; finish() will say it.
    void fail(k::error e) noexcept;
    bool failed() const noexcept { return failed_; }

    // The list with one holder, or what went wrong: ENOMEM, EAGAIN (a pin count is full: copy instead),
    // EOVERFLOW (too long), EINVAL. Null for no bytes at all.
    k::result<extent_list*> finish() noexcept;

  private:
    bool make_room() noexcept;
    void abandon() noexcept;
    void append(page* first, k::u64 offset, k::u64 bytes) noexcept;
    k::u64 append_lone_pages(page* const* at, k::u64 most) noexcept;

    payer& payer_;
    pin_kind kind_;
    stability stability_;
    extent_list* list_ = nullptr;
    extent_block* last_ = nullptr;
    k::u32 capacity_ = 0; // of last_
    k::error error_{};
    bool failed_ = false;
};

} // namespace xio
