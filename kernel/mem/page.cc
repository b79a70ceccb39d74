// The frames of memory: each CPU's cache of single pages over one buddy allocator.
//
// The buddy allocator keeps free blocks of 2^order pages in lists under one spinlock and merges a freed
// block with its buddy whenever that is free as well. It is the cold path: a CPU takes and returns
// pages in batches, and alloc/free in its cache touches nothing that another CPU sees.
#include "kernel/mem/page.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/fault_injection.h"

#include <algorithm>
#include <bit>

namespace vm {

page* page_array;

namespace {

using page_list = boost::intrusive::list<page, boost::intrusive::member_hook<page, page::hook, &page::link>,
                                         boost::intrusive::constant_time_size<false>>;

class buddy_allocator {
  public:
    void initialise(std::span<const arch::region> regions) {
        regions_ = regions;
        for (const arch::region& r : regions)
            add(r.base >> arch::page_shift, (r.base + r.size) >> arch::page_shift);
    }

    page* take(unsigned order) {
        lwkt::spin_guard guard(lock_);
        return take_locked(order);
    }

    // A block all of which lies at or below an address. The upper halves of what it is cut from go back.
    page* take_below(unsigned order, arch::paddr highest) {
        lwkt::spin_guard guard(lock_);
        for (unsigned have = order; have <= max_order; have++)
            for (page& head : free_[have])
                if (physical(&head) + (arch::page_size << order) - 1 <= highest) return cut_locked(head, have, order);
        return nullptr;
    }

    unsigned take_pages(std::span<page*> out) {
        lwkt::spin_guard guard(lock_);
        unsigned taken = 0;
        while (taken < out.size()) {
            page* p = take_locked(0);
            if (!p) break;
            out[taken++] = p;
        }
        return taken;
    }

    void give(page* head) {
        lwkt::spin_guard guard(lock_);
        give_locked(head, head->order());
    }

    void give_pages(std::span<page* const> pages) {
        lwkt::spin_guard guard(lock_);
        for (page* p : pages)
            give_locked(p, 0);
    }

    k::u64 free_pages() {
        lwkt::spin_guard guard(lock_);
        return free_pages_;
    }
    k::u64 free_estimate() const { return std::atomic_ref(free_now_).load(std::memory_order_relaxed); }
    k::u64 total_pages() const { return total_pages_; }

  private:
    // Frees the range as the largest aligned blocks that fit.
    void add(k::u64 first, k::u64 end) {
        total_pages_ += end - first;
        lwkt::spin_guard guard(lock_);
        while (first < end) {
            unsigned order =
                std::min<unsigned>(max_order, static_cast<unsigned>(std::countr_zero(first | (1ull << 63))));
            while (first + (k::u64{1} << order) > end)
                order--;
            give_locked(page_array + first, order);
            first += k::u64{1} << order;
        }
    }

    page* take_locked(unsigned order) REQUIRES(lock_) {
        unsigned have = order;
        while (have <= max_order && free_[have].empty())
            have++;
        if (have > max_order) return nullptr;
        return cut_locked(free_[have].front(), have, order);
    }

    page* cut_locked(page& head, unsigned have, unsigned order) REQUIRES(lock_) {
        free_[have].erase(free_[have].iterator_to(head));
        head.free_head = false;
        while (have > order) { // the upper halves go back
            have--;
            insert(&head + (std::size_t{1} << have), have);
        }
        count_free(free_pages_ - (k::u64{1} << order));
        return &head;
    }

    void give_locked(page* head, unsigned order) REQUIRES(lock_) {
        count_free(free_pages_ + (k::u64{1} << order));
        while (order < max_order) {
            page* buddy = buddy_of(head, order);
            if (!buddy || !buddy->free_head || buddy->order() != order) break;
            free_[order].erase(free_[order].iterator_to(*buddy));
            buddy->free_head = false;
            head = std::min(head, buddy);
            order++;
        }
        insert(head, order);
    }

    void insert(page* head, unsigned order) REQUIRES(lock_) {
        head->set_place(order, 0);
        head->free_head = true;
        free_[order].push_front(*head);
    }

