// vm::object: pages by index, wherever they come from, and where they are mapped.
//
// A private object (the changes of a private mapping) belongs to one space, whose token guards it. A shared one
// (shared memory, a file) is guarded by a token of its own, taken after a space's.
//
// Law 3 is the answer of page_tree::find(): a page may be written in place only where it says `sole`. Whoever makes a
// page seen by one more holder (fork, a loan) takes writing away first.
#pragma once

#include "kernel/lwkt/token.h"
#include "sys/vm/dirty_pages.h"
#include "sys/vm/entry.h"
#include "sys/vm/page_tree.h"
#include "sys/xio/xio.h"

namespace vm {

// Where an object's pages come from when its tree has none.
class pager {
  public:
    // The page of that index, with a reference for the tree. Thread context, may block (tokens are given up). EIO:
    // there is no such page; ENOMEM.
    virtual k::result<page_ref> page_in(k::u64 index) noexcept = 0;
    // The object is gone.
    virtual void object_gone() noexcept = 0;

  protected:
    ~pager() = default;
};

// The pager of a file, which may be written to: the object notes which pages are dirty, that is newer than what the
// pager would bring. All of the object's pages are such a pager's, also those that it grows by.
class file_pager : public pager {
  public:
    // Clean pages become dirty: is there room for them where they are kept? ENOSPC, EIO. Like page_in() it may block.
    virtual k::status reserve(k::u64 first, k::u64 count) noexcept = 0;
    // So many dirty pages more than were reserved for, or fewer. Does not block.
    virtual void charge(k::i64 pages) noexcept = 0;

  protected:
    ~file_pager() = default;
};

// Of which changes a file's pager is told: of all, or only of what is stored into mappings, because it sees to it that
// whatever else is written is kept at once.
enum class noting : k::u8 { all_writes, mapped_writes };

// How many pages some objects may have together.
class page_budget {
  public:
    explicit page_budget(k::u64 pages) noexcept : limit_(pages) {}

    bool take(k::u64 pages) noexcept {
        if (used_.fetch_add(pages, std::memory_order_relaxed) + pages <= limit()) return true;
        give_back(pages);
        return false;
    }
    void give_back(k::u64 pages) noexcept { used_.fetch_sub(pages, std::memory_order_relaxed); }
    k::u64 used() const noexcept { return used_.load(std::memory_order_relaxed); }
    k::u64 limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
    void set_limit(k::u64 pages) noexcept { limit_.store(pages, std::memory_order_relaxed); }

  private:
    std::atomic<k::u64> used_ = 0;
    std::atomic<k::u64> limit_;
};

class object final : public k::counted<object> {
  public:
    // Memory that begins as zeroes, `pages` long. ENOMEM. Of a shared one that has a `budget` each page that is there
    // is taken from it; the budget outlives the object.
    static k::result<k::ref<object>> anonymous(k::u64 pages, page_budget* budget = nullptr) noexcept;
    // Bytes that stay where they are as long as the kernel runs; pages are made of them when they are touched, and then
    // shared by whoever maps them. ENOMEM.
    static k::result<k::ref<object>> of_bytes(std::span<const std::byte> bytes, page_budget* budget = nullptr) noexcept;
    static k::result<k::ref<object>> with_pager(pager& from, k::u64 pages) noexcept;
    static k::result<k::ref<object>> of_file(file_pager& from, k::u64 pages, noting what = noting::all_writes) noexcept;
    void last_holder_left() noexcept;
    object(k::u64 pages, pager* from, page_budget* budget, file_pager* file, noting what) noexcept // for those above
        : pages_(pages), paged_(from ? pages : 0), pager_(from), budget_(budget), file_(file),
          notes_writes_(file && what == noting::all_writes) {}

