// Law 3 for loans: writing is taken away from a page, and every CPU knows, before the loan makes it one that others
// see. From then on a write gets a copy (fault.cc); once the pin is gone, it just gets its right back.
#include "sys/vm/loan_priv.h"
#include "sys/vm/snapshot.h"
#include "sys/xio/walk.h"

#include "kernel/lwkt/trace.h"
#include "kernel/mem/slab.h"

#include <optional>

namespace vm {

namespace {

constexpr unsigned attempts = 4;       // to find all pages there at once
constexpr unsigned batch = 64;         // pages collected before they go into the list
constexpr k::u64 most_counted = 16384; // pages: of more, nobody counts whether all are there

loan_thresholds table = initial_thresholds;

k::u64 pages_touched(xio::user_range r) {
    return pages_in(k::align_up<k::u64>(r.base % arch::page_size + r.bytes, arch::page_size));
}

bool is_user_range(xio::user_range r) {
    return r.base < arch::user_end && r.bytes <= arch::user_end - r.base;
}

} // namespace

const loan_thresholds& thresholds() noexcept {
    return table;
}

void set_thresholds(const loan_thresholds& now) noexcept {
    table = now;
}

bool worth_lending(space& from, k::u64 bytes) noexcept {
    const bool elsewhere = std::popcount(from.map_for_cpu().active()) > 1;
    return bytes >= (elsewhere ? table.stable_many : table.stable_one_cpu);
}

// Builds one list over all pieces of a range.
class loan_builder {
  public:
    loan_builder(space& s, xio::pin_kind kind, xio::stability promise) noexcept
        : space_(s), kind_(kind), promise_(promise), list_(s.payer(), kind, promise) {
        if (fills()) space_.sinks_in_making_++; // from before the first pin until the payer is charged: fork looks
    }
    ~loan_builder() {
        if (fills()) space_.sinks_in_making_--;
    }
    loan_builder(const loan_builder&) = delete;

    k::result<xio::sink> finish_sink(k::status added) noexcept {
        if (!added) return added.error();
        return xio::sink::from_builder(list_);
    }

    // EAGAIN: this memory cannot be lent so, or keeps changing.
    k::status add(xio::user_range r) noexcept {
        user_address at = k::align_down<user_address>(r.base, arch::page_size);
        const user_address end = at + (pages_touched(r) << arch::page_shift);
        k::u64 offset = r.base - at, left = r.bytes;
        for (unsigned vain = 0; at < end;) {
            auto reached = pin(at, end, offset, left);
            if (!reached) {
                // Step one comes second: most memory that is lent was just written and is there.
                if (reached.error() != k::error::busy) return reached.error();
                if (++vain == attempts) return k::error::again;
                TRY(fault_in(at, end));
                continue;
            }
            vain = 0;
            left -= std::min(*reached - at - offset, left);
            offset = 0;
            at = *reached;
        }
        return {};
    }
    xio::list_builder& list() noexcept { return list_; }

    // All of a range at once, if it is much and plain private memory in one mapping: at least `least` pages, each of
    // which is there unless there are zeroes beneath. EAGAIN: page by page.
    static k::result<xio::source> lend_as_a_whole(space& s, const xio::source& range, k::u64 least) noexcept {
        const xio::user_range r = range.front_range();
        const user_address first = k::align_down<user_address>(r.base, arch::page_size);
        const k::u64 count = pages_touched(r), offset = r.base - first;
        if (r.bytes != range.size() || count < least || !is_user_range(r)) return k::error::again;
        lwkt::token_hold hold(s.token_);
        entry* e = s.entry_at(first);
        if (!e || e->is_shared() || !e->what || !(e->access & arch::user_read) || e->pages() < count ||
            first > e->end - (count << arch::page_shift))
            return k::error::again;
        const bool few = count <= page_tree::fanout - e->index_of(first) % page_tree::fanout;
        return few ? lend_few(s, *e, first, count, offset, r.bytes) : lend_many(s, *e, first, count, offset, r.bytes);
    }

