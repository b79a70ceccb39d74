#include "sys/vm/object.h"

#include "kernel/mem/slab.h"
#include "sys/vm/pmap.h"
#include "sys/vm/space.h"

#include <cstring>

namespace vm {

namespace {

page* zeroes;      // immutable after boot
k::u64 all_pages;  // the machine's
k::u64 kept_pages; // below so many free ones, user memory gets none

// Makes pages of bytes that lie anywhere in the kernel's memory.
class bytes_pager final : public pager {
  public:
    explicit bytes_pager(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

    k::result<page_ref> page_in(k::u64 index) noexcept override {
        const k::u64 offset = index << arch::page_shift;
        if (offset >= bytes_.size()) return k::error::io;
        page_ref fresh = user_page(fill::any);
        if (!fresh) return k::error::nomem;
        const k::u64 bytes = std::min<k::u64>(bytes_.size() - offset, arch::page_size);
        auto* to = static_cast<std::byte*>(fresh.data());
        std::memcpy(to, bytes_.data() + offset, bytes);
        std::memset(to + bytes, 0, arch::page_size - bytes);
        xio::note_copied(xio::reason::page_in, bytes);
        return fresh;
    }
    void object_gone() noexcept override { mem::destroy(this); }

  private:
    std::span<const std::byte> bytes_;
};

} // namespace

void initialise_objects() noexcept {
    zeroes = allocate_page(page_use::kernel, fill::zeroed);
    if (!zeroes) k::panic("no memory for a page of zeroes");
    all_pages = account().total;
    kept_pages = std::clamp<k::u64>(all_pages / 64, 64, 4096);
}

page* zero_page() noexcept {
    return zeroes;
}

k::u64 promise_limit() noexcept {
    return all_pages;
}

bool user_pages_left(k::u64 count) noexcept {
    return free_estimate() >= kept_pages + count;
}

bool memory_is_short() noexcept {
    return free_estimate() < all_pages / 16;
}

page_ref user_page(fill content) noexcept {
    if (!user_pages_left(0)) [[unlikely]]
        return page_ref();
    return page_ref::allocate(0, page_use::object, content);
}

page_ref copy_of_page(const page* from, xio::reason why) noexcept {
    page_ref fresh = user_page(fill::any);
    if (!fresh) return fresh;
    std::memcpy(fresh.data(), direct(from), arch::page_size);
    xio::note_copied(why, arch::page_size);
    return fresh;
}

k::result<k::ref<object>> object::with_pager(pager& from, k::u64 pages) noexcept {
    pager* source = &from;
    page_budget* no_budget = nullptr;
    file_pager* no_file = nullptr;
    auto* made = mem::make<object>(pages, source, no_budget, no_file, noting::all_writes);
    if (!made) return k::error::nomem;
    return k::ref<object>(made);
}

k::result<k::ref<object>> object::of_file(file_pager& from, k::u64 pages, noting what) noexcept {
    file_pager* file = &from;
    pager* source = file;
    page_budget* no_budget = nullptr;
    auto* made = mem::make<object>(pages, source, no_budget, file, what);
    if (!made) return k::error::nomem;
    return k::ref<object>(made);
}

k::result<k::ref<object>> object::anonymous(k::u64 pages, page_budget* budget) noexcept {
    pager* none = nullptr;
    file_pager* no_file = nullptr;
    auto* made = mem::make<object>(pages, none, budget, no_file, noting::all_writes);
    if (!made) return k::error::nomem;
    return k::ref<object>(made);
}

k::result<k::ref<object>> object::of_bytes(std::span<const std::byte> bytes, page_budget* budget) noexcept {
    auto source = mem::make_box<bytes_pager>(bytes);
    if (!source) return k::error::nomem;
    const k::u64 pages = pages_in(k::align_up<k::u64>(bytes.size(), arch::page_size));
    pager* from = source.get();
    file_pager* no_file = nullptr;
    auto* made = mem::make<object>(pages, from, budget, no_file, noting::all_writes);
    if (!made) return k::error::nomem;
    source.release(); // the object's from here on
    return k::ref<object>(made);
}

void object::last_holder_left() noexcept {
    pager* source = pager_;
    if (budget_) budget_->give_back(resident_pages());
    if (file_) file_->charge(-static_cast<k::i64>(dirty_.count()));
    mem::destroy(this);
    if (source) source->object_gone();
}

void object::add_mapping(entry& e) noexcept {
    lwkt::spin_guard guard(mappings_lock_);
    mappings_.push_back(e);
}

void object::remove_mapping(entry& e) noexcept {
    lwkt::spin_guard guard(mappings_lock_);
    mappings_.erase(mappings_.iterator_to(e));
}

// Calls change(pmap, va, pages) for each piece of a space that shows part of [first, first + count); it gives the CPUs
// that must flush. A space that goes away meanwhile takes its entries out of the list first.
template <class Change> void object::change_mappings(k::u64 first, k::u64 count, Change change) noexcept {
    k::u32 cpus = 0;
    {
        lwkt::spin_guard guard(mappings_lock_);
        for (entry& e : mappings_) {
            const k::u64 start = e.is_shared() ? e.offset : e.under_offset;
            const k::u64 from = std::max(start, first), to = std::min(start + e.pages(), first + count);
            if (from < to) cpus |= change(e.in->pmap_, e.base + ((from - start) << arch::page_shift), to - from);
        }
    }
    flush_cpus(cpus, 0, 0);
}

void object::unmap_everywhere(k::u64 first, k::u64 count) noexcept {
    change_mappings(first, count, [](pmap& map, user_address at, k::u64 pages) { return map.remove(at, pages); });
}

void object::write_protect_everywhere(k::u64 first, k::u64 count) noexcept {
    change_mappings(first, count,
                    [](pmap& map, user_address at, k::u64 pages) { return map.write_protect(at, pages); });
}

// The page that an empty place gets. The token is given up while a pager works.
k::result<page_ref> object::fresh_page(k::u64 index) noexcept {
    if (budget_ && !budget_->take(1)) return k::error::nospc;
    auto fresh = index < paged_ ? pager_->page_in(index) : k::result<page_ref>(user_page(fill::zeroed));
    if (fresh && *fresh) return fresh;
    if (budget_) budget_->give_back(1);
    return fresh ? k::error::nomem : fresh.error();
}

k::result<found_page> object::page_locked(k::u64 index) noexcept {
    for (;;) {
        if (index >= pages()) return k::error::io;
        if (const found_page found = tree_.find(index); found.p) return found;
        const k::u64 times = times_forgotten();
        page_ref fresh = TRY(fresh_page(index));
        // Or somebody was quicker while the pager worked, or what it found is old.
        const bool wanted = index < pages() && !tree_.find(index).p && times == times_forgotten();
        k::status put;
        if (wanted && (put = tree_.insert(index, fresh))) {
            resident_.fetch_add(1, std::memory_order_relaxed);
            continue;
        }
        if (budget_) budget_->give_back(1);
        if (!put) return put.error();
    }
}

k::result<page*> object::writable_page_locked(k::u64 index, bool noted) noexcept {
    found_page found;
    do {
        if (index >= pages()) return k::error::io;
        if (noted) TRY(make_dirty_locked(index));
        auto there = page_locked(index);
        if (!there) {
            if (noted && (index >= pages() || !tree_.find_page(index))) clean_locked(index, 1);
            return there.error();
        }
        found = *there;
    } while (noted && !are_dirty(index, 1)); // it was written back meanwhile
    if (found.sole) return found.p;
    unmap_everywhere(index, 1);
    page_ref fresh = copy_of_page(found.p, xio::reason::copy_on_write);
    if (!fresh) return k::error::nomem;
    page* p = fresh.get();
    if (auto put = tree_.insert(index, fresh); !put) return put.error();
    return p;
}

// --- Dirty pages of a file

k::status object::make_dirty_locked(k::u64 index) noexcept {
    if (!file_ || dirty_.has(index)) return {};
    TRY(file_->reserve(index, 1));
    const bool was = dirty_.has(index); // somebody was quicker
    const bool set = was || dirty_.set(index);
    if (was || !set) file_->charge(-1);
    return set ? k::status() : k::error::nomem;
}

bool object::make_dirty_again_locked(k::u64 index) noexcept {
    if (!file_ || dirty_.has(index)) return true;
    if (!dirty_.set(index)) return false;
    file_->charge(1);
    return true;
}

void object::clean_locked(k::u64 first, k::u64 count) noexcept {
    if (file_) file_->charge(-static_cast<k::i64>(dirty_.clear(first, count)));
}

bool object::make_all_dirty(k::u64 first, k::u64 count) noexcept {
    if (!notes_writes_) return true;
    lwkt::token_hold hold(token_);
    for (k::u64 index = first; index < first + count; index++)
        if (index >= pages() || !make_dirty_locked(index)) return false;
    return are_dirty(first, count);
}

bool object::is_dirty(k::u64 index) const noexcept {
    return dirty_.has(index);
}

bool object::soil(k::u64 first, k::u64 count) noexcept {
    bool all = true;
    lwkt::token_hold hold(token_);
    tree_.for_each(first, count, [&](k::u64 index, page*) NO_THREAD_SAFETY_ANALYSIS {
        if (index < pages()) all &= make_dirty_again_locked(index);
        return true;
    });
    return all;
}

k::status object::erase_locked(k::u64 first, k::u64 count) noexcept {
    unmap_everywhere(first, count);
    const k::u64 before = tree_.count(first, count);
    const k::status erased = tree_.erase(first, count);
    const k::u64 gone = erased ? before : before - tree_.count(first, count);
    resident_.fetch_sub(gone, std::memory_order_relaxed);
    if (budget_) budget_->give_back(gone);
    return erased;
}

k::status object::resize(k::u64 pages) noexcept {
    lwkt::token_hold hold(token_);
    const k::u64 before = pages_.exchange(pages, std::memory_order_relaxed);
    if (notes_writes_) paged_ = pages;
    if (pages >= before) return {};
    if (pager_) forgotten_.fetch_add(1, std::memory_order_release); // what is being brought in may not come back
    clean_locked(pages, before - pages);
    paged_ = std::min(paged_, pages);
    return erase_locked(pages, before - pages);
}

k::status object::punch(k::u64 first, k::u64 count) noexcept {
    lwkt::token_hold hold(token_);
    if (file_) {
        forgotten_.fetch_add(1, std::memory_order_release);
        clean_locked(first, count);
        return erase_locked(first, count);
    }
    // The pager would bring them back: it has only what is in front of them from now on.
    for (k::u64 index = first + count; index < std::min(paged_, pages()); index++)
        TRY(page_locked(index));
    paged_ = std::min(paged_, first);
    return erase_locked(first, count);
}

void object::forget(k::u64 first, k::u64 count) noexcept {
    lwkt::token_hold hold(token_);
    forgotten_.fetch_add(1, std::memory_order_release);
    if (first >= paged_) return;
    const k::u64 end = first + std::min(count, paged_ - first);
    for (k::u64 at = first; at < end;) {
        at = dirty_.next(at, end, false);
        const k::u64 until = dirty_.next(at, end, true);
        if (at < until && !(file_ && is_filled(at, until - at))) (void)erase_locked(at, until - at);
        at = until;
    }
}

void object::extend_paged(k::u64 pages) noexcept {
    lwkt::token_hold hold(token_);
    if (pager_) paged_ = std::max(paged_, std::min(pages, this->pages()));
}

void object::grow_paged(k::u64 pages) noexcept {
    lwkt::token_hold hold(token_);
    if (pages > this->pages()) pages_.store(pages, std::memory_order_relaxed);
    paged_ = std::max(paged_, pages);
}

void object::supply(k::u64 first, std::span<page_ref> ahead, k::u64 times) noexcept {
    lwkt::token_hold hold(token_);
    for (std::size_t i = 0; i < ahead.size() && times == times_forgotten(); i++) {
        if (first + i >= paged_ || tree_.find(first + i).p || (budget_ && !budget_->take(1))) continue;
        if (tree_.insert(first + i, ahead[i]))
            resident_.fetch_add(1, std::memory_order_relaxed);
        else if (budget_)
            budget_->give_back(1);
    }
}

k::status object::fill(k::u64 first, k::u64 count) noexcept {
    lwkt::token_hold hold(token_);
    for (k::u64 index = first; index < first + count; index++)
        TRY(page_locked(index));
    return {};
}

k::u64 object::next_in_memory(k::u64 from, k::u64 end, bool there) noexcept {
    lwkt::token_hold hold(token_, lwkt::sharing::shared);
    k::u64 next = from, found = end;
    tree_.for_each(from, end - std::min(from, end), [&](k::u64 index, page*) {
        if (there) found = index;
        if (there || index != next) return false;
        next++;
        return true;
    });
    return there ? found : std::min(next, end);
}

k::u64 object::next_resident(k::u64 from, bool there) noexcept {
    lwkt::token_hold hold(token_);
    k::u64 next = from;
    if (there && next >= paged_) {
        k::u64 found = pages();
        tree_.for_each(next, pages() - std::min(next, pages()), [&](k::u64 index, found_page) {
            found = index;
            return false;
        });
        return found;
    }
    if (there) return std::min(next, pages());
    next = std::max(next, paged_);
    tree_.for_each(next, pages() - std::min(next, pages()), [&](k::u64 index, found_page) {
        if (index != next) return false;
        next++;
        return true;
    });
    return std::min(next, pages());
}

} // namespace vm
