// vm::space: an address space. Read this header first of sys/vm.
//
// Ordered entries, each a range of an object (object.h) with protection and inheritance, and the machine's page table
// (pmap.h) that shows what was touched. Law 3 governs all writing: a page-table entry is writable only while its page
// has a single holder; whoever adds a holder (fork, loan, snapshot) takes writing away first.
//
// The token of the space guards the entries: exclusive to change them, shared to look (faults). It is
// given up by whatever blocks. All addresses and lengths may be absurd: they are checked here. Thread context.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lwkt/token.h"
#include "sys/vm/object.h"
#include "sys/vm/pmap.h"
#include "sys/xio/user_memory.h"

namespace vm {

using arch::user_access;

constexpr k::u8 every_access = arch::user_read | arch::user_write | arch::user_execute;

// What is to be mapped. Addresses and lengths in bytes; the length is rounded up to pages.
struct map_request {
    user_address hint = 0; // 0: anywhere
    k::u64 bytes = 0;
    k::u8 access = arch::user_read | arch::user_write; // user_access bits; 0: reserved, touching it is a fault
    sharing how = sharing::private_copy;
    k::ref<object> what{};   // none: fresh zeroes
    backing_ref of{};        // whose pages those are
    k::u64 offset = 0;       // into the object, page aligned
    bool fixed = false;      // at the hint, in the place of what is there
    bool no_replace = false; // with fixed: EEXIST if something is there
    bool grows_down = false; // a stack: faults below it extend it, down to `lowest`
    bool populate = false;   // fault everything in at once, as far as memory goes
    user_address lowest = 0;
    k::u8 most_access = every_access; // what protect() may give
    bool lock = false;                // wired: mlock'ed
};

struct space_size {
    k::u64 mapped_pages;   // of all entries
    k::u64 resident_pages; // about: pages of private objects
    k::u64 locked_pages;
    k::u64 data_pages; // private and writable
};

// One entry, as /proc/self/maps would show it.
struct entry_view {
    user_address base, end;
    k::u8 access;
    sharing how;
    bool grows_down;
    bool locked;
    k::u64 offset;
    const object* shown; // whose pages it shows, to be compared only; null: fresh memory
    const backing* of;
};

class space final : public k::counted<space>, public xio::user_memory {
  public:
    // An empty space. ENOMEM.
    static k::result<k::ref<space>> create() noexcept;
    // Another with the same memory: private memory shared until either side writes, whatever its size. ENOMEM.
    k::result<k::ref<space>> fork() noexcept;
    void last_holder_left() noexcept;

    // EINVAL, ENOMEM (no room, or over limit_bytes), EEXIST.
    k::result<user_address> map(map_request& what) noexcept;
    // Nothing mapped is fine. EINVAL for a range that is not page aligned or not user memory; ENOMEM.
    k::status unmap(user_address base, k::u64 bytes) noexcept;
    // ENOMEM if part of the range is not mapped; EACCES.
    k::status protect(user_address base, k::u64 bytes, k::u8 access) noexcept;
    // mremap: to another size, in place if it can be; moves if `may_move`, to `target` if that is not 0. EFAULT if the
    // old range is not one mapping; EINVAL, ENOMEM.
    k::result<user_address> remap(user_address base, k::u64 old_bytes, k::u64 new_bytes, bool may_move,
                                  user_address target, bool keep_old) noexcept;
    // MADV_DONTNEED: private memory becomes zeroes again. ENOMEM if part of the range is not mapped.
    k::status discard(user_address base, k::u64 bytes) noexcept;
    k::status set_inheritance(user_address base, k::u64 bytes, inheritance what) noexcept;
    // mlock and munlock. ENOMEM.
    k::status set_locked(user_address base, k::u64 bytes, bool locked) noexcept;
    // mincore: visit(page index from base, is it there). ENOMEM if part of the range is not mapped.
    k::status residency(user_address base, k::u64 bytes, std::span<k::u8> one_a_page) noexcept;
    // What the first shared mapping in [at, end) that may be written was made of, and in `at` where it ends; null:
    // there is none.
    backing_ref shared_backing(user_address& at, user_address end) noexcept;
    // Is all of the range mapped?
    bool is_mapped(user_address base, k::u64 bytes) noexcept;

    // The heap that brk() moves: begins empty at `base`. Called by exec, before threads run.
    void start_heap(user_address base) noexcept NO_THREAD_SAFETY_ANALYSIS { heap_base_ = heap_end_ = base; }
    // Moves the heap's end, if there is room and memory. Returns where it is then.
    user_address move_break(user_address end) noexcept;

    // Makes the page at `at` accessible. Errors: EFAULT (nothing is mapped there), EACCES (it may not be accessed
    // so), EIO (its pager has no such page: SIGBUS), ENOMEM.
    k::status fault(user_address at, k::u8 access) noexcept;