  private:
    // Of what lies in one leaf.
    static k::result<xio::source> lend_few(space& s, const entry& e, user_address first, k::u64 count, k::u64 offset,
                                           k::u64 bytes) noexcept REQUIRES(s.token_) {
        page_tree::leaf_part about;
        auto lent = snapshot::take_few(e.what->tree_, e.index_of(first), count, offset, bytes, s.payer(), about);
        if (lent && !about.guard()) s.take_writing(first, count);
        return lent;
    }
    static k::result<xio::source> lend_many(space& s, entry& e, user_address first, k::u64 count, k::u64 offset,
                                            k::u64 bytes) noexcept REQUIRES(s.token_) {
        const page_tree& tree = e.what->tree_;
        const k::u64 index = e.index_of(first);
        const bool whole = (count <= most_counted || e.under) && tree.count(index, count) == count;
        if ((!whole && (e.under || count <= most_counted)) || s.is_filled(tree, index, count)) return k::error::again;
        auto lent = snapshot::take(tree, index, count, whole, offset, bytes, s.payer());
        if (lent) s.guard(e, first, count);
        return lent;
    }

    bool fills() const { return kind_ == xio::pin_kind::sink; }
    bool is_stable() const { return !fills() && promise_ == xio::stability::stable; }

    // Step one: everything is there up to the end of the first mapping, as far as nobody takes it away again.
    k::status fault_in(user_address first, user_address end) noexcept {
        const k::u8 wanted = fills() ? arch::user_write : arch::user_read;
        user_address stop = first + arch::page_size; // at least: perhaps a stack that grows
        {
            lwkt::token_hold hold(space_.token_);
            if (entry* e = space_.entry_at(first)) stop = std::min(e->end, end);
        }
        for (user_address at = first; at < stop; at += arch::page_size) {
            if (space_.pmap_.find(at).access & wanted) continue;
            if (auto there = space_.fault(at, wanted); !there) {
                const k::error e = there.error();
                return e == k::error::acces || e == k::error::io ? k::error::fault : e;
            }
        }
        return {};
    }

    // Step two, without blocking once the tokens are held: the pages from `first` to `end`, as far as the mapping goes
    // and they can be lent. Returns where it came to. Nothing at all: EBUSY if it is not there, EAGAIN if it cannot be
    // lent so.
    k::result<user_address> pin(user_address first, user_address end, k::u64 offset, k::u64 left) noexcept {
        lwkt::token_hold hold(space_.token_);
        entry* e = space_.entry_at(first);
        if (!e || !(e->access & (fills() ? arch::user_write : arch::user_read))) return k::error::busy;
        end = std::min(end, e->end);
        k::ref<object> backing = e->shown() ? k::ref<object>::to(*e->shown()) : k::ref<object>();
        if (!backing) return pin_locked(*e, nullptr, first, end, offset, left);
        const k::u64 generation = space_.generation_;
        lwkt::token_hold backing_hold(backing->token_);
        if (fills()) backing->fills_.fetch_or(object::sinks_lent, std::memory_order_relaxed);
        if (space_.generation_ != generation) return k::error::busy;
        // A file must know that its pages are changed: by a fault, if they have been written back meanwhile.
        if (fills() && e->is_shared() && !backing->are_dirty(e->index_of(first), pages_in(end - first)))
            return k::error::busy;
        return pin_locked(*e, backing.get(), first, end, offset, left);
    }

