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
// many times. Nothing here sleeps, except that moving bytes through a range may. Any context but the log's and an
// interrupt's, unless it says otherwise.
#pragma once

#include "sys/xio/extents.h"
#include "sys/xio/ledger.h"
#include "sys/xio/user_memory.h"

#include <algorithm>
#include <span>
#include <type_traits>
#include <utility>

namespace xio {

// On whose account, and under which promise, pages are lent.
struct loan_terms {
    payer& paid_by = kernel_payer;
    stability promise = stability::stable;
};

// How far the bytes are bound to a place: user addresses that nobody looked at yet (user_memory.h), or pages, pinned
// one by one or held as a whole in a snapshot. Slicing, cloning and moving bytes work on both. What needs pages asserts
// that it has them: the kernel binds a range (sys/vm/loan.h) before it hands it to anybody else.
enum class binding : k::u8 { range, pages };

// What source and sink have in common: where they start, how long they are, who holds what.
class slice_base {
  public:
    k::u64 size() const noexcept { return bytes_; }
    bool empty() const noexcept { return bytes_ == 0; }
    xio::binding binding() const noexcept { return user_ ? xio::binding::range : xio::binding::pages; }
    // The list's; 0 / stable for an empty slice.
    k::u64 birth_ns() const noexcept { return list_ ? list_->birth_ns() : 0; }
    stability promise() const noexcept { return list_ ? list_->promise() : stability::stable; }
    // Whom its pages are charged to, for as long as the slice lives; null for an empty slice or a range.
    const payer* paid_by() const noexcept { return list_ ? &list_->paid_by() : nullptr; }
    // Where the walk of pages starts. For walkers (walk.h), not for consumers.
    const position& start() const noexcept {
        kassert(!user_);
        return start_;
    }
    // Whose pages these are, if they are held as a whole: the first byte is start().offset bytes behind the beginning
    // of its first page. For walkers, and for who can do more with all of it. Null: a list, or a range.
    page_snapshot* snapshot() const noexcept { return list_ ? list_->snapshot() : nullptr; }
    // Of a range: the first piece of user memory that is left in it, and whose memory it is. For binding.
    user_range front_range() const noexcept {
        const user_range& r = user_->ranges[start_.index];
        return {r.base + start_.offset, std::min(r.bytes - start_.offset, bytes_)};
    }
    user_memory& memory() const noexcept { return *user_->memory; }
    // A place in a range, `offset` bytes in, for walking on without changing the slice.
    class range_cursor {
      public:
        // The piece that starts here, at most `most` bytes of it.
        user_range range(k::u64 most) const noexcept {
            const user_range& r = ranges_[index_];
            return {r.base + offset_, std::min(r.bytes - offset_, most)};
        }
        void advance(k::u64 bytes) noexcept {
            offset_ += bytes;
            while (index_ < ranges_.size() && offset_ >= ranges_[index_].bytes)
                offset_ -= ranges_[index_++].bytes;
        }

      private:
        friend class slice_base;
        range_cursor(std::span<const user_range> ranges, const position& at) noexcept
            : ranges_(ranges), index_(at.index), offset_(at.offset) {}
        std::span<const user_range> ranges_;
        std::size_t index_;
        k::u64 offset_;
    };
    range_cursor cursor(k::u64 offset) const noexcept {
        range_cursor at(user_->ranges, start_);
        at.advance(offset);
        return at;
    }