    // xio::user_memory, with faults. The running thread's space is this one.
    k::u64 copy_in(void* to, user_address from, k::u64 bytes) noexcept override;
    k::u64 copy_out(user_address to, const void* from, k::u64 bytes) noexcept override;
    k::u64 zero_out(user_address to, k::u64 bytes) noexcept override;
    k::u64 copy_in_at_hand(void* to, user_address from, k::u64 bytes) noexcept override {
        return bytes - map_for_cpu().copy_in(to, from, bytes);
    }
    k::u64 copy_out_at_hand(user_address to, const void* from, k::u64 bytes) noexcept override {
        return bytes - map_for_cpu().copy_out(to, from, bytes);
    }

    // Calls use(std::atomic_ref<k::u32>) with an aligned 32-bit word of user memory, in a critical section, while its
    // page cannot change: for futexes. `access` user_write breaks sharing first. May block before. EFAULT, ENOMEM,
    // EINVAL.
    template <class Use> k::status with_word(user_address at, k::u8 access, Use use) noexcept {
        if (at % sizeof(k::u32)) return k::error::inval;
        for (;;) {
            {
                lwkt::token_hold hold(token_);
                if (page* p = page_of_word_locked(at, access)) {
                    lwkt::critical section;
                    auto* word = reinterpret_cast<k::u32*>(static_cast<std::byte*>(direct(p)) + at % arch::page_size);
                    use(std::atomic_ref<k::u32>(*word));
                    return {};
                }
            }
            if (auto there = fault(at, access); !there) return there;
        }
    }
    // What names a word in all spaces that share it: (object, byte) for shared memory, (space, address) for private.
    struct word_key {
        const void* owner;
        k::u64 offset;
        bool operator==(const word_key&) const = default;
    };
    k::result<word_key> key_of(user_address at) noexcept;

    // For the running thread to be given to arch::context::set_user().
    arch::user_map& map_for_cpu() noexcept { return pmap_.machine_map(); }
    // Where free addresses are looked for, downwards: set by exec, with randomisation.
    void set_mmap_top(user_address top) noexcept NO_THREAD_SAFETY_ANALYSIS {
        mmap_top_ = full_from_ = top;
        first_full_ = entries_.lower_bound(top);
    }
    // Address space limit of map() and remap(), RLIMIT_AS; ~0: none.
    void set_limit(k::u64 bytes) noexcept { limit_bytes_ = bytes; }
    // The same for private writable memory, RLIMIT_DATA.
    void set_data_limit(k::u64 bytes) noexcept { data_limit_pages_ = pages_in(bytes); }

    space_size size() noexcept;
    // Where the heap is now.
    struct address_range {
        user_address base, end;
    };
    address_range heap() noexcept {
        lwkt::token_hold hold(token_);
        return {heap_base_, heap_end_};
    }
    // Calls visit(view) for each entry in order, under the token: it must not block.
    template <class Visit> void for_each_entry(Visit visit) noexcept {
        lwkt::token_hold hold(token_);
        for (const entry& e : entries_)
            visit(entry_view{e.base, e.end, e.access, e.how, e.grows_down, e.locked,
                             (e.is_shared() ? e.offset : e.under_offset) << arch::page_shift, e.shown(), e.of.get()});
    }

    // Whose loans this space's memory backs: it pays for their pins.
    xio::payer& payer() noexcept { return *payer_; }

    space() = default; // for create()

  private:
    friend class object;
    friend class loan_builder;
    friend class delivery;

    static constexpr k::u64 most_shown = 256; // pages that are shown when they are given, not when they are touched

    struct range {
        user_address base, end;
        k::u64 pages() const { return pages_in(end - base); }
    };
    static k::result<range> checked(user_address base, k::u64 bytes) noexcept;