    // The neighbour a block would merge with, or null where there is no memory: the page array has
    // no backing there and may not be looked at.
    page* buddy_of(page* head, unsigned order) const {
        const k::u64 frame = static_cast<k::u64>(head - page_array) ^ (k::u64{1} << order);
        const arch::paddr base = frame << arch::page_shift, size = arch::page_size << order;
        for (const arch::region& r : regions_)
            if (base >= r.base && base + size <= r.base + r.size) return page_array + frame;
        return nullptr;
    }

    void count_free(k::u64 pages) REQUIRES(lock_) {
        free_pages_ = pages;
        std::atomic_ref(free_now_).store(pages, std::memory_order_relaxed);
    }

    lwkt::spinlock lock_;
    page_list free_[max_order + 1] GUARDED_BY(lock_);
    k::u64 free_pages_ GUARDED_BY(lock_) = 0;
    mutable k::u64 free_now_ = 0;           // the same for those who do not take the lock
    k::u64 total_pages_ = 0;                // immutable after boot
    std::span<const arch::region> regions_; // immutable after boot
};

// Constructed in place at boot, so that no order of constructors matters.
alignas(buddy_allocator) std::byte buddy_storage[sizeof(buddy_allocator)];
buddy_allocator& buddy() {
    return reinterpret_cast<buddy_allocator&>(buddy_storage);
}

constexpr unsigned cache_pages = 64;
constexpr unsigned cache_batch = 32;
constexpr unsigned clean_pages = 32;

// Owned by one CPU.
struct page_cache {
    k::u32 count;
    k::u32 clean_count;
    k::u32 cleaning; // 1 while the idle thread zeroes a page, which it may be preempted at
    page* pages[cache_pages];
    page* clean[clean_pages]; // zeroed ahead of need
    k::i64 in_use[page_uses]; // this CPU's part of the sum: pages are freed on other CPUs too
};
lwkt::per_cpu<page_cache> caches;

// A page from this CPU's stock or from behind it; null if there is no memory at all. `clean` says whether a zeroed
// one is wanted, and then what was got.
page* take(page_cache& cache, bool& clean) {
    if (clean && cache.clean_count) return cache.clean[--cache.clean_count];
    if (!cache.count) cache.count = buddy().take_pages({cache.pages, cache_batch});
    clean = !cache.count;
    if (cache.count) return cache.pages[--cache.count];
    return cache.clean_count ? cache.clean[--cache.clean_count] : nullptr;
}

void start_page(page* p, page_use use) {
    p->holds.start(hold::reference);
    p->use = use;
    p->set_place(0, 0);
}

// What allocate_page() does when it takes more than looking into the cache.
[[gnu::noinline]] page* allocate_page_slowly(page_use use, fill content) {
    if (mem::fault_injection::should_fail()) return nullptr;
    bool clean = content == fill::zeroed;
    page* p;
    {
        lwkt::critical section;
        page_cache& cache = caches.local();
        p = take(cache, clean);
        if (!p) return nullptr;
        cache.in_use[static_cast<unsigned>(use)]++;
    }
    start_page(p, use);
    if (content == fill::zeroed && !clean) arch::memory::zero_page(direct(p));
    return p;
}

void start_block(page* head, unsigned order, page_use use) {
    const std::size_t pages = std::size_t{1} << order;
    for (std::size_t i = 0; i < pages; i++) {
        head[i].set_place(order, i);
        head[i].use = use;
    }
    head->holds.start(hold::reference);
    lwkt::critical section;
    caches.local().in_use[static_cast<unsigned>(use)] += static_cast<k::i64>(pages);
}

} // namespace

page* allocate_page(page_use use, fill content) noexcept {
    if (content == fill::zeroed || mem::fault_injection::armed()) [[unlikely]]
        return allocate_page_slowly(use, content);
    lwkt::critical section;
    page_cache& cache = caches.local();
    if (!cache.count) [[unlikely]]
        return allocate_page_slowly(use, content);
    page* p = cache.pages[--cache.count];
    cache.in_use[static_cast<unsigned>(use)]++;
    start_page(p, use);
    return p;
}

page* allocate_block(unsigned order, page_use use, fill content) noexcept {
    if (order == 0) return allocate_page(use, content);
    if (order > max_order || mem::fault_injection::should_fail()) return nullptr;
    page* head = buddy().take(order);
    if (!head) {
        drain_page_cache(); // this CPU's single pages may complete a block
        head = buddy().take(order);
        if (!head) return nullptr;
    }
    start_block(head, order, use);
    for (std::size_t i = 0; content == fill::zeroed && i < std::size_t{1} << order; i++)
        arch::memory::zero_page(direct(head + i));
    return head;
}

page* allocate_below(arch::paddr highest, unsigned order, page_use use) noexcept {
    if (order > max_order || mem::fault_injection::should_fail()) return nullptr;
    page* head = buddy().take_below(order, highest);
    if (!head) {
        drain_page_cache();
        head = buddy().take_below(order, highest);
        if (!head) return nullptr;
    }
    start_block(head, order, use);
    return head;
}

void split_block(page* head) noexcept {
    kassert(head->holds.only(hold::reference));
    const std::size_t pages = std::size_t{1} << head->order();
    for (std::size_t i = 0; i < pages; i++)
        start_page(head + i, head->use);
}

namespace {

// A block, or a page for which the cache has no room.
[[gnu::noinline]] void free_to_buddy(page_cache& cache, page* head) {
    cache.in_use[static_cast<unsigned>(head->use)] -= k::i64{1} << head->order();
    head->use = page_use::free;
    if (head->order()) return buddy().give(head);
    cache.count -= cache_batch;
    buddy().give_pages({cache.pages + cache.count, cache_batch});
    cache.pages[cache.count++] = head;
}

} // namespace

void free_block(page* head) noexcept {
    lwkt::critical section;
    page_cache& cache = caches.local();
    if (head->place != 0 || cache.count == cache_pages) [[unlikely]]
        return free_to_buddy(cache, head);
    cache.in_use[static_cast<unsigned>(head->use)]--;
    head->use = page_use::free;
    cache.pages[cache.count++] = head;
}

void drain_page_cache() noexcept {
    lwkt::critical section;
    page_cache& cache = caches.local();
    buddy().give_pages({cache.pages, std::exchange(cache.count, 0)});
    buddy().give_pages({cache.clean, std::exchange(cache.clean_count, 0)});
}

bool zero_ahead() noexcept {
    page* p;
    {
        lwkt::critical section;
        page_cache& cache = caches.local();
        if (cache.clean_count == clean_pages || !cache.count) return false;
        p = cache.pages[--cache.count];
        cache.cleaning = 1;
    }
    arch::memory::zero_page(direct(p));
    lwkt::critical section; // the idle thread is not handed over: this is the same CPU
    page_cache& cache = caches.local();
    cache.cleaning = 0;
    cache.clean[cache.clean_count++] = p;
    return true;
}

k::u64 free_estimate() noexcept {
    return buddy().free_estimate();
}

page_account account() noexcept {
    // Each CPU adds what it owns. A use's part may be negative there; the sum, modulo 2^64, is not.
    struct sum {
        lwkt::spinlock lock;
        page_account a GUARDED_BY(lock){};
    } all;
    lwkt::call_everywhere(
        [](void* argument) {
            auto& all = *static_cast<sum*>(argument);
            const page_cache& cache = caches.local();
            lwkt::spin_guard guard(all.lock);
            all.a.cached += cache.count + cache.clean_count + cache.cleaning;
            for (unsigned u = 0; u < page_uses; u++)
                all.a.in_use[u] += static_cast<k::u64>(cache.in_use[u]);
        },
        &all);
    lwkt::spin_guard guard(all.lock);
    page_account& a = all.a;
    a.free = buddy().free_pages();
    a.total = buddy().total_pages();
    return a;
}

std::string_view name_of(page_use use) {
    constexpr std::string_view names[page_uses] = {"free",       "kernel", "slab",   "stack",
                                                   "page table", "buffer", "object", "test"};
    return names[static_cast<unsigned>(use)];
}

bool initialise_pages() {
    page_array = static_cast<page*>(arch::memory::map_page_array(sizeof(page)));
    if (!page_array) return false;
    new (buddy_storage) buddy_allocator;
    buddy().initialise(arch::memory::regions());
    return buddy().total_pages() != 0;
}

} // namespace vm
