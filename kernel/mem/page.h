// vm::page: one for every frame of usable memory, and how frames are allocated.
//
// A page is held in four ways that are counted apart: references (trees, owners), source pins
// (somebody reads it), sink pins (somebody fills it) and wires. It is free only when all four are
// zero, and whoever drops the last hold gives it back. No count is ever folded into another: "is it being
// read?" has an exact answer.
//
// Contiguous runs come as blocks of 2^order pages. A block is held as a whole: the counts of its
// first page, the head, stand for all of it. Every page of a block knows the order and its distance from the head.
//
// Allocation: a CPU's own cache first (no lock), the buddy allocator behind it. Allocating never sleeps; without
// memory the answer is null. Any context but the log's.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lib/types.h"
#include "kernel/lwkt/critical.h"

#include <boost/intrusive/list.hpp>

#include <string_view>
#include <utility>

namespace vm {

class object;

// The ways to hold a page.
enum class hold : k::u8 { reference, source_pin, sink_pin, wire };

// Who a page was allocated for: "held by name" in the account of all pages.
enum class page_use : k::u8 { free, kernel, slab, stack, page_table, buffer, object, test };
constexpr unsigned page_uses = 8;

enum class fill : k::u8 { any, zeroed };

constexpr unsigned max_order = 12; // 16 MiB

// All four counts in one word, so that "was this the last hold of any kind" is one atomic operation.
class hold_counts {
  public:
    // Adds a hold to a page that is held already (else it might be free). False, with nothing
    // changed, when the count is full: the caller copies instead.
    [[nodiscard]] bool try_add(hold kind) noexcept {
        if (!was_full(add(kind), kind)) [[likely]]
            return true;
        word_.fetch_sub(unit(kind), std::memory_order_relaxed);
        return false;
    }
    // The same, for who adds to many: what there was before, to be or'ed. If one was_full(), all are to be dropped.
    [[nodiscard]] k::u64 add(hold kind) noexcept { return word_.fetch_add(unit(kind), std::memory_order_relaxed); }
    static bool was_full(k::u64 before, hold kind) noexcept { return before & full(kind); }
    // Was there a hold of that kind on any?
    static bool are_in(k::u64 before, hold kind) noexcept { return before & mask(kind); }
    // True if nothing holds the page any more; the caller must free it then.
    [[nodiscard]] bool drop(hold kind) noexcept {
        const k::u64 before = word_.fetch_sub(unit(kind), std::memory_order_acq_rel);
        // Checked by the debug kernel only, which runs all self-tests: without that this is two instructions, which
        // messages and files need for every page.
        if constexpr (k::debug_build) kassert(before & mask(kind));
        return before == unit(kind);
    }
    k::u32 count(hold kind) const noexcept { return count_in(word_.load(std::memory_order_acquire), kind); }
    bool none() const noexcept { return word_.load(std::memory_order_acquire) == 0; }
    // One hold of this kind and nothing else.
    bool only(hold kind) const noexcept { return word_.load(std::memory_order_acquire) == unit(kind); }
    // One reference and no source pin, both at one moment: what is a pin now may be a reference the next.
    bool is_sole() const noexcept {
        return (word_.load(std::memory_order_acquire) & (mask(hold::reference) | mask(hold::source_pin))) ==
               unit(hold::reference);
    }
    void start(hold kind) noexcept { word_.store(unit(kind), std::memory_order_relaxed); }

    // Half of each field's range; the other half takes the overshoot of racing try_add() calls.
    static constexpr k::u32 limit(hold kind) { return (k::u32{1} << (width[index(kind)] - 1)); }

  private:
    static constexpr unsigned width[4] = {20, 20, 12, 12};
    static constexpr unsigned shift[4] = {0, 20, 40, 52};
    static constexpr unsigned index(hold kind) { return static_cast<unsigned>(kind); }
    static constexpr k::u64 unit(hold kind) { return k::u64{1} << shift[index(kind)]; }
    static constexpr k::u64 full(hold kind) { return unit(kind) << (width[index(kind)] - 1); } // the field's top bit
    static constexpr k::u64 mask(hold kind) { return (full(kind) << 1) - unit(kind); }
    static constexpr k::u32 count_in(k::u64 word, hold kind) {
        return static_cast<k::u32>(word >> shift[index(kind)]) & ((k::u32{1} << width[index(kind)]) - 1);
    }

    std::atomic<k::u64> word_;
};

struct page {
    using hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;

    hook link;         // free list, slab list or an object's list: whoever owns the page
    hold_counts holds; // of a block: in its head only
    union {
        struct {
            object* owner; // null: an orphan, kept alive by its holds alone
            k::u64 index;  // the page's place in its owner
        } in_object;
        struct {
            void* free;  // first free object
            k::u16 used; // objects handed out
            k::u8 size_class;
            k::u8 home; // the CPU whose cache the slab belongs to
        } slab;
    };
    k::u16 place;   // in its block: the order, and how many pages the head is away; immutable while allocated
    page_use use;   // immutable while allocated
    bool free_head; // the head of a block in the buddy allocator; guarded by its lock
    k::u32 guarded; // debug builds: how many lent sources keep the direct map read-only; see sys/xio

