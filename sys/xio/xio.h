// xio: the one descriptor for bytes that move. Read this header first.
//
// An xio::source is bytes that I may read and that must not change under me; an xio::sink is bytes that I may
// fill. There is no cast between them: a consumer that borrowed pages cannot write to them by mistake. Both are a
// slice (position and 64-bit length) of an immutable, counted list of page runs, so that slicing, cloning and
// passing on copy nothing and allocate nothing. The list holds the pages pinned; when the last slice anywhere lets go,
// on whichever CPU, the pages are as they were.
//
// A handle is moved, never copied by accident: clone() says that there will be one more holder. A handle is
// used by one thread at a time; different handles to the same list are independent, on any CPUs.
//
// Building covers all bytes asked for or fails with nothing held: ENOMEM; EAGAIN when a page has no room for one more
// pin (copy instead); EOVERFLOW and EINVAL for ranges that make no sense. The same page may stand in one list
// many times. Nothing here sleeps. Any context but the log's and an interrupt's, unless it says otherwise.
#pragma once

#include "sys/xio/extents.h"
#include "sys/xio/ledger.h"

#include <span>
#include <type_traits>
#include <utility>

namespace xio {

// On whose account, and under which promise, pages are lent.
struct loan_terms {
    payer& paid_by = kernel_payer;
    stability promise = stability::stable;
};

// How far the bytes are bound to a place. `range` (a user address) and `tree` (a snapshot of a page tree) are
// bound by sys/vm to `pages` before anything here sees them; the operations below work on pages.
enum class binding : k::u8 { range, tree, pages };

// What source and sink have in common: where they start, how long they are, who holds what.
class slice_base {
  public:
    k::u64 size() const noexcept { return bytes_; }
    bool empty() const noexcept { return bytes_ == 0; }
    xio::binding binding() const noexcept { return xio::binding::pages; }
    // The list's; 0 / stable for an empty slice.
    k::u64 birth_ns() const noexcept { return list_ ? list_->birth_ns() : 0; }
    stability promise() const noexcept { return list_ ? list_->promise() : stability::stable; }
    // Where the walk of pages starts. For walkers (walk.h), not for consumers.
    const position& start() const noexcept { return start_; }