    k::u64 pages() const noexcept { return pages_.load(std::memory_order_relaxed); }
    // Another size. Pages beyond it go, and so do their mappings everywhere; when it grows again they are zeroes.
    // ENOMEM: the size is the new one, but some pages beyond it are kept. Thread context.
    k::status resize(k::u64 pages) noexcept;
    // Takes pages out: they are zeroes then. ENOMEM: some are kept. Thread context.
    k::status punch(k::u64 first, k::u64 count) noexcept;
    // Makes sure that the pages are there. ENOMEM, ENOSPC. Thread context.
    k::status fill(k::u64 first, k::u64 count) noexcept;
    // The first page at or behind `from` that is there (or, not there); pages() if none is.
    k::u64 next_resident(k::u64 from, bool there) noexcept;

    // For files: moves bytes at an offset, at most `most`, by copying; fresh pages are made for what is written. Bytes
    // beyond the size are not moved; the status tells of a bad user address, of no memory or ENOSPC: the budget is used
    // up. Thread context.
    xio::moved read(k::u64 offset, xio::sink& to, k::u64 most = ~k::u64{0}) noexcept;
    xio::moved write(k::u64 offset, const xio::source& from) noexcept;
    // The same with bytes of one page that is there (to be written: and may be written in place) and with user memory
    // that is at hand; false: they may have changed, use the functions above. Nothing is pinned, for nothing sleeps.
    [[gnu::always_inline]] bool read_at_hand(k::u64 offset, k::u64 bytes, xio::sink& to) noexcept {
        const k::u64 in_page = offset % arch::page_size;
        if (in_page + bytes > arch::page_size) return false;
        lwkt::token_hold hold(token_, lwkt::sharing::shared);
        const page* p = tree_.find_page(pages_in(offset));
        return p &&
               to.write_at_hand({static_cast<const std::byte*>(direct(p)) + in_page, bytes}, xio::reason::file_read);
    }
    [[gnu::always_inline]] bool write_at_hand(k::u64 offset, k::u64 bytes, const xio::source& from) noexcept {
        const k::u64 in_page = offset % arch::page_size;
        if (in_page + bytes > arch::page_size) return false;
        lwkt::token_hold hold(token_);
        const found_page found = tree_.find(pages_in(offset));
        return found.sole && (!notes_writes_ || is_dirty(pages_in(offset))) &&
               from.read_at_hand({static_cast<std::byte*>(direct(found.p)) + in_page, bytes}, xio::reason::file_write);
    }
    // The same without copying (object_pages.cc). A stable source of bytes that lie in the object: whoever writes to
    // the object afterwards writes to another page. EAGAIN: copy instead; ENOMEM.
    k::result<xio::source> lend(k::u64 offset, k::u64 bytes) noexcept;
    // Puts whole pages of a stable source in, at a page boundary, in place of what is there. How many bytes; the rest
    // is to be copied. Thread context.
    k::u64 adopt(k::u64 offset, const xio::source& from) noexcept { return adopt(offset, from, over::anything); }
    // The same of what was read from where the pages are kept: nothing, if some of them are there already.
    k::u64 bring(k::u64 offset, const xio::source& from) noexcept { return adopt(offset, from, over::nothing); }
    // The same of what is newer there: nothing, if some of a file's pages are dirty.
    k::u64 renew(k::u64 offset, const xio::source& from) noexcept { return adopt(offset, from, over::what_is_clean); }
    // The same between the object and private memory, where neither keeps a list of what is lent: branches of the page
    // trees are shared. Puts `count` pages from `first` on at `at` in a space / takes those at `at` in their place. How
    // many pages, from the start; fewer, or none, where memory is not plain private memory, pages are not there,
    // somebody fills one, or where the program writes to what it shares too soon: the rest is to be copied. Thread
    // context.
    k::u64 give_to(space& to, k::u64 at, k::u64 first, k::u64 count) noexcept;
    k::u64 take_from(space& from, k::u64 at, k::u64 first, k::u64 count) noexcept;
    // Shows `count` pages of another object from `first` on too, until either side is written to: whole branches of the
    // tree where both lie alike in it. ENOMEM, ENOSPC, EAGAIN: copy instead. Thread context.
    k::status share_pages(k::u64 first, object& from, k::u64 from_first, k::u64 count) noexcept;
    // The first place in [from, end) that has (or has not) a page now, whatever the pager could bring; `end` if none.
    k::u64 next_in_memory(k::u64 from, k::u64 end, bool there) noexcept;
    // So many pages from the start are the pager's from now on, at most all: it has what was written to them. Thread
    // context.
    void extend_paged(k::u64 pages) noexcept;
    // The same of more than there are, which it has then.
    void grow_paged(k::u64 pages) noexcept;
    // Takes pages out that the pager can bring back. Thread context.
    void forget(k::u64 first, k::u64 count) noexcept;
    // How often that happened: what was read before, for places that were empty then, may be old now.
    k::u64 times_forgotten() const noexcept { return forgotten_.load(std::memory_order_acquire); }
    // Enters pages that a pager has read ahead where there are none, unless something was forgotten since `times` was
    // read. They are the caller's no more. Thread context.
    void supply(k::u64 first, std::span<page_ref> ahead, k::u64 times) noexcept;
    k::u64 resident_pages() const noexcept { return resident_.load(std::memory_order_relaxed); }