    // Pins come first and protection second, with the tokens held all the time: nobody else can look at the pages in
    // between, and the bytes are promised to stay only once this has returned.
    k::result<user_address> pin_locked(entry& e, object* backing, user_address first, user_address end, k::u64 offset,
                                       k::u64 left) noexcept REQUIRES(space_.token_) {
        page* some[page_tree::fanout];
        std::size_t count = 0;
        user_address reached = first;
        auto give = [&] {
            const k::u64 bytes = std::min<k::u64>((count << arch::page_shift) - offset, left);
            list_.add_pages({some, count}, offset, bytes);
            left -= bytes;
            offset = 0;
            reached += count << arch::page_shift;
            count = 0;
        };
        std::optional<k::error> refused;
        auto take = [&](page* p) {
            some[count++] = p;
            if (count == std::size(some)) give();
            return true;
        };
        // Most memory lies in one tree.
        if (!fills() && e.what && (!backing || e.is_shared())) {
            do {
                for (void* slot : e.what->tree_.slots_from(e.index_of(reached), pages_in(end - reached))) {
                    auto* p = static_cast<page*>(slot);
                    if (cannot_stay(p)) break;
                    some[count++] = p;
                }
                if (!count) break;
                give();
            } while (reached < end);
        }
        if (reached == end) {
            // that was all
        } else if (fills()) {
            for_each_page<found_page>(e, backing, first, pages_in(end - first), [&](found_page found, bool own) {
                if (own && found.sole) return take(found.p);
                refused = k::error::busy;
                return false;
            });
        } else {
            for_each_page<page*>(e, backing, reached, pages_in(end - reached), [&](page* p, bool) {
                if (!p && !backing) p = zero_page();
                if (p && !cannot_stay(p)) [[likely]]
                    return take(p);
                refused = p ? k::error::again : k::error::busy;
                return false;
            });
        }
        if (count) give();
        if (reached == first) return refused.value_or(k::error::busy);
        if (is_stable()) protect(e, backing, first, pages_in(reached - first));
        return reached;
    }

    // Whoever fills the page changes it: no promise can be given.
    bool cannot_stay(const page* p) const noexcept { return is_stable() && p->holds.count(hold::sink_pin); }

    void protect(entry& e, object* backing, user_address first, k::u64 pages) noexcept REQUIRES(space_.token_) {
        if (backing)
            backing->write_protect_everywhere(e.is_shared() ? e.index_of(first) : e.under_index_of(first), pages);
        if (!e.is_shared()) space_.guard(e, first, pages);
    }

    // visit(found, own) for each page of a mapping in order, whether it is there or not, until it returns false. `own`:
    // it is the entry's to write. Found is what page_tree::for_each() gives.
    template <class Found, class Visit>
    void for_each_page(const entry& e, object* backing, user_address first, k::u64 pages, Visit visit) noexcept {
        if (!backing || e.is_shared()) {
            if (!e.what) {
                while (pages && visit(Found{}, false))
                    pages--;
                return;
            }
            k::u64 next = e.index_of(first);
            const k::u64 end = next + pages;
            const bool all = e.what->tree_.for_each(next, pages, [&](k::u64 index, Found found) {
                for (; next < index; next++)
                    if (!visit(Found{}, false)) return false;
                next++;
                return visit(found, true);
            });
            for (; all && next < end; next++)
                if (!visit(Found{}, false)) return;
            return;
        }
        for (user_address at = first; pages; pages--, at += arch::page_size) {
            found_page found = e.what ? e.what->tree_.find(e.index_of(at)) : found_page{};
            const bool own = found.p;
            if (!own) found = backing->tree_.find(e.under_index_of(at));
            if constexpr (std::is_same_v<Found, page*>) {
                if (!visit(found.p, own)) return;
            } else if (!visit(found, own)) {
                return;
            }
        }
    }

