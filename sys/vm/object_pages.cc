// Pages into and out of an object without copying, by law 3: what is seen by one more holder has lost its right to be
// written everywhere before, and the next writer, on whichever side, gets a page of its own.
#include "sys/vm/snapshot.h"
#include "sys/vm/space.h"
#include "sys/xio/walk.h"

namespace vm {

namespace {
constexpr unsigned batch = 64; // pages collected before they go into a list
constexpr unsigned attempts = 4;

// Is it payload, and by itself? All pages of trees are; those of kernel objects or larger blocks are not.
bool can_stand_in_a_tree(const page* p) noexcept {
    return p->place == 0 && (p->use == page_use::object || p->use == page_use::buffer);
}

bool somebody_fills(const page_tree& tree, k::u64 first, k::u64 count) noexcept {
    return !tree.for_each(first, count, [](k::u64, const page* p) { return !p->holds.count(hold::sink_pin); });
}

} // namespace

// Everything that only the pager has comes in. The token is given up meanwhile: look again.
k::status object::page_in_locked(k::u64 first, k::u64 count) noexcept {
    for (k::u64 index = first; index < std::min(first + count, paged_); index++)
        if (!tree_.find(index).p) TRY(page_locked(index));
    return {};
}

bool object::is_filled(k::u64 first, k::u64 count) const noexcept {
    if (!fills_.load(std::memory_order_relaxed)) [[likely]] // who fills has counted himself before he took the token
        return false;
    return somebody_fills(tree_, first, count);
}

bool object::can_be_lent(k::u64 first, k::u64 count) const noexcept {
    return tree_.count(first, count) == count && !is_filled(first, count);
}

k::result<xio::source> object::lend(k::u64 offset, k::u64 bytes) noexcept {
    const k::u64 first = pages_in(offset), count = pages_in(offset + bytes + arch::page_size - 1) - first;
    lwkt::token_hold hold(token_);
    for (unsigned vain = 0; vain < attempts; vain++) {
        TRY(page_in_locked(first, count));
        if (first + count > pages() || is_filled(first, count)) return k::error::again;
        write_protect_everywhere(first, count);
        if (count >= least_snapshot && tree_.count(first, count) == count)
            return snapshot::take(tree_, first, count, true, offset % arch::page_size, bytes, xio::kernel_payer);
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

k::u64 object::adopt(k::u64 offset, const xio::source& from, over what) noexcept {
    const k::u64 first = pages_in(offset), wanted = pages_in(from.size());
    if (!wanted || from.promise() != xio::stability::stable || !make_all_dirty(first, wanted)) return 0;
    lwkt::token_hold hold(token_);
    if (first + wanted > pages() || !are_noted(first, wanted)) return 0;
    if (what == over::nothing && tree_.count(first, wanted)) return 0;
    if (what == over::what_is_clean && dirty_.next(first, first + wanted, true) < first + wanted) return 0;
    if (const auto all = snapshot::of(from, 0, false); all.tree && from.start().offset % arch::page_size == 0) {
        return graft_locked(first, wanted, *all.tree, all.first) ? wanted << arch::page_shift : 0;
    }
    const k::u64 before = tree_.count(first, wanted);
    if (budget_ && !budget_->take(wanted - before)) return 0;
    unmap_everywhere(first, wanted);
    xio::walker walk(from);
    k::u64 done = 0, added = 0;
    (void)tree_.edit(first, wanted, [&](k::u64, page*& slot) {
        page* p = walk.whole_page();
        if (!p) return false;
        if (p == zero_page()) {
            if (slot) return false; // a hole would do, but a place is not given up here
        } else {
            if (!can_stand_in_a_tree(p) || !p->holds.try_add(hold::reference)) return false;
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
    if (&from == this || !make_all_dirty(first, count)) return k::error::again;
    lwkt::token_hold hold(token_), hold_from(from.token_);
    for (unsigned vain = 0;; vain++) {
        TRY(from.page_in_locked(from_first, count));
        if (from.is_paged_in(from_first, count)) break;
        if (vain == attempts) return k::error::again;
    }
    if (first + count > pages() || from_first + count > from.pages() || (first < paged_ && !notes_writes_) ||
        !are_noted(first, count))
        return k::error::again;
    if (from.is_filled(from_first, count)) return k::error::again;
    from.write_protect_everywhere(from_first, count);
    return graft_locked(first, count, from.tree_, from_first);
}

// Shows what another tree has, which nobody can write to any more, in the place of what is here. ENOSPC with nothing
// changed; else what was not reached yet stays.
k::status object::graft_locked(k::u64 first, k::u64 count, const page_tree& from, k::u64 from_first) noexcept {
    const k::u64 before = tree_.count(first, count), after = from.count(from_first, count);
    if (budget_ && after > before && !budget_->take(after - before)) return k::error::nospc;
    unmap_everywhere(first, count);
    const k::status shared = tree_.graft(first, count, from, from_first);
    const k::u64 now = tree_.count(first, count);
    resident_.fetch_add(now - before, std::memory_order_relaxed);
    if (budget_) budget_->give_back(std::max(after, before) - now);
    return shared;
}

// Shows pages of a tree, such as nobody can write to, in a private entry, in the place of what is there: those from the
// beginning that are there, as many as whoever is given them is expected to look at; faults show the rest. They are
// entered first: those that they stand in for must outlive every translation to them. ENOMEM, EAGAIN: the entry has
// some of them, and faults show which.
k::status space::replace_pages(entry& e, user_address at, k::u64 count, const page_tree& from, k::u64 first) noexcept {
    if (!e.what) e.what = TRY(object::anonymous(e.index_of(e.end)));
    k::u32 cpus = 0;
    const k::u64 shown = show_pages(e, at, count, from, first, false, &cpus);
    flush_cpus(cpus, at, shown);
    if (shown < count) hide(at + (shown << arch::page_shift), count - shown);
    const k::status shared = e.what->tree_.graft(e.index_of(at), count, from, first);
    if (!shared) hide(at, count);
    return shared;
}

k::u64 space::show_pages(const entry& e, user_address at, k::u64 count, const page_tree& from, k::u64 first, bool all,
                         k::u32* cpus) noexcept {
    const k::u8 access = e.access & ~arch::user_write;
    k::u64 done = 0;
    for (count = std::min(count, most_shown); done < count;) {
        const auto slots = from.slots_from(first + done, count - done, all);
        if (slots.empty() || !pmap_.enter_slots(at + (done << arch::page_shift), slots, access, cpus)) break;
        done += slots.size();
    }
    return done;
}

void space::guard(entry& e, user_address at, k::u64 count) noexcept {
    if (e.what && !e.what->tree_.guard(e.index_of(at), count)) take_writing(at, count);
}

void space::take_writing(user_address at, k::u64 count) noexcept {
    flush_cpus(pmap_.write_protect(at, count), at, count);
}

// Does somebody fill one of these pages of private memory? Who fills is charged.
bool space::is_filled(const page_tree& tree, k::u64 first, k::u64 count) const noexcept {
    if (!payer_->sink_pages() && !sinks_in_making_.load(std::memory_order_acquire)) return false;
    return somebody_fills(tree, first, count);
}

k::u64 object::give_to(space& to, k::u64 at, k::u64 first, k::u64 count) noexcept {
    lwkt::token_hold hold_space(to.token_);
    entry* e = to.entry_at(at);
    if (!e || e->is_shared() || !(e->access & arch::user_write)) return 0;
    count = std::min(count, pages_in(e->end - at));
    const k::u64 generation = to.generation_;
    lwkt::token_hold hold(token_);
    if (to.generation_ != generation || first + count > pages() || !can_be_lent(first, count)) return 0;
    if (!e->habit.is_worth(count)) return 0;
    write_protect_everywhere(first, count);
    return to.replace_pages(*e, at, count, tree_, first) ? count : 0;
}

k::u64 object::take_from(space& from, k::u64 at, k::u64 first, k::u64 count) noexcept {
    if (!make_all_dirty(first, std::min(count, pages() - std::min(first, pages())))) return 0;
    lwkt::token_hold hold_space(from.token_);
    entry* e = from.entry_at(at);
    if (!e || e->is_shared() || !(e->access & arch::user_read) || !e->what) return 0;
    count = std::min(count, pages_in(e->end - at));
    const page_tree& theirs = e->what->tree_;
    const k::u64 generation = from.generation_, index = e->index_of(at);
    lwkt::token_hold hold(token_);
    if (from.generation_ != generation || first + count > pages() || !are_noted(first, count) ||
        theirs.count(index, count) != count || from.is_filled(theirs, index, count))
        return 0;
    if (!e->habit.is_worth(count)) return 0;
    from.guard(*e, at, count);
    return graft_locked(first, count, theirs, index) ? count : 0;
}

} // namespace vm