    // --- Of a file's: which pages are dirty. Thread context.
    k::u64 dirty_count() noexcept {
        lwkt::token_hold hold(token_, lwkt::sharing::shared);
        return dirty_.count();
    }
    // The first page in [from, end) that is (not) dirty; `end` if there is none.
    k::u64 next_dirty(k::u64 from, k::u64 end, bool wanted) noexcept {
        lwkt::token_hold hold(token_, lwkt::sharing::shared);
        return dirty_.next(from, end, wanted);
    }
    // They are going to be written: clean, unless somebody writes to them from now on. lend() comes next.
    void clean(k::u64 first, k::u64 count) noexcept {
        lwkt::token_hold hold(token_);
        clean_locked(first, count);
    }
    // They could not be: those that are still there are dirty, as before. False: not all, for want of memory.
    bool soil(k::u64 first, k::u64 count) noexcept;

    // For an object that the kernel keeps: calls change(bytes) with a page, in a critical section. It is written in
    // place if nobody else holds it, else in a copy which every mapping shows from then on. EIO beyond the size,
    // ENOMEM. Thread context.
    template <class Change> k::status change_page(k::u64 index, Change change) noexcept {
        lwkt::token_hold hold(token_);
        page* p = TRY(writable_page_locked(index, notes_writes_));
        lwkt::critical section;
        change(std::span(static_cast<std::byte*>(direct(p)), arch::page_size));
        return {};
    }

  private:
    friend class space;
    friend class loan_builder;
    friend class delivery;