    space& space_;
    xio::pin_kind kind_;
    xio::stability promise_;
    xio::list_builder list_;
};

namespace {

template <class Slice> k::status add_all(loan_builder& builder, const Slice& range) {
    auto at = range.cursor(0);
    for (k::u64 left = range.size(); left;) {
        const xio::user_range r = at.range(left);
        if (!is_user_range(r)) return k::error::fault;
        TRY(builder.add(r));
        at.advance(r.bytes);
        left -= r.bytes;
    }
    return {};
}

} // namespace

k::result<xio::source> copied(space& from, const xio::source& range, xio::reason why) noexcept {
    // Users may not take the kernel's last pages.
    if (!user_pages_left(pages_in(k::align_up<k::u64>(range.size(), arch::page_size)))) return k::error::nomem;
    auto room = TRY(xio::sink::fresh(range.size(), {.paid_by = from.payer()}));
    const xio::moved m = xio::copy_some(range, room, why);
    if (!m.status) return m.status.error();
    return room.into_source();
}

namespace {

k::result<xio::source> pinned(space& from, const xio::source& range, xio::stability promise) {
    loan_builder builder(from, xio::pin_kind::source, promise);
    TRY(add_all(builder, range));
    return xio::source::from_builder(builder.list());
}

} // namespace

k::result<xio::source> lent(space& from, const xio::source& range, xio::stability promise, k::u64 whole_from) noexcept {
    auto pages = promise == xio::stability::stable ? loan_builder::lend_as_a_whole(from, range, whole_from)
                                                   : k::result<xio::source>(k::error::again);
    if (!pages) pages = pinned(from, range, promise);
    return pages;
}

namespace {

// One that is worth lending, and may be.
k::result<xio::source> lent_or_copied(space& from, const xio::source& range, xio::stability promise,
                                      k::u64 whole_from) {
    auto pages = lent(from, range, promise, whole_from);
    if (pages)
        trace::note(trace::event::lent, range.front_range().base, range.size());
    else if (pages.error() == k::error::again || pages.error() == k::error::busy)
        pages = copied(from, range, xio::reason::not_lendable);
    return pages;
}

} // namespace

k::result<xio::source> bind_source(space& from, const xio::source& range, xio::stability promise, k::u64 lend_from,
                                   k::u64 whole_from) noexcept {
    if (range.binding() == xio::binding::pages) return range.clone();
    const bool stable = promise == xio::stability::stable;
    if (lend_from ? range.size() < lend_from
        : stable  ? !worth_lending(from, range.size())
                  : range.size() < table.blocked)
        return copied(from, range, xio::reason::too_small);
    const k::u64 lent_already = from.payer().source_pages();
    if (lent_already + pages_in(range.size()) > table.pages_a_space) {
        // More than that one at a time, where it costs by branches.
        if (!lent_already && stable && !range.empty())
            if (auto all = loan_builder::lend_as_a_whole(from, range, whole_from)) {
                trace::note(trace::event::lent, range.front_range().base, range.size());
                return all;
            }
        return copied(from, range, xio::reason::over_limit);
    }
    return lent_or_copied(from, range, promise, whole_from);
}

k::result<xio::sink> bind_sink(space& to, const xio::sink& range) noexcept {
    if (range.binding() == xio::binding::pages) return range.clone();
    if (to.payer().sink_pages() + pages_in(range.size()) > table.pages_a_space) return k::error::again;
    loan_builder builder(to, xio::pin_kind::sink, xio::stability::live);
    return builder.finish_sink(add_all(builder, range));
}

// Gives whole pages away, page by page of one entry.
class delivery {
  public:
    delivery(space& to, const xio::source& from) noexcept : space_(to), from_(from) {}

    // Puts the source's whole pages at [first, first + bytes), both page aligned. How many bytes were given.
    k::u64 give(user_address first, k::u64 bytes, k::u64 from_offset) noexcept {
        lwkt::token_hold hold(space_.token_);
        user_address at = first;
        for (const user_address end = first + bytes; at < end;) {
            entry* e = space_.entry_at(at);
            if (!e || e->is_shared() || !(e->access & arch::user_write)) break;
            const user_address stop = std::min(e->end, end);
            const auto all = snapshot::of(from_, from_offset + (at - first), !e->under);
            const user_address reached =
                all.tree ? give_branches(*e, at, stop, all)
                         : give_to(*e, at, stop, xio::walker(from_, from_offset + (at - first), stop - at));
            at = reached;
            if (reached < stop) break;
        }
        return at - first;
    }

