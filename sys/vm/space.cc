// The entries of a space: finding, splitting, merging, and the calls that change them.
//
// Order of every change that takes memory away: entries are cut to the range, translations go and every CPU has
// forgotten them, then pages and entries go. What can fail comes before what cannot be undone.
#include "sys/vm/space.h"

#include "kernel/mem/slab.h"

namespace vm {

namespace {

constexpr user_address lowest_address = 64 * 1024;  // a null pointer with a large offset shall fault
constexpr k::u64 stack_gap = 256 * arch::page_size; // kept free below a stack

void payer_gone(xio::payer& who) {
    mem::destroy(&who);
}

// Can e's range be one entry with next's, which begins where it ends?
bool continues(const entry& e, const entry& next) {
    return e.end == next.base && e.access == next.access && e.most_access == next.most_access && e.how == next.how &&
           e.inherited == next.inherited && e.grows_down == next.grows_down && e.locked == next.locked &&
           e.of.get() == next.of.get() && e.what.get() == next.what.get() &&
           (!e.what || e.offset + e.pages() == next.offset) && e.under.get() == next.under.get() &&
           (!e.under || e.under_offset + e.pages() == next.under_offset);
}

// The lowest address that a mapping keeps for itself.
user_address reach_of(const entry& e) {
    if (!e.grows_down) return e.base;
    return e.lowest > stack_gap ? e.lowest - stack_gap : 0;
}

} // namespace

k::result<k::ref<space>> space::create() noexcept {
    k::ref<space> made(mem::make<space>());
    if (!made) return k::error::nomem;
    made->payer_ = mem::make<xio::payer>(payer_gone);
    if (!made->payer_) return k::error::nomem;
    if (auto tables = made->pmap_.create(); !tables) {
        std::exchange(made->payer_, nullptr)->owner_leaves();
        return tables.error();
    }
    return made;
}

void space::last_holder_left() noexcept NO_THREAD_SAFETY_ANALYSIS {
    if (payer_) { // else it was never whole
        while (!entries_.empty())
            remove(*entries_.begin());
        pmap_.destroy();
        payer_->owner_leaves(); // what is lent still lives on
    }
    mem::destroy(this);
}

k::result<space::range> space::checked(user_address base, k::u64 bytes) noexcept {
    if (base % arch::page_size || !bytes || base >= arch::user_end || bytes > arch::user_end - base)
        return k::error::inval;
    return range{base, base + k::align_up<k::u64>(bytes, arch::page_size)};
}

// Finding.

entry* space::look_up(user_address at) noexcept {
    if (entry* e = found_before_; e && at - e->base < e->end - e->base) return remember(*e);
    auto it = entries_.upper_bound(at); // the first that begins above
    if (it != entries_.begin()) {
        auto before = std::prev(it);
        if (before->end > at) return remember(*before);
    }
    return it == entries_.end() ? nullptr : &*it;
}

entry* space::next_of(entry& e) noexcept {
    auto it = std::next(entries_.iterator_to(e));
    return it == entries_.end() ? nullptr : &*it;
}

bool space::covered(range r) noexcept {
    for (user_address at = r.base; at < r.end;) {
        entry* e = entry_at(at);
        if (!e) return false;
        at = e->end;
    }
    return true;
}

bool space::is_free(range r) noexcept {
    const entry* e = first_from(r.base);
    return !e || reach_of(*e) >= r.end;
}

// At the hint if there is room, else the highest place below mmap_top_ that is large enough, `behind` a multiple of
// `grain`.
k::result<space::room> space::find_room(k::u64 bytes, user_address hint, user_address grain,
                                        user_address behind) noexcept {
    hint = k::align_down<user_address>(hint, arch::page_size);
    if (hint >= lowest_address && hint < arch::user_end && bytes <= arch::user_end - hint &&
        is_free({hint, hint + bytes}))
        return room{hint, entries_.lower_bound(hint)};
    // Large regions begin where large pages can.
    const user_address alignment = bytes >= arch::large_page_size ? arch::large_page_size : grain;
    user_address top = full_from_;
    bool full = true; // up to here
    for (auto it = first_full_;;) {
        const bool last = it == entries_.begin();
        const user_address floor = last ? lowest_address : std::min(std::prev(it)->end, top);
        if (floor < top && top - floor >= bytes + behind) {
            const user_address at = k::align_down<user_address>(top - bytes - behind, alignment) + behind;
            if (at >= floor) return room{at, it};
        }
        if (last) return k::error::nomem;
        full = full && floor == top;
        --it;
        top = std::min(top, reach_of(*it));
        if (full) {
            full_from_ = top;
            first_full_ = it;
        }
        if (top < bytes) return k::error::nomem;
    }
}

// Entries.

void space::enter_map(entry& e, entry_map::iterator before) noexcept {
    const auto it = entries_.insert_before(before, e);
    if (e.end == full_from_ && !e.grows_down) {
        full_from_ = e.base;
        first_full_ = it;
    } else if (e.grows_down && e.end >= full_from_) { // what it may grow to is no room
        full_from_ = std::min(full_from_, reach_of(e));
        first_full_ = entries_.lower_bound(full_from_);
    } else if (before == first_full_ && e.base >= full_from_) {
        first_full_ = it;
    }
}

void space::leave_map(entry& e) noexcept {
    const auto it = entries_.iterator_to(e);
    const bool makes_room = e.base < mmap_top_ && e.end > full_from_, is_first = first_full_ == it;
    const auto next = entries_.erase(it);
    if (makes_room) full_from_ = std::min(e.end, mmap_top_);
    if (makes_room || is_first) first_full_ = next;
    if (makes_room && next != entries_.end()) full_from_ = std::min(full_from_, reach_of(*next));
}

void space::add(entry& e) noexcept {
    add(e, entries_.lower_bound(e.base));
}

void space::add(entry& e, entry_map::iterator before) noexcept {
    e.in = this;
    enter_map(e, before);
    (void)remember(e);
    mapped_pages_ += e.pages();
    if (e.is_data()) data_pages_ += e.pages();
    if (object* o = e.shown()) o->add_mapping(e);
    map_changed();
}

void space::remove(entry& e) noexcept {
    if (object* o = e.shown()) o->remove_mapping(e);
    leave_map(e);
    mapped_pages_ -= e.pages();
    if (e.is_data()) data_pages_ -= e.pages();
    if (last_found_ == &e) last_found_ = std::exchange(found_before_, nullptr);
    if (found_before_ == &e) found_before_ = nullptr;
    map_changed();
    mem::destroy(&e);
}

k::status space::split_at(user_address at) noexcept {
    entry* e = entry_at(at);
    if (!e || e->base == at) return {};
    auto* upper = mem::make<entry>();
    if (!upper) return k::error::nomem;
    upper->base = at;
    upper->end = e->end;
    upper->offset = e->index_of(at);
    upper->under_offset = e->under_index_of(at);
    upper->what = e->what.share();
    upper->under = e->under.share();
    upper->of = e->of.share();
    upper->access = e->access;
    upper->most_access = e->most_access;
    upper->how = e->how;
    upper->inherited = e->inherited;
    upper->locked = e->locked;
    upper->shows_zeroes = e->shows_zeroes;
    // Only the lower part of a stack grows.
    object* o = e->shown();
    if (o) o->remove_mapping(*e);
    mapped_pages_ -= upper->pages();
    if (e->is_data()) data_pages_ -= upper->pages();
    e->end = at;
    if (o) o->add_mapping(*e);
    add(*upper);
    return {};
}

k::status space::split_around(range r) noexcept {
    TRY(split_at(r.base));
    return split_at(r.end);
}

bool space::merge_with_next(entry& e) noexcept {
    entry* next = next_of(e);
    if (!next || !continues(e, *next)) return false;
    const user_address end = next->end;
    const k::u64 pages = next->pages();
    e.shows_zeroes |= next->shows_zeroes;
    remove(*next);
    object* o = e.shown();
    if (o) o->remove_mapping(e);
    e.end = end;
    mapped_pages_ += pages;
    if (e.is_data()) data_pages_ += pages;
    if (o) o->add_mapping(e);
    return true;
}

// Fresh private memory right after an entry of the same kind makes that one longer: a heap stays one entry.
bool space::extend_previous(const map_request& what, range r) noexcept {
    if (what.what || what.how == sharing::shared || what.grows_down) return false;
    auto it = entries_.lower_bound(r.base);
    if (it == entries_.begin()) return false;
    entry& e = *std::prev(it);
    if (e.end != r.base || e.is_shared() || e.under || e.access != what.access || e.most_access != what.most_access ||
        e.grows_down || e.locked != what.lock || e.inherited != inheritance::as_is ||
        (e.what && e.what->holders() != 1))
        return false;
    // What an earlier, longer life of the entry left in the object was erased when that part was unmapped.
    e.end = r.end;
    mapped_pages_ += r.pages();
    if (e.is_data()) data_pages_ += r.pages();
    map_changed();
    return true;
}

// Mapping and unmapping.

k::status space::promise(k::u64 pages) const noexcept {
    if (data_pages_ + pages > std::min(promise_limit(), data_limit_pages_)) return k::error::nomem;
    return {};
}

k::status space::stay_below_limit(k::u64 more_bytes) const noexcept {
    if (limit_bytes_ != ~k::u64{0} && (mapped_pages_ << arch::page_shift) + more_bytes > limit_bytes_)
        return k::error::nomem;
    return {};
}

k::result<user_address> space::map(map_request& what) noexcept {
    if (!what.bytes || what.offset % arch::page_size) return k::error::inval;
    if (what.bytes > arch::user_end) return k::error::nomem;
    if (what.access & (arch::user_write | arch::user_execute)) what.access |= arch::user_read;
    if (what.access & ~what.most_access) return k::error::acces;
    const k::u64 bytes = k::align_up<k::u64>(what.bytes, arch::page_size);
    user_address at;
    {
        lwkt::token_hold hold(token_);
        at = TRY(map_locked(what, bytes));
    }
    if (what.populate || what.lock)
        for (user_address page = at; page < at + bytes; page += arch::page_size)
            if (!fault(page, what.access & arch::user_write ? arch::user_write : arch::user_read)) break;
    return at;
}

k::result<user_address> space::map_locked(map_request& what, k::u64 bytes) noexcept {
    const bool data = what.how == sharing::private_copy && (what.access & arch::user_write);
    if (data) TRY(promise(pages_in(bytes)));
    TRY(stay_below_limit(bytes));
    user_address at;
    entry_map::iterator before;
    if (what.fixed) {
        if (what.hint % arch::page_size) return k::error::inval;
        if (what.hint >= arch::user_end || bytes > arch::user_end - what.hint) return k::error::nomem;
        if (what.hint < lowest_address) return k::error::perm;
        const range r{what.hint, what.hint + bytes};
        if (what.no_replace && !is_free(r)) return k::error::exist;
        TRY(unmap_locked(r));
        at = r.base;
        before = entries_.lower_bound(at);
    } else {
        const room found = TRY(find_room(bytes, what.hint));
        at = found.at;
        before = found.before;
    }
    const range r{at, at + bytes};
    if (extend_previous(what, r)) return at;

    auto e = mem::make_box<entry>();
    if (!e) return k::error::nomem;
    e->base = r.base;
    e->end = r.end;
    e->access = what.access;
    e->most_access = what.most_access;
    e->how = what.how;
    e->of = std::move(what.of);
    e->locked = what.lock;
    e->grows_down = what.grows_down;
    e->lowest = what.grows_down ? k::align_up<user_address>(what.lowest, arch::page_size) : 0;
    if (what.grows_down) e->offset = e->lowest < r.base ? pages_in(r.base - e->lowest) : 0;
    if (what.how == sharing::shared) {
        e->what = what.what ? std::move(what.what) : TRY(object::anonymous(pages_in(bytes)));
        e->offset = pages_in(what.offset);
    } else if (what.what) {
        e->under = std::move(what.what);
        e->under_offset = pages_in(what.offset);
    }
    add(*e.release(), before);
    return at;
}

k::result<entry*> space::map_own(k::ref<object> own, k::u64 first, k::u64 bytes) noexcept {
    TRY(promise(pages_in(bytes)));
    TRY(stay_below_limit(bytes));
    // Leaves of the tree and of the page table go together where that saves a look-up a leaf.
    constexpr user_address leaf = page_tree::fanout * arch::page_size;
    const user_address grain = bytes >= leaf ? leaf : arch::page_size;
    const room found = TRY(find_room(bytes, 0, grain, (first << arch::page_shift) % grain));
    auto* e = mem::make<entry>();
    if (!e) return k::error::nomem;
    e->base = found.at;
    e->end = found.at + bytes;
    e->access = arch::user_read | arch::user_write;
    e->most_access = every_access;
    e->what = std::move(own);
    e->offset = first;
    add(*e, found.before);
    return e;
}

user_address space::move_break(user_address end) noexcept {
    lwkt::token_hold hold(token_);
    if (end < heap_base_ || end > arch::user_end - arch::page_size) return heap_end_;
    const user_address before = k::align_up<user_address>(heap_end_, arch::page_size);
    const user_address after = k::align_up<user_address>(end, arch::page_size);
    if (after < before && !unmap_locked({after, before})) return heap_end_;
    if (after > before) {
        map_request more{.hint = before, .fixed = true, .no_replace = true};
        if (!map_locked(more, after - before)) return heap_end_;
    }
    return heap_end_ = end;
}

k::status space::unmap(user_address base, k::u64 bytes) noexcept {
    const range r = TRY(checked(base, bytes));
    lwkt::token_hold hold(token_);
    return unmap_locked(r);
}

k::status space::unmap_locked(range r) noexcept {
    entry* e = first_from(r.base);
    if (!e || e->base >= r.end) return {};
    if (e->base != r.base || e->end != r.end) {
        TRY(split_around(r));
        e = first_from(r.base);
    }
    hide(r.base, r.pages());
    while (e && e->base < r.end) {
        TRY(erase_from(*e, {e->base, e->end}));
        remove(*std::exchange(e, next_of(*e)));
    }
    return {};
}

// Takes the private pages of part of an entry out of its object. Nothing to do when the object goes with the entry.
k::status space::erase_from(entry& e, range r) noexcept {
    if (e.is_shared() || !e.what) return {};
    if (e.what->holders() == 1 && r.base == e.base && r.end == e.end) return {};
    return e.what->tree_.erase(e.index_of(r.base), r.pages());
}

void space::hide(user_address at, k::u64 pages) noexcept {
    flush_cpus(pmap_.remove(at, pages), at, pages);
}

k::status space::protect(user_address base, k::u64 bytes, k::u8 access) noexcept {
    if (!bytes && base % arch::page_size == 0) return {};
    const range r = TRY(checked(base, bytes));
    if (access & (arch::user_write | arch::user_execute)) access |= arch::user_read;
    lwkt::token_hold hold(token_);
    if (!covered(r)) return k::error::nomem;
    k::u64 more_data = 0;
    for (entry* e = entry_at(r.base); e && e->base < r.end; e = next_of(*e)) {
        if (access & ~e->most_access) return k::error::acces;
        if (!e->is_shared() && (access & arch::user_write) && !e->is_data())
            more_data += pages_in(std::min(e->end, r.end) - std::max(e->base, r.base));
    }
    TRY(promise(more_data));
    TRY(split_around(r));
    bool loses = false;
    entry* first = entry_at(r.base);
    for (entry* e = first; e && e->base < r.end; e = next_of(*e)) {
        if (e->access & ~access) loses = true;
        const bool was_data = e->is_data();
        e->access = access;
        if (e->is_data() != was_data) was_data ? data_pages_ -= e->pages() : data_pages_ += e->pages();
    }
    map_changed();
    if (loses) hide(r.base, r.pages());
    if (auto it = entries_.iterator_to(*first); it != entries_.begin()) first = &*std::prev(it);
    for (entry* e = first; e && e->base < r.end;)
        if (!merge_with_next(*e)) e = next_of(*e);
    return {};
}

k::result<user_address> space::remap(user_address base, k::u64 old_bytes, k::u64 new_bytes, bool may_move,
                                     user_address target, bool keep_old) noexcept {
    if (keep_old) return k::error::inval;
    const range from = TRY(checked(base, old_bytes));
    if (!new_bytes || new_bytes > arch::user_end) return k::error::inval;
    const k::u64 bytes = k::align_up<k::u64>(new_bytes, arch::page_size);
    const range wish{base, base + bytes}; // cannot wrap, but may end beyond user memory
    if (target) {
        const range to = TRY(checked(target, bytes));
        if (to.base < from.end && from.base < to.end) return k::error::inval;
    }
    lwkt::token_hold hold(token_);
    entry* e = entry_at(from.base);
    if (!e || e->end < from.end) return k::error::fault;
    if (target) {
        TRY(unmap_locked({target, target + bytes}));
        e = entry_at(from.base);
        if (!e || e->end < from.end) return k::error::fault;
    } else if (wish.end <= from.end) {
        if (wish.end < from.end) TRY(unmap_locked({wish.end, from.end}));
        return base;
    }
    if (wish.end > from.end) {
        const k::u64 more = pages_in(wish.end - from.end);
        if (e->is_data()) TRY(promise(more));
        if (limit_bytes_ != ~k::u64{0} && ((mapped_pages_ + more) << arch::page_shift) > limit_bytes_)
            return k::error::nomem;
        // In place: only fresh memory at the end of its entry, whose object nobody else uses beyond it.
        if (!target && e->end == from.end && wish.end <= arch::user_end && is_free({from.end, wish.end}) &&
            (!e->what || e->is_shared() || e->what->holders() == 1)) {
            object* o = e->shown();
            if (o) o->remove_mapping(*e);
            e->end = wish.end;
            if (o) o->add_mapping(*e);
            mapped_pages_ += more;
            if (e->is_data()) data_pages_ += more;
            map_changed();
            return base;
        }
    }
    if (!may_move) return k::error::nomem;
    if (!target) target = TRY(find_room(bytes, 0)).at;
    return move_locked({from.base, from.end}, bytes, target);
}

// Moves pages by moving the entry: none is copied, each is found again by a fault.
k::result<user_address> space::move_locked(range from, k::u64 new_bytes, user_address target) noexcept {
    const user_address kept_end = std::min(from.end, from.base + new_bytes);
    if (kept_end < from.end) TRY(unmap_locked({kept_end, from.end}));
    TRY(split_around({from.base, kept_end}));
    entry& e = *entry_at(from.base);
    // Longer than it was, the entry must not show what a neighbour keeps in the same object.
    if (new_bytes > e.end - e.base && e.what && !e.is_shared() && e.what->holders() != 1) {
        auto own = TRY(object::anonymous(pages_in(new_bytes)));
        own->tree_ = TRY(e.what->tree_.snapshot());
        flush_cpus(pmap_.write_protect(e.base, e.pages()), e.base, e.pages());
        const k::u64 last = e.offset + e.pages();
        TRY(own->tree_.erase(last, page_tree::max_index - last));
        TRY(erase_from(e, {e.base, e.end}));
        e.what = std::move(own);
    }
    hide(e.base, e.pages());
    object* o = e.shown();
    if (o) o->remove_mapping(e);
    leave_map(e);
    const k::u64 before = e.pages();
    e.base = target;
    e.end = target + new_bytes;
    e.grows_down = false;
    enter_map(e, entries_.lower_bound(target));
    if (o) o->add_mapping(e);
    mapped_pages_ += e.pages() - before;
    if (e.is_data()) data_pages_ += e.pages() - before;
    map_changed();
    return target;
}

k::status space::discard(user_address base, k::u64 bytes) noexcept {
    if (!bytes) return {};
    const range r = TRY(checked(base, bytes));
    lwkt::token_hold hold(token_);
    hide(r.base, r.pages());
    for (entry* e = first_from(r.base); e && e->base < r.end; e = next_of(*e))
        if (!e->is_shared() && e->what) {
            const range part{std::max(e->base, r.base), std::min(e->end, r.end)};
            TRY(e->what->tree_.erase(e->index_of(part.base), part.pages()));
        }
    return covered(r) ? k::status() : k::error::nomem;
}

k::status space::set_inheritance(user_address base, k::u64 bytes, inheritance what) noexcept {
    const range r = TRY(checked(base, bytes));
    lwkt::token_hold hold(token_);
    if (!covered(r)) return k::error::nomem;
    for (entry* e = entry_at(r.base); what == inheritance::zeroed && e && e->base < r.end; e = next_of(*e))
        if (e->is_shared() || e->under) return k::error::inval;
    TRY(split_around(r));
    for (entry* e = entry_at(r.base); e && e->base < r.end; e = next_of(*e))
        e->inherited = what;
    return {};
}

k::status space::set_locked(user_address base, k::u64 bytes, bool locked) noexcept {
    const range r = TRY(checked(base, bytes));
    {
        lwkt::token_hold hold(token_);
        if (!covered(r)) return k::error::nomem;
        TRY(split_around(r));
        for (entry* e = entry_at(r.base); e && e->base < r.end; e = next_of(*e))
            e->locked = locked;
    }
    if (!locked) return {};
    for (user_address at = r.base; at < r.end; at += arch::page_size) {
        auto there = fault(at, arch::user_write);
        if (!there && there.error() == k::error::acces) there = fault(at, arch::user_read);
        if (!there) return there.error() == k::error::nomem ? k::error::again : k::error::nomem;
    }
    return {};
}

k::status space::residency(user_address base, k::u64 bytes, std::span<k::u8> one_a_page) noexcept {
    const range r = TRY(checked(base, bytes));
    lwkt::token_hold hold(token_);
    if (!covered(r)) return k::error::nomem;
    std::size_t i = 0;
    for (user_address at = r.base; at < r.end && i < one_a_page.size(); at += arch::page_size) {
        const entry& e = *entry_at(at);
        const bool own = !e.is_shared() && e.what && e.what->tree_.find(e.index_of(at)).p;
        one_a_page[i++] = own || pmap_.find(at).access != arch::user_none;
    }
    return {};
}

backing_ref space::shared_backing(user_address& at, user_address end) noexcept {
    lwkt::token_hold hold(token_);
    for (entry* e = first_from(at); e && e->base < end; e = next_of(*e)) {
        at = e->end;
        if (e->is_shared() && (e->most_access & arch::user_write) && e->of.get()) return e->of.share();
    }
    return {};
}

bool space::is_mapped(user_address base, k::u64 bytes) noexcept {
    auto r = checked(base, bytes);
    if (!r) return false;
    lwkt::token_hold hold(token_);
    return covered(*r);
}

k::result<space::word_key> space::key_of(user_address at) noexcept {
    lwkt::token_hold hold(token_);
    const entry* e = at < arch::user_end ? entry_at(at) : nullptr;
    if (!e) return k::error::fault;
    if (!e->is_shared()) return word_key{this, at};
    return word_key{e->what.get(), (e->index_of(at) << arch::page_shift) + at % arch::page_size};
}

space_size space::size() noexcept {
    lwkt::token_hold hold(token_);
    space_size sum{mapped_pages_, 0, 0, data_pages_};
    for (entry& e : entries_) {
        if (e.locked) sum.locked_pages += e.pages();
        if (e.what && !e.is_shared())
            e.what->tree_.for_each(e.offset, e.pages(), [&](k::u64, found_page) { return ++sum.resident_pages; });
    }
    return sum;
}

} // namespace vm