  protected:
    slice_base() = default;
    explicit slice_base(extent_list* list) noexcept
        : list_(list), start_{list ? list->blocks() : nullptr}, bytes_(list ? list->bytes() : 0) {}
    slice_base(slice_base&& other) noexcept
        : list_(std::exchange(other.list_, nullptr)), start_(other.start_), bytes_(std::exchange(other.bytes_, 0)) {}
    slice_base& operator=(slice_base&& other) noexcept {
        std::swap(list_, other.list_);
        std::swap(start_, other.start_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~slice_base() {
        if (list_) list_->drop_holder();
    }
    // One more holder of a part.
    slice_base(const slice_base& whole, k::u64 offset, k::u64 bytes) noexcept
        : list_(bytes ? whole.list_ : nullptr), start_(whole.start_), bytes_(bytes) {
        if (!list_) return;
        list_->add_holder();
        if (offset) start_.advance(offset);
    }
    bool contains(k::u64 offset, k::u64 bytes) const noexcept { return offset <= bytes_ && bytes <= bytes_ - offset; }
    void trim_front(k::u64 bytes) noexcept {
        bytes_ -= bytes;
        if (bytes_)
            start_.advance(bytes);
        else if (list_)
            std::exchange(list_, nullptr)->drop_holder(); // nothing is left to hold
    }

    extent_list* list_ = nullptr;
    position start_;
    k::u64 bytes_ = 0;
};

class sink;

class source : public slice_base {
  public:
    source() = default; // no bytes

    // A run of bytes, `offset` from the start of `first`, in physically contiguous pages that somebody holds now.
    static k::result<source> over_run(page* first, k::u64 offset, k::u64 bytes, loan_terms terms = {}) noexcept;
    // Bytes in pages in any order, starting `offset` into the first.
    static k::result<source> over_pages(std::span<page* const> pages, k::u64 offset, k::u64 bytes,
                                        loan_terms terms = {}) noexcept;
    // Kernel memory (heap or direct map). The pages cannot go away; that the object stays as it is, is the caller's
    // promise until the source is released.
    static k::result<source> over_kernel(std::span<const std::byte> bytes, loan_terms terms = {}) noexcept;
    // Fresh pages that hold a copy, owned by the source alone.
    static k::result<source> copy_of(std::span<const std::byte> bytes, loan_terms terms = {},
                                     reason why = reason::kernel_write) noexcept;
    // One after the other, sharing the pages of both.
    static k::result<source> append(const source& front, const source& back) noexcept;

    // One more holder of the same bytes / of a part. A part that does not lie inside is EINVAL.
    source clone() const noexcept { return source(*this, 0, bytes_); }
    k::result<source> slice(k::u64 offset, k::u64 bytes) const noexcept {
        if (!contains(offset, bytes)) [[unlikely]]
            return k::error::inval;
        return source(*this, offset, bytes);
    }
    // The first `bytes` as a source of their own; this one keeps the rest. At most size().
    source split_front(k::u64 bytes) noexcept {
        kassert(bytes <= bytes_);
        source front(*this, 0, bytes);
        trim_front(bytes);
        return front;
    }

    // Copies bytes out. EINVAL if they do not all lie inside.
    k::status read(k::u64 offset, std::span<std::byte> to) const noexcept;
    // A value whose bytes start at `offset`; a copy, so that what is checked is what is used.
    template <class T>
    requires std::is_trivially_copyable_v<T> k::result<T> read_value(k::u64 offset)
    const noexcept {
        T value;
        if (auto done = read(offset, std::as_writable_bytes(std::span(&value, 1))); !done) return done.error();
        return value;
    }

    // Turns a source that nobody else can see (no other holder, no reference to the pages) into a sink over the
    // same bytes. EBUSY, and the source stays as it is, when somebody else can: a page or block that stands in the
    // list twice is seen twice.
    k::result<sink> into_sole_sink() noexcept;

  private:
    friend class sink;
    explicit source(extent_list* list) noexcept : slice_base(list) {}
    source(const source& whole, k::u64 offset, k::u64 bytes) noexcept : slice_base(whole, offset, bytes) {}
    static k::result<source> from(list_builder& builder) noexcept;
};

class sink : public slice_base {
  public:
    sink() = default;

    static k::result<sink> over_run(page* first, k::u64 offset, k::u64 bytes, loan_terms terms = {}) noexcept;
    static k::result<sink> over_pages(std::span<page* const> pages, k::u64 offset, k::u64 bytes,
                                      loan_terms terms = {}) noexcept;
    static k::result<sink> over_kernel(std::span<std::byte> bytes, loan_terms terms = {}) noexcept;
    // Fresh pages, contents undefined, owned by the sink alone.
    static k::result<sink> fresh(k::u64 bytes, loan_terms terms = {}) noexcept;
    static k::result<sink> append(const sink& front, const sink& back) noexcept;

    sink clone() const noexcept { return sink(*this, 0, bytes_); }
    k::result<sink> slice(k::u64 offset, k::u64 bytes) const noexcept {
        if (!contains(offset, bytes)) [[unlikely]]
            return k::error::inval;
        return sink(*this, offset, bytes);
    }
    sink split_front(k::u64 bytes) noexcept {
        kassert(bytes <= bytes_);
        sink front(*this, 0, bytes);
        trim_front(bytes);
        return front;
    }

    // Copies bytes in. EINVAL if they do not all fit inside.
    k::status write(k::u64 offset, std::span<const std::byte> from) noexcept;
    template <class T>
    requires std::is_trivially_copyable_v<T> k::status write_value(k::u64 offset, const T& value)
    noexcept { return write(offset, std::as_bytes(std::span(&value, 1))); }
    k::status zero(k::u64 offset, k::u64 bytes) noexcept;

    // Filling is done: the same bytes to read. EBUSY, and the sink stays, unless this is the only sink over them
    // and no page or block stands in it twice. ENOMEM, EAGAIN: the sink stays.
    k::result<source> into_source() noexcept;

  private:
    friend class source;
    explicit sink(extent_list* list) noexcept : slice_base(list) {}
    sink(const sink& whole, k::u64 offset, k::u64 bytes) noexcept : slice_base(whole, offset, bytes) {}
    static k::result<sink> from(list_builder& builder) noexcept;
};

// Copies all of `from` to the start of `to`, with any alignments; the two may share pages (each contiguous piece is
// moved as if through a buffer). EINVAL if `to` is shorter.
k::status copy(const source& from, sink& to, reason why = reason::asked) noexcept;

// Equal in length and bytes?
bool equal(const source& a, const source& b) noexcept;

} // namespace xio