    // The following hold the token (of a shared object; it is given up while a pager works).
    // The page of an index, paged in or zeroed if it is not there. EIO beyond the size, ENOMEM.
    k::result<found_page> page_locked(k::u64 index) noexcept REQUIRES(token_);
    // The same to be written in place: sole. Whatever it replaces has lost all its mappings. `noted`: a file's is
    // dirty.
    k::result<page*> writable_page_locked(k::u64 index, bool noted) noexcept REQUIRES(token_);
    enum class over : k::u8 { anything, nothing, what_is_clean };
    k::u64 adopt(k::u64 offset, const xio::source& from, over what) noexcept;
    k::result<page_ref> fresh_page(k::u64 index) noexcept REQUIRES(token_);
    bool is_paged_in(k::u64 first, k::u64 count) const noexcept REQUIRES(token_);
    // May a mapping write to it without asking: nobody else sees it, and it is known to be dirty if that must be known?
    bool may_be_written_as_is(k::u64 index, const found_page& found) const noexcept {
        return found.sole && (!file_ || is_dirty(index));
    }
    bool is_dirty(k::u64 index) const noexcept; // not inline: small writes to files elsewhere would pay for it
    // A file's page is dirty from here on. The token is given up while room is looked for. ENOSPC, EIO, ENOMEM.
    k::status make_dirty_locked(k::u64 index) noexcept REQUIRES(token_);
    bool make_dirty_again_locked(k::u64 index) noexcept REQUIRES(token_);
    void clean_locked(k::u64 first, k::u64 count) noexcept REQUIRES(token_);
    // The same of pages that will be replaced, if such writes are noted; are they all dirty then? Takes the token for
    // that.
    bool make_all_dirty(k::u64 first, k::u64 count) noexcept;
    bool are_dirty(k::u64 first, k::u64 count) const noexcept REQUIRES(token_) {
        return !file_ || dirty_.next(first, first + count, false) == first + count;
    }
    bool are_noted(k::u64 first, k::u64 count) const noexcept REQUIRES(token_) {
        return !notes_writes_ || are_dirty(first, count);
    }
    k::status page_in_locked(k::u64 first, k::u64 count) noexcept REQUIRES(token_);
    // Is every page there, and filled by nobody?
    bool can_be_lent(k::u64 first, k::u64 count) const noexcept REQUIRES(token_);
    bool is_filled(k::u64 first, k::u64 count) const noexcept REQUIRES(token_);
    k::status graft_locked(k::u64 first, k::u64 count, const page_tree& from, k::u64 from_first) noexcept
        REQUIRES(token_);
    k::result<unsigned> pin_to_read(k::u64 index, std::span<page*> to) noexcept;
    k::result<unsigned> pin_to_write(k::u64 index, std::span<page*> to, k::u32 whole, k::u32& fresh) noexcept;
    xio::moved read_in_page(k::u64 offset, k::u64 bytes, xio::sink& to) noexcept;
    xio::moved write_in_page(k::u64 offset, k::u64 bytes, const xio::source& from) noexcept;
    k::status put_filled(k::u64 index, page* p) noexcept;
    k::status erase_locked(k::u64 first, k::u64 count) noexcept REQUIRES(token_);
    // Takes every mapping of the pages away in every space / takes writing away, and waits until no CPU has it.
    void unmap_everywhere(k::u64 first, k::u64 count) noexcept;
    void write_protect_everywhere(k::u64 first, k::u64 count) noexcept;

    template <class Change> void change_mappings(k::u64 first, k::u64 count, Change change) noexcept;
    void add_mapping(entry& e) noexcept;
    void remove_mapping(entry& e) noexcept;

    lwkt::token token_;
    page_tree tree_;
    std::atomic<k::u64> pages_;
    k::u64 paged_;                     // so many from the start are the pager's; the others begin as zeroes
    pager* pager_;                     // immutable; null: zeroes
    page_budget* budget_;              // immutable; null: none
    file_pager* file_;                 // immutable; the pager, if it is a file's
    const bool notes_writes_;          // a file's, and all that is written makes pages dirty, not only mappings
    dirty_pages dirty_;                // of a file's
    std::atomic<k::u64> resident_ = 0; // pages in the tree of a shared one
    // Writes under way, whose pages may be pinned to be filled; the top bit: sinks over pages of it were lent once.
    static constexpr k::u32 sinks_lent = k::u32{1} << 31;
    std::atomic<k::u32> fills_ = 0;
    std::atomic<k::u64> forgotten_ = 0;
    object* twin_ = nullptr; // while its space forks: what this private object became in the child

    lwkt::spinlock mappings_lock_;
    mapping_list mappings_ GUARDED_BY(mappings_lock_); // entries that show pages of a shared object
};

// A copy of a page in a fresh one, entered in the ledger. Null: no memory for user pages.
page_ref copy_of_page(const page* from, xio::reason why) noexcept;
// A page for user memory. Null: no memory, or so little that the kernel keeps it for itself.
page_ref user_page(fill content) noexcept;
// Could so many pages be had for user memory, now? Any context.
bool user_pages_left(k::u64 count) noexcept;
// Fewer than one page in 16 is free: what holds memory for convenience should let go. Any context.
bool memory_is_short() noexcept;
// The page of zeroes that stands for all memory never written. Never sole.
page* zero_page() noexcept;
// How many pages a space may promise itself: those of the machine.
k::u64 promise_limit() noexcept;

void initialise_objects() noexcept;

} // namespace vm
