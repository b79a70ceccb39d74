// Faults: making one page accessible, by the one rule.
//
// A page is shown writable only where page_tree::find() calls it sole. A page that is not sole is replaced by a copy
// when it is written to: first every translation to the old one goes, then the copy takes its place, then it is shown.
// The old page lives on with whoever holds it.
#include "kernel/lwkt/trace.h"
#include "kernel/mem/slab.h"
#include "sys/vm/space.h"

namespace vm {

namespace {

constexpr unsigned neighbours = 64;     // pages of a file shown by one fault, where they are at hand
constexpr unsigned own_neighbours = 16; // private pages that may be written to again

constexpr k::u8 without_write(k::u8 access) {
    return access & ~arch::user_write;
}

// What a fault makes of an error of whoever keeps the pages: they may answer anything.
constexpr k::error as_fault(k::error why) {
    const bool is_ours =
        why == k::error::nomem || why == k::error::nospc || why == k::error::intr || why == k::error::again;
    return is_ours ? why : k::error::io;
}

} // namespace

k::status space::fault(user_address at, k::u8 access) noexcept {
    trace::note(trace::event::fault, at, access);
    if (at >= arch::user_end) return k::error::fault;
    lwkt::token_hold hold(token_);
    for (;;) {
        auto done = fault_locked(at, access);
        if (done || done.error() != k::error::again) return done;
        // The map changed while an object was waited for: look again.
    }
}

k::status space::fault_locked(user_address at, k::u8 access) noexcept {
    entry* e = entry_at(at);
    if (!e) e = grow_stack(at);
    if (!e) return k::error::fault;
    if (access & ~e->access || !e->access) return k::error::acces;
    const user_address page = k::align_down<user_address>(at, arch::page_size);
    const bool write = access & arch::user_write;
    return e->is_shared() ? fault_shared(*e, page, write) : fault_private(*e, page, write);
}

k::status space::show(user_address at, const page* p, k::u8 access) noexcept {
    if (!pmap_.enter(at, physical(p), access)) return k::error::nomem;
    return {};
}

k::status space::put_page(entry& e, user_address at, page_ref& fresh) noexcept {
    if (!e.what) e.what = TRY(object::anonymous(e.index_of(e.end)));
    return e.what->tree_.insert(e.index_of(at), fresh);
}

k::status space::fault_private(entry& e, user_address at, bool write) noexcept {
    const found_page own = e.what ? e.what->tree_.find(e.index_of(at)) : found_page{};
    if (own.p) {
        if (own.sole) {
            TRY(show(at, own.p, e.access));
            if (write) show_own_neighbours(e, at);
            return {};
        }
        return write ? break_sharing(e, at, own.p) : show(at, own.p, without_write(e.access));
    }
    if (e.under) return fault_under(e, at, write);
    if (!write) {
        e.shows_zeroes = true;
        return show(at, zero_page(), without_write(e.access));
    }
    if (fault_large(e, at)) return {};
    page_ref fresh = user_page(fill::zeroed);
    if (!fresh) return k::error::nomem;
    if (e.shows_zeroes) hide(at, 1);
    const page* p = fresh.get();
    TRY(put_page(e, at, fresh));
    return show(at, p, e.access);
}

k::status space::break_sharing(entry& e, user_address at, const page* old) noexcept {
    e.habit.note_broken();
    if (old->holds.count(hold::source_pin)) trace::note(trace::event::loan_broken, physical(old));
    hide(at, 1);
    page_ref fresh = copy_of_page(old, xio::reason::copy_on_write);
    if (!fresh) return k::error::nomem;
    const page* p = fresh.get();
    TRY(put_page(e, at, fresh));
    return show(at, p, e.access);
}

// A large piece of fresh memory at once, where memory and alignment allow and nothing of it was touched. Any failure
// just means: page by page.
k::status space::fault_large(entry& e, user_address at) noexcept {
    constexpr k::u64 pages = arch::large_page_size >> arch::page_shift;
    constexpr unsigned order = 9;
    const user_address base = k::align_down<user_address>(at, arch::large_page_size);
    if (base < e.base || base + arch::large_page_size > e.end || e.shows_zeroes) return k::error::inval;
    if (free_estimate() < promise_limit() / 4) return k::error::nomem;
    const k::u64 index = e.index_of(base);
    if (e.what && !e.what->tree_.for_each(index, pages, [](k::u64, found_page) { return false; }))
        return k::error::exist;
    page* head = allocate_block(order, page_use::object, fill::zeroed);
    if (!head) return k::error::nomem;
    split_block(head);
    const arch::paddr start = physical(head);
    k::u64 put = 0;
    k::status all;
    for (; put < pages && all; put++) {
        page_ref one(head + put);
        all = put_page(e, base + (put << arch::page_shift), one);
    }
    for (k::u64 rest = put; rest < pages; rest++)
        drop(head + rest, hold::reference);
    if (!all) { // what is in the tree is good memory; it is shown page by page
        return all;
    }
    if (!pmap_.enter_large(base, start, e.access)) return show(at, head + pages_in(at - base), e.access);
    return {};
}

// A page may be written to again, because whoever else had it has let go of it: very likely of those behind it, too.
void space::show_own_neighbours(const entry& e, user_address at) noexcept {
    constexpr user_address window = own_neighbours * arch::page_size;
    const user_address first = at + arch::page_size;
    const user_address end = std::min(e.end, k::align_down<user_address>(at, window) + window);
    if (first >= end) return;
    page* run[own_neighbours];
    unsigned count = 0;
    e.what->tree_.for_each(e.index_of(first), pages_in(end - first), [&](k::u64 index, found_page found) {
        if (!found.sole || index != e.index_of(first) + count) return false;
        run[count++] = found.p;
        return true;
    });
    (void)pmap_.enter_pages(first, {run, count}, e.access, nullptr);
}

// What lies under a private entry: its page for reading, a copy of it for writing.
k::status space::fault_under(entry& e, user_address at, bool write) noexcept {
    const k::u64 generation = generation_;
    k::ref<object> under = e.under.share();
    lwkt::token_hold hold(under->token_);
    auto there = under->page_locked(e.under_index_of(at));
    if (!there) return as_fault(there.error());
    const found_page found = *there;
    if (generation_ != generation) return k::error::again;
    if (!write) {
        TRY(show(at, found.p, without_write(e.access)));
        show_neighbours(e, *under, at);
        return {};
    }
    hide(at, 1);
    page_ref fresh = copy_of_page(found.p, xio::reason::copy_on_write);
    if (!fresh) return k::error::nomem;
    const page* p = fresh.get();
    TRY(put_page(e, at, fresh));
    return show(at, p, e.access);
}

// Pages after this one that are at hand, too: whoever reads a file will go on. The object's token is held. Each is
// shown with the rights that a fault would give it, so a page that is shown already loses none.
void space::show_neighbours(const entry& e, const object& from, user_address at) noexcept {
    constexpr user_address window = neighbours * arch::page_size;
    const user_address end = std::min(e.end, k::align_down<user_address>(at, window) + window);
    const k::u64 first = (e.is_shared() ? e.index_of(at) : e.under_index_of(at)) + 1;
    if (first >= from.pages()) return;
    const k::u64 wanted = std::min(pages_in(end - at) - 1, from.pages() - first);
    if (!e.is_shared() && (!e.what || e.what->tree_.empty())) {
        for (k::u64 done = 0; done < wanted;) {
            const auto slots = from.tree_.slots_from(first + done, wanted - done);
            const user_address here = at + ((done + 1) << arch::page_shift);
            if (!slots.empty()) (void)pmap_.enter_slots(here, slots, without_write(e.access), nullptr);
            done += slots.empty() ? 1 : slots.size();
        }
        return;
    }
    // Pages that lie together and get the same rights.
    page* run[neighbours];
    unsigned count = 0;
    k::u64 next = 0; // behind the run
    k::u8 rights = 0;
    const auto show_run = [&] {
        const user_address start = at + ((next - count - first + 1) << arch::page_shift);
        if (count) (void)pmap_.enter_pages(start, {run, count}, rights, nullptr); // else faults show them
        count = 0;
    };
    const auto add = [&](k::u64 index, page* p, k::u8 may) {
        if (index != next || may != rights) {
            show_run();
            rights = may;
        }
        run[count++] = p;
        next = index + 1;
        return true;
    };
    if (e.is_shared()) {
        from.tree_.for_each(first, wanted, [&](k::u64 index, found_page found) {
            return add(index, found.p, from.may_be_written_as_is(index, found) ? e.access : without_write(e.access));
        });
    } else {
        from.tree_.for_each(first, wanted, [&](k::u64 index, page* p) {
            if (e.what->tree_.find_page(e.index_of(at) + (index - first + 1))) return true;
            return add(index, p, without_write(e.access));
        });
    }
    show_run();
}

k::status space::fault_shared(entry& e, user_address at, bool write) noexcept {
    const k::u64 generation = generation_, index = e.index_of(at);
    const k::u8 access = e.access;
    k::ref<object> what = e.what.share();
    lwkt::token_hold hold(what->token_);
    if (write) {
        auto p = what->writable_page_locked(index, true);
        if (!p) return as_fault(p.error());
        if (generation_ != generation) return k::error::again;
        return show(at, *p, access);
    }
    auto there = what->page_locked(index);
    if (!there) return as_fault(there.error());
    const found_page found = *there;
    if (generation_ != generation) return k::error::again;
    TRY(show(at, found.p, what->may_be_written_as_is(index, found) ? access : without_write(access)));
    show_neighbours(e, *what, at);
    return {};
}

// A stack grows to the page touched, if that is above its limit and nothing is in the way.
entry* space::grow_stack(user_address at) noexcept {
    entry* e = first_from(at);
    if (!e || !e->grows_down || at < e->lowest) return nullptr;
    const user_address base = k::align_down<user_address>(at, arch::page_size);
    auto it = entries_.iterator_to(*e);
    if (it != entries_.begin() && std::prev(it)->end > base) return nullptr;
    const k::u64 more = pages_in(e->base - base);
    if (!promise(more)) return nullptr;
    if (limit_bytes_ != ~k::u64{0} && ((mapped_pages_ + more) << arch::page_shift) > limit_bytes_) return nullptr;
    e->base = base; // still between the same neighbours
    e->offset -= more;
    mapped_pages_ += more;
    if (e->is_data()) data_pages_ += more;
    map_changed();
    return e;
}

// The page of a word that fault() made accessible, or null if it is not so any more.
page* space::page_of_word_locked(user_address at, k::u8 access) noexcept {
    if (at >= arch::user_end) return nullptr;
    entry* e = entry_at(at);
    if (!e || access & ~e->access || !e->access) return nullptr;
    // What is shown is what counts: the page cannot be replaced or freed while the token is held, because
    // whoever replaces it needs this token (private) or takes the translation away first (shared).
    const arch::user_mapping m = pmap_.find(at);
    if (access & ~m.access) return nullptr;
    return page_at(m.frame);
}

} // namespace vm