    unsigned order() const noexcept { return place & 15; }
    void set_place(unsigned order, std::size_t distance) noexcept {
        place = static_cast<k::u16>(distance << 4 | order);
    }
};
static_assert(max_order <= 12, "a distance within a block has twelve bits");
static_assert(sizeof(page) <= 48, "the page array must stay under 1.5 % of memory");

// The array over all frames. Set once at boot.
extern page* page_array;

inline page* page_at(arch::paddr pa) noexcept {
    return page_array + (pa >> arch::page_shift);
}
// Where the frames of pages lie: what (p - page_array) << page_shift is, by one multiplication, as sizeof(page) divides
// every distance. For who asks for many, and keeps one of these in registers.
class frames {
  public:
    frames() noexcept : bias_(address(page_array) * scale) {}
    arch::paddr operator()(const page* p) const noexcept { return address(p) * scale - bias_; }

  private:
    static k::u64 address(const page* p) noexcept { return reinterpret_cast<k::u64>(p); }
    static constexpr k::u64 odd = sizeof(page) >> std::countr_zero(sizeof(page));
    static constexpr k::u64 inverse = [] {
        k::u64 x = odd; // right in three bits; each step doubles that
        for (unsigned bits = 3; bits < 64; bits *= 2)
            x *= 2 - odd * x;
        return x;
    }();
    static_assert(odd * inverse == 1 && std::countr_zero(sizeof(page)) <= arch::page_shift);
    static constexpr k::u64 scale = inverse << (arch::page_shift - std::countr_zero(sizeof(page)));

    k::u64 bias_;
};
inline arch::paddr physical(const page* p) noexcept {
    return static_cast<arch::paddr>(p - page_array) << arch::page_shift;
}
inline void* direct(const page* p) noexcept {
    return arch::memory::direct(physical(p));
}
inline page* page_of(const void* direct_address) noexcept {
    return page_at(arch::memory::physical(direct_address));
}
inline page* head_of(page* p) noexcept {
    return p - (p->place >> 4);
}

// A page or a block of 2^order pages, with one reference, or null.
page* allocate_page(page_use use, fill content) noexcept;
page* allocate_block(unsigned order, page_use use, fill content) noexcept;

// The same with every byte at or below `highest`, contents undefined; slow where memory reaches higher.
page* allocate_below(arch::paddr highest, unsigned order, page_use use) noexcept;

// Gives back a block whose counts are all zero. Only for whoever dropped the last hold.
void free_block(page* head) noexcept;

// Makes single pages of a block that has one reference and no other hold: each has a reference of its own then.
void split_block(page* head) noexcept;

// Drops one hold of a block and frees it if that was the last.
inline void drop(page* head, hold kind) noexcept {
    if (head->holds.drop(kind)) [[unlikely]]
        free_block(head);
}

// An owner's reference to a block.
class page_ref {
  public:
    page_ref() = default;
    // Takes over a reference that the caller has.
    explicit page_ref(page* head) noexcept : head_(head) {}
    page_ref(page_ref&& other) noexcept : head_(std::exchange(other.head_, nullptr)) {}
    page_ref& operator=(page_ref&& other) noexcept {
        std::swap(head_, other.head_);
        return *this;
    }
    ~page_ref() {
        if (head_) drop(head_, hold::reference);
    }
    static page_ref allocate(unsigned order, page_use use, fill content = fill::any) noexcept {
        return page_ref(order ? allocate_block(order, use, content) : allocate_page(use, content));
    }

    explicit operator bool() const { return head_ != nullptr; }
    page* get() const { return head_; }
    page* operator->() const { return head_; }
    page* release() { return std::exchange(head_, nullptr); }
    void* data() const { return direct(head_); }
    std::size_t size() const { return arch::page_size << head_->order(); }

  private:
    page* head_ = nullptr;
};

// Where all pages are. free + cached + the sum of in_use = total, always, when no CPU is allocating.
struct page_account {
    k::u64 total;
    k::u64 free;              // in the buddy allocator
    k::u64 cached;            // in the CPUs' caches
    k::u64 in_use[page_uses]; // by page_use
};
// Asks every CPU. Thread context.
page_account account() noexcept;
// Free pages, the CPUs' caches left out: a moment old, but it costs one load. Any context.
k::u64 free_estimate() noexcept;
std::string_view name_of(page_use use);

// Builds the page array and the free lists. Boot CPU, once. False: not enough memory.
bool initialise_pages();

// Moves one page of this CPU's cache to its stock of zeroed ones. False when there is nothing to do. Idle thread.
bool zero_ahead() noexcept;

// Gives this CPU's cached pages back to the buddy allocator.
void drain_page_cache() noexcept;

} // namespace vm