    // Fresh private memory that has the pages of a snapshot.
    static k::result<user_address> map(space& to, k::u64 bytes, snapshot::view from) noexcept {
        auto own = TRY(object::anonymous(from.first + pages_in(bytes)));
        own->tree_ = TRY(from.tree->snapshot());
        lwkt::token_hold hold(to.token_);
        const entry& e = *TRY(to.map_own(std::move(own), from.first, bytes));
        // Nothing is shown there yet. What cannot be shown now, a fault shows.
        to.show_pages(e, e.base, pages_in(bytes), *from.tree, from.first, from.is_whole, nullptr);
        return e.base;
    }

  private:
    user_address give_branches(entry& e, user_address at, user_address end, snapshot::view from) noexcept
        REQUIRES(space_.token_) {
        return space_.replace_pages(e, at, pages_in(end - at), *from.tree, from.first) ? end : at;
    }

    user_address give_to(entry& e, user_address at, user_address end, xio::walker walk) noexcept
        REQUIRES(space_.token_) {
        const bool had_pages = e.what.get();
        if (!had_pages) {
            auto own = object::anonymous(e.index_of(e.end));
            if (!own) return at;
            e.what = *std::move(own);
        }
        // The old pages, before they go and the new ones are seen.
        if (had_pages || e.under || e.shows_zeroes) space_.hide(at, pages_in(end - at));
        page* some[batch];
        for (std::size_t given = batch; given == batch && at < end;) {
            const std::size_t there = walk.take_pages({some, std::min<k::u64>(batch, pages_in(end - at))});
            given = 0;
            (void)e.what->tree_.edit(e.index_of(at), there, [&](k::u64, page*& slot) {
                page* p = some[given];
                if (p->place != 0 || p->use == page_use::slab || !p->holds.try_add(hold::reference)) return false;
                if (slot) drop(slot, hold::reference);
                slot = p;
                given++;
                return true;
            });
            // Nothing is shown there. What cannot be shown now, a fault shows.
            (void)space_.pmap_.enter_pages(at, {some, given}, e.access & ~arch::user_write, nullptr);
            at += given << arch::page_shift;
        }
        return at;
    }

    space& space_;
    const xio::source& from_;
};

k::u64 give_pages(space& to, user_address first, k::u64 bytes, const xio::source& from, k::u64 offset) noexcept {
    return delivery(to, from).give(first, bytes, offset);
}

k::result<user_address> map_whole(space& to, const xio::source& from) noexcept {
    if (from.empty() || from.size() % arch::page_size) return k::error::again;
    const auto all = snapshot::of(from, 0, true);
    if (!all.is_all) return k::error::again;
    return delivery::map(to, from.size(), all);
}

xio::moved deliver(space& to, xio::sink& range, const xio::source& from, k::u64 give_from) noexcept {
    const k::u64 wanted = std::min(range.size(), from.size());
    if (!give_from) give_from = table.deliver;
    if (range.binding() == xio::binding::pages || wanted < give_from || from.promise() != xio::stability::stable)
        return xio::copy_some(from, range, xio::reason::kernel_read);
    xio::moved sum;
    while (sum.bytes < wanted) {
        const xio::user_range r = range.cursor(sum.bytes).range(wanted - sum.bytes);
        k::u64 given = 0;
        xio::walker at(from, sum.bytes, wanted - sum.bytes);
        const bool aligned = r.base % arch::page_size == 0 && is_user_range(r) &&
                             reinterpret_cast<std::uintptr_t>(at.address()) % arch::page_size == 0;
        if (aligned && r.bytes >= arch::page_size)
            given = give_pages(to, r.base, k::align_down<k::u64>(r.bytes, arch::page_size), from, sum.bytes);
        sum.bytes += given;
        if (given) continue;
        // One page's worth by hand, or all of it where pages cannot be given.
        const k::u64 part = aligned ? std::min<k::u64>(r.bytes, arch::page_size) : r.bytes;
        auto piece = from.slice(sum.bytes, part);
        auto room = range.slice(sum.bytes, part);
        const xio::moved m = xio::copy_some(*piece, *room, xio::reason::kernel_read);
        sum.bytes += m.bytes;
        if (!m.status) {
            sum.status = m.status;
            break;
        }
    }
    return sum;
}

} // namespace vm
