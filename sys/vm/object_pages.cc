// Pages into and out of an object without copying, by law 3: what is seen by one more holder has lost its right to be
// written everywhere before, and the next writer, on whichever side, gets a page of its own.
#include "sys/vm/object.h"
#include "sys/xio/walk.h"

namespace vm {

namespace {
constexpr unsigned batch = 64; // pages collected before they go into a list
constexpr unsigned attempts = 4;
} // namespace

// Everything that only the pager has comes in. The token is given up meanwhile: look again.
k::status object::page_in_locked(k::u64 first, k::u64 count) noexcept {
    for (k::u64 index = first; index < std::min(first + count, paged_); index++)
        if (!tree_.find(index).p) TRY(page_locked(index));
    return {};
}

k::result<xio::source> object::lend(k::u64 offset, k::u64 bytes) noexcept {
    const k::u64 first = pages_in(offset), count = pages_in(offset + bytes + arch::page_size - 1) - first;
    lwkt::token_hold hold(token_);
    for (unsigned vain = 0; vain < attempts; vain++) {
        TRY(page_in_locked(first, count));
        if (first + count > pages()) return k::error::again;
        write_protect_everywhere(first, count);
        xio::list_builder list(xio::kernel_payer, xio::pin_kind::source, xio::stability::stable);
        page* some[batch];
        unsigned n = 0;
        k::u64 in_page = offset % arch::page_size, left = bytes, next = first;
        const auto add = [&](page* p) {
            some[n++] = p;
            next++;
            if (n < batch && next < first + count) return;
            const k::u64 part = std::min((k::u64{n} << arch::page_shift) - in_page, left);
            list.add_pages({some, n}, in_page, part);
            left -= part;
            in_page = 0;
            n = 0;
        };
        tree_.for_each(first, count, [&](k::u64 index, found_page found) {
            while (next < index)
                add(zero_page());
            add(found.p);
            return true;
        });
        while (next < first + count)
            add(zero_page());
        if (first < paged_ && !is_paged_in(first, count)) continue; // some of it was taken away again
        return xio::source::from_builder(list);
    }
    return k::error::again;
}

bool object::is_paged_in(k::u64 first, k::u64 count) const noexcept {
    const k::u64 end = std::min(first + count, paged_);
    return first >= end || tree_.count(first, end - first) == end - first;
}

k::u64 object::adopt(k::u64 offset, const xio::source& from) noexcept {
    const k::u64 first = pages_in(offset), wanted = pages_in(from.size());
    if (!wanted || from.promise() != xio::stability::stable) return 0;
    lwkt::token_hold hold(token_);
    if (first + wanted > pages()) return 0;
    const k::u64 before = tree_.count(first, wanted);
    if (budget_ && !budget_->take(wanted - before)) return 0;
    unmap_everywhere(first, wanted);
    xio::walker walk(from);
    k::u64 done = 0, added = 0;
    (void)tree_.edit(first, wanted, [&](k::u64, page*& slot) {
        const auto address = reinterpret_cast<std::uintptr_t>(walk.address());
        if (address % arch::page_size || walk.run() < arch::page_size) return false;
        page* p = page_of(walk.address());
        if (p == zero_page()) {
            if (slot) return false; // a hole would do, but a place is not given up here
        } else {
            if (p->place != 0 || p->use != page_use::object || !p->holds.try_add(hold::reference)) return false;
            slot ? drop(slot, hold::reference) : void(added++);
            slot = p;
        }
        done++;
        walk.advance(arch::page_size);
        return true;
    });
    resident_.fetch_add(added, std::memory_order_relaxed);
    if (budget_) budget_->give_back(wanted - before - added);
    return done << arch::page_shift;
}

k::status object::share_pages(k::u64 first, object& from, k::u64 from_first, k::u64 count) noexcept {
    if (&from == this) return k::error::again;
    lwkt::token_hold hold(token_), hold_from(from.token_);
    for (unsigned vain = 0;; vain++) {
        TRY(from.page_in_locked(from_first, count));
        if (from.is_paged_in(from_first, count)) break;
        if (vain == attempts) return k::error::again;
    }
    if (first + count > pages() || from_first + count > from.pages() || first < paged_) return k::error::again;
    const k::u64 before = tree_.count(first, count), after = from.tree_.count(from_first, count);
    if (budget_ && after > before && !budget_->take(after - before)) return k::error::nospc;
    from.write_protect_everywhere(from_first, count);
    unmap_everywhere(first, count);
    const k::status shared = tree_.graft(first, count, from.tree_, from_first);
    const k::u64 now = tree_.count(first, count);
    resident_.fetch_add(now - before, std::memory_order_relaxed);
    if (budget_) budget_->give_back(std::max(after, before) - now);
    return shared;
}

} // namespace vm