  protected:
    slice_base() = default;
    explicit slice_base(extent_list* list) noexcept
        : list_(list), start_{list ? list->blocks() : nullptr}, bytes_(list ? list->bytes() : 0) {}
    explicit slice_base(const user_ranges& user) noexcept
        : user_(&user), bytes_(user.ranges.size() == 1 ? user.ranges[0].bytes : 0) {
        if (!bytes_) [[unlikely]]
            begin_ranges();
    }
    void begin_ranges() noexcept; // several, or none
    slice_base(slice_base&& other) noexcept
        : list_(std::exchange(other.list_, nullptr)), user_(std::exchange(other.user_, nullptr)), start_(other.start_),
          bytes_(std::exchange(other.bytes_, 0)) {}
    slice_base& operator=(slice_base&& other) noexcept {
        std::swap(list_, other.list_);
        std::swap(user_, other.user_);
        std::swap(start_, other.start_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~slice_base() {
        if (list_) list_->drop_holder();
    }
    // One more holder of a part.
    slice_base(const slice_base& whole, k::u64 offset, k::u64 bytes) noexcept
        : list_(bytes ? whole.list_ : nullptr), user_(bytes ? whole.user_ : nullptr), start_(whole.start_),
          bytes_(bytes) {
        if (list_) {
            list_->add_holder();
            if (offset) advance_start(offset);
        } else if (user_) {
            advance_in_ranges(offset);
        }
    }
    bool contains(k::u64 offset, k::u64 bytes) const noexcept { return offset <= bytes_ && bytes <= bytes_ - offset; }
    void trim_front(k::u64 bytes) noexcept {
        bytes_ -= bytes;
        if (bytes_)
            user_ ? advance_in_ranges(bytes) : advance_start(bytes);
        else if (list_)
            std::exchange(list_, nullptr)->drop_holder(); // nothing is left to hold
    }
    void advance_start(k::u64 bytes) noexcept {
        if (list_->snapshot())
            start_.offset += bytes;
        else
            start_.advance(bytes);
    }
    void advance_in_ranges(k::u64 bytes) noexcept {
        const range_cursor at = cursor(bytes);
        start_.index = static_cast<k::u32>(at.index_);
        start_.offset = at.offset_;
    }

    extent_list* list_ = nullptr;
    const user_ranges* user_ = nullptr; // a range instead of a list
    position start_;                    // of a range: index and offset count in user_->ranges
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
    // User memory, unbound. `user` and what it names outlive the source. The lengths' sum does not overflow.
    static source over_user(const user_ranges& user) noexcept { return source(user); }
    // Bytes of a snapshot, `offset` into its first page; it is the source's from here on. Once for each snapshot.
    static source over_snapshot(page_snapshot& what, k::u64 offset, k::u64 bytes, loan_terms terms) noexcept;
    // What a builder of source pins has collected.
    static k::result<source> from_builder(list_builder& builder) noexcept { return from(builder); }

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

    // Copies bytes out. EINVAL if they do not all lie inside; EFAULT, and how far it got does not matter.
    k::status read(k::u64 offset, std::span<std::byte> to) const noexcept;
    // The same where it does.
    moved read_some(k::u64 offset, std::span<std::byte> to, reason why = reason::kernel_read) const noexcept;
    // The first bytes, if they lie in one piece of user memory and are at hand; false: `to` may have changed. Does not
    // sleep, not even for a fault.
    bool read_at_hand(std::span<std::byte> to, reason why) const noexcept {
        if (!user_) return false;
        const user_range front = front_range();
        if (front.bytes < to.size() || memory().copy_in_at_hand(to.data(), front.base, to.size()) != to.size())
            return false;
        note_copied(why, to.size());
        return true;
    }
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
    explicit source(const user_ranges& user) noexcept : slice_base(user) {}
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
    static sink over_user(const user_ranges& user) noexcept { return sink(user); }
    static k::result<sink> from_builder(list_builder& builder) noexcept { return from(builder); }

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

    // Copies bytes in. EINVAL if they do not all fit inside; EFAULT.
    k::status write(k::u64 offset, std::span<const std::byte> from) noexcept;
    moved write_some(k::u64 offset, std::span<const std::byte> from, reason why = reason::kernel_write) noexcept;
    // To the first bytes, if they lie in one piece of user memory and are at hand; false: they may have changed. Does
    // not sleep, not even for a fault.
    bool write_at_hand(std::span<const std::byte> from, reason why) noexcept {
        if (!user_) return false;
        const user_range front = front_range();
        if (front.bytes < from.size() || memory().copy_out_at_hand(front.base, from.data(), from.size()) != from.size())
            return false;
        note_copied(why, from.size());
        return true;
    }
    template <class T>
    requires std::is_trivially_copyable_v<T> k::status write_value(k::u64 offset, const T& value)
    noexcept { return write(offset, std::as_bytes(std::span(&value, 1))); }
    k::status zero(k::u64 offset, k::u64 bytes) noexcept;
    moved zero_some(k::u64 offset, k::u64 bytes) noexcept;

    // Filling is done: the same bytes to read. EBUSY, and the sink stays, unless this is the only sink over them
    // and no page or block stands in it twice. ENOMEM, EAGAIN: the sink stays.
    k::result<source> into_source() noexcept;

  private:
    friend class source;
    explicit sink(extent_list* list) noexcept : slice_base(list) {}
    explicit sink(const user_ranges& user) noexcept : slice_base(user) {}
    sink(const sink& whole, k::u64 offset, k::u64 bytes) noexcept : slice_base(whole, offset, bytes) {}
    static k::result<sink> from(list_builder& builder) noexcept;
};

// Copies all of `from` to the start of `to`, with any alignments; the two may share pages (each contiguous piece is
// moved as if through a buffer). EINVAL if `to` is shorter.
k::status copy(const source& from, sink& to, reason why = reason::asked) noexcept;
// As many bytes as both have, until one is bad. At most one of the two is a range.
moved copy_some(const source& from, sink& to, reason why = reason::asked) noexcept;

// Equal in length and bytes?
bool equal(const source& a, const source& b) noexcept;

} // namespace xio