    // All of the following hold the token.
    entry* entry_at(user_address at) noexcept REQUIRES(token_) {
        entry* e = first_from(at);
        return e && e->base <= at ? e : nullptr;
    }
    entry* first_from(user_address at) noexcept REQUIRES(token_) { // the first that ends above `at`
        entry* e = last_found_;
        return e && at - e->base < e->end - e->base ? e : look_up(at);
    }
    entry* look_up(user_address at) noexcept REQUIRES(token_);
    entry* remember(entry& e) noexcept REQUIRES(token_) {
        found_before_ = std::exchange(last_found_, &e);
        return &e;
    }
    entry* next_of(entry& e) noexcept REQUIRES(token_);
    entry* grow_stack(user_address at) noexcept REQUIRES(token_);
    bool covered(range r) noexcept REQUIRES(token_);
    // Where a new entry has room, and which one comes after it.
    struct room {
        user_address at;
        entry_map::iterator before;
    };
    k::result<room> find_room(k::u64 bytes, user_address hint, user_address grain = arch::page_size,
                              user_address behind = 0) noexcept REQUIRES(token_);
    bool is_free(range r) noexcept REQUIRES(token_);
    k::status split_at(user_address at) noexcept REQUIRES(token_);
    k::status split_around(range r) noexcept REQUIRES(token_);
    void add(entry& e) noexcept REQUIRES(token_);
    void add(entry& e, entry_map::iterator before) noexcept REQUIRES(token_);
    void enter_map(entry& e, entry_map::iterator before) noexcept REQUIRES(token_);
    void leave_map(entry& e) noexcept REQUIRES(token_);
    void remove(entry& e) noexcept REQUIRES(token_);
    bool merge_with_next(entry& e) noexcept REQUIRES(token_);
    bool extend_previous(const map_request& what, range r) noexcept REQUIRES(token_);
    k::status unmap_locked(range r) noexcept REQUIRES(token_);
    k::status forget_pages(entry& e, range r) noexcept REQUIRES(token_);
    k::status erase_from(entry& e, range r) noexcept REQUIRES(token_);
    k::result<user_address> map_locked(map_request& what, k::u64 bytes) noexcept REQUIRES(token_);
    // Private memory that has pages already, which nobody else changes, from `first` on.
    k::result<entry*> map_own(k::ref<object> own, k::u64 first, k::u64 bytes) noexcept REQUIRES(token_);
    k::result<user_address> move_locked(range from, k::u64 new_bytes, user_address target) noexcept REQUIRES(token_);
    k::status promise(k::u64 pages) const noexcept REQUIRES(token_);
    k::status stay_below_limit(k::u64 more_bytes) const noexcept REQUIRES(token_);
    void map_changed() noexcept REQUIRES(token_) { generation_++; }

    k::status fault_locked(user_address at, k::u8 access) noexcept REQUIRES(token_);
    k::status fault_private(entry& e, user_address at, bool write) noexcept REQUIRES(token_);
    k::status fault_under(entry& e, user_address at, bool write) noexcept REQUIRES(token_);
    k::status fault_shared(entry& e, user_address at, bool write) noexcept REQUIRES(token_);
    k::status fault_large(entry& e, user_address at) noexcept REQUIRES(token_);
    k::status break_sharing(entry& e, user_address at, const page* old) noexcept REQUIRES(token_);
    k::status put_page(entry& e, user_address at, page_ref& fresh) noexcept REQUIRES(token_);
    k::status show(user_address at, const page* p, k::u8 access) noexcept REQUIRES(token_);
    void hide(user_address at, k::u64 pages) noexcept REQUIRES(token_);
    void show_neighbours(const entry& e, const object& from, user_address at) noexcept REQUIRES(token_);
    k::status replace_pages(entry& e, user_address at, k::u64 count, const page_tree& from, k::u64 first) noexcept
        REQUIRES(token_);
    // How many pages it has shown, from the first on. `all`: none is missing; `cpus` as for pmap::enter_pages().
    k::u64 show_pages(const entry& e, user_address at, k::u64 count, const page_tree& from, k::u64 first, bool all,
                      k::u32* cpus) noexcept REQUIRES(token_);
    // Takes writing away from a private entry's pages, which now stand in another tree, too.
    void guard(entry& e, user_address at, k::u64 count) noexcept REQUIRES(token_);
    void take_writing(user_address at, k::u64 count) noexcept REQUIRES(token_);
    void show_own_neighbours(const entry& e, user_address at) noexcept REQUIRES(token_);
    bool is_filled(const page_tree& tree, k::u64 first, k::u64 count) const noexcept REQUIRES(token_);
    page* page_of_word_locked(user_address at, k::u8 access) noexcept REQUIRES(token_);

    k::status copy_entry(entry& e, space& child) noexcept REQUIRES(token_);
    k::status copy_private(entry& e, entry& twin) noexcept REQUIRES(token_);

    lwkt::token token_;
    entry_map entries_ GUARDED_BY(token_);
    // The next look-up is often for the same, or for the one before.
    entry* last_found_ GUARDED_BY(token_) = nullptr;
    entry* found_before_ GUARDED_BY(token_) = nullptr;
    k::u64 generation_ GUARDED_BY(token_) = 0; // counts changes of the entries
    k::u64 mapped_pages_ GUARDED_BY(token_) = 0;
    k::u64 data_pages_ GUARDED_BY(token_) = 0;
    pmap pmap_;
    xio::payer* payer_ = nullptr;
    std::atomic<k::u32> sinks_in_making_ = 0; // their pages are pinned before the payer is charged
    user_address mmap_top_ = arch::user_end;
    // From here to mmap_top_ there is no room; and the first entry that begins there or above.
    user_address full_from_ GUARDED_BY(token_) = arch::user_end;
    entry_map::iterator first_full_ GUARDED_BY(token_) = entries_.end();
    user_address heap_base_ GUARDED_BY(token_) = 0, heap_end_ GUARDED_BY(token_) = 0;
    k::u64 limit_bytes_ = ~k::u64{0};
    k::u64 data_limit_pages_ = ~k::u64{0};
};

} // namespace vm
