// Bytes into and out of an object by copying: some pages at a time are pinned under the token and copied without it,
// because user memory may be at fault meanwhile.
#include "sys/vm/object.h"

#include <cstring>

namespace vm {

namespace {

constexpr unsigned batch = 16;

std::byte* bytes_of(const page* p) {
    return static_cast<std::byte*>(direct(p));
}

// Pages that are kept until the end of a scope.
template <hold Kind> struct pinned {
    page* at[batch];
    unsigned count = 0;

    ~pinned() {
        for (page* p : std::span(at, count))
            drop(p, Kind);
    }
    std::span<page*> room(k::u64 pages) { return std::span(at).first(std::min<k::u64>(pages, batch)); }
};

// While pages may be pinned to be filled: from before the first pin to behind the last.
class filling {
  public:
    explicit filling(std::atomic<k::u32>& count) noexcept : count_(count) {
        count_.fetch_add(1, std::memory_order_relaxed);
    }
    ~filling() { count_.fetch_sub(1, std::memory_order_release); }
    filling(const filling&) = delete;

  private:
    std::atomic<k::u32>& count_;
};

k::u64 pages_touched(k::u64 in_page, k::u64 bytes) {
    return (in_page + bytes + arch::page_size - 1) >> arch::page_shift;
}

} // namespace

// Pins pages from `index` on, as many as there is room for; where there is none the page of zeroes. At least one.
k::result<unsigned> object::pin_to_read(k::u64 index, std::span<page*> to) noexcept {
    {
        lwkt::token_hold hold(token_, lwkt::sharing::shared);
        unsigned n = 0;
        for (; n < to.size(); n++) {
            page* p = tree_.find_page(index + n);
            if (!p && index + n < paged_) break;
            if (!p) p = zero_page();
            if (!p->holds.try_add(hold::source_pin)) break;
            to[n] = p;
        }
        if (n) return n;
    }
    lwkt::token_hold hold(token_);
    page* p = TRY(page_locked(index)).p;
    if (!p->holds.try_add(hold::source_pin)) return k::error::again;
    to[0] = p;
    return 1u;
}

// Bytes of one page.
xio::moved object::read_in_page(k::u64 offset, k::u64 bytes, xio::sink& to) noexcept {
    page* p;
    auto found = pin_to_read(pages_in(offset), {&p, 1});
    if (!found) return {0, found.error()};
    const xio::moved m = to.write_some(0, {bytes_of(p) + offset % arch::page_size, bytes}, xio::reason::file_read);
    drop(p, hold::source_pin);
    return m;
}

xio::moved object::read(k::u64 offset, xio::sink& to, k::u64 most) noexcept {
    xio::moved sum;
    const k::u64 size = pages() << arch::page_shift;
    const k::u64 wanted = offset < size ? std::min({to.size(), most, size - offset}) : 0;
    if (wanted && offset % arch::page_size + wanted <= arch::page_size) return read_in_page(offset, wanted, to);
    while (sum.bytes < wanted) {
        k::u64 at = offset + sum.bytes;
        pinned<hold::source_pin> some;
        auto found = pin_to_read(pages_in(at), some.room(pages_touched(at % arch::page_size, wanted - sum.bytes)));
        if (!found) {
            sum.status = found.error();
            break;
        }
        some.count = *found;
        for (const page* p : std::span(some.at, some.count)) {
            const k::u64 in_page = at % arch::page_size;
            const k::u64 part = std::min(arch::page_size - in_page, wanted - sum.bytes);
            const xio::moved m = to.write_some(sum.bytes, {bytes_of(p) + in_page, part}, xio::reason::file_read);
            sum.bytes += m.bytes;
            at += part;
            if (m.status) continue;
            sum.status = m.status;
            return sum;
        }
    }
    return sum;
}

// Pins pages from `index` on to be written. Those that are written `whole` (a bit each) and not there are fresh ones
// that nobody sees yet (a bit of `fresh`). At least one, or what went wrong.
k::result<unsigned> object::pin_to_write(k::u64 index, std::span<page*> to, k::u32 whole, k::u32& fresh) noexcept {
    lwkt::token_hold hold(token_);
    unsigned n = 0;
    k::error why{};
    for (; n < to.size(); n++) {
        if (index + n >= pages()) {
            why = k::error::io;
            break;
        }
        bool is_fresh = (whole >> n & 1) && !tree_.find(index + n).p;
        if (is_fresh && notes_writes_) {
            if (auto dirty = make_dirty_locked(index + n); !dirty) {
                why = dirty.error();
                break;
            }
            is_fresh = !tree_.find(index + n).p && index + n < pages();
        }
        if (is_fresh) {
            if (budget_ && !budget_->take(1)) {
                why = k::error::nospc;
                break;
            }
            page_ref p = user_page(fill::any);
            if (!p) {
                if (budget_) budget_->give_back(1);
                why = k::error::nomem;
                break;
            }
            to[n] = p.release();
            fresh |= 1u << n;
            continue;
        }
        auto p = writable_page_locked(index + n, notes_writes_);
        if (!p || !(*p)->holds.try_add(hold::sink_pin)) {
            why = p ? k::error::again : p.error();
            break;
        }
        to[n] = *p;
    }
    if (!n) return why;
    return n;
}

// A page that was made and charged for an empty place comes to stand there.
k::status object::put_filled(k::u64 index, page* p) noexcept {
    page_ref held(p);
    lwkt::token_hold hold(token_);
    const bool was_there = tree_.find(index).p;
    const bool wanted = index < pages();
    if (was_there && wanted) unmap_everywhere(index, 1); // somebody else was quicker, but wrote before us
    k::status put;
    if (wanted) put = tree_.insert(index, held);
    if (wanted && put && notes_writes_) make_dirty_again_locked(index); // if it was written back, as it was, meanwhile
    if (wanted && put && !was_there)
        resident_.fetch_add(1, std::memory_order_relaxed);
    else if (budget_)
        budget_->give_back(1);
    return put;
}

// Bytes of one page that is not written as a whole.
xio::moved object::write_in_page(k::u64 offset, k::u64 bytes, const xio::source& from) noexcept {
    const filling now(fills_);
    page* p;
    {
        lwkt::token_hold hold(token_);
        auto found = writable_page_locked(pages_in(offset), notes_writes_);
        if (!found) return {0, found.error()};
        p = *found;
        if (!p->holds.try_add(hold::sink_pin)) return {0, k::error::again};
    }
    const xio::moved m = from.read_some(0, {bytes_of(p) + offset % arch::page_size, bytes}, xio::reason::file_write);
    drop(p, hold::sink_pin);
    return m;
}

xio::moved object::write(k::u64 offset, const xio::source& from) noexcept {
    xio::moved sum;
    const k::u64 size = pages() << arch::page_shift;
    const k::u64 wanted = offset < size ? std::min(from.size(), size - offset) : 0;
    if (wanted && offset % arch::page_size + wanted < arch::page_size) return write_in_page(offset, wanted, from);
    const filling now(fills_);
    while (sum.bytes < wanted && sum.status) {
        k::u64 at = offset + sum.bytes;
        const k::u64 left = wanted - sum.bytes, pages = pages_touched(at % arch::page_size, left);
        page* some[batch];
        const auto room = std::span(some).first(std::min<k::u64>(pages, batch));
        k::u32 whole = (1u << room.size()) - 1, fresh = 0;
        if (at % arch::page_size) whole &= ~1u;
        if (pages <= batch && (at + left) % arch::page_size) whole &= ~(1u << (pages - 1));
        auto found = pin_to_write(pages_in(at), room, whole, fresh);
        if (!found) {
            sum.status = found.error();
            break;
        }
        for (unsigned i = 0; i < *found; i++) {
            page* p = some[i];
            const k::u64 in_page = at % arch::page_size, part = std::min(arch::page_size - in_page, wanted - sum.bytes);
            k::u64 good = 0;
            if (sum.status) {
                const xio::moved m = from.read_some(sum.bytes, {bytes_of(p) + in_page, part}, xio::reason::file_write);
                good = m.bytes;
                sum.status = m.status;
            }
            if (!(fresh >> i & 1)) {
                drop(p, hold::sink_pin);
            } else if (good) {
                std::memset(bytes_of(p) + good, 0, arch::page_size - good);
                if (auto put = put_filled(at >> arch::page_shift, p); !put) {
                    good = 0;
                    sum.status = put;
                }
            } else {
                drop(p, hold::reference);
                if (budget_) budget_->give_back(1);
            }
            sum.bytes += good;
            at += part;
        }
    }
    return sum;
}

} // namespace vm
