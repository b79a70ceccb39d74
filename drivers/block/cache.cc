#include "drivers/block/cache.h"

#include "sys/vm/loan.h"

#include <algorithm>
#include <cstring>

namespace block {

namespace {

constexpr unsigned most_ahead = 64;    // pages read at once
constexpr k::u64 pages_a_write = 1024; // of one loan for writing back
constexpr k::u64 page = arch::page_size;

constexpr k::u64 page_of(k::u64 offset) {
    return offset >> arch::page_shift;
}
// The pages that bytes touch.
constexpr k::u64 page_span(k::u64 offset, k::u64 bytes) {
    return bytes ? page_of(offset + bytes - 1) - page_of(offset) + 1 : 0;
}

} // namespace

k::result<mem::box<cache>> cache::create(device& of) noexcept {
    auto made = mem::make_box<cache>(of);
    if (!made) return k::error::nomem;
    TRY(made->dirty_.create(made->page_count()));
    made->pages_ = TRY(vm::object::with_pager(*made, made->page_count()));
    return made;
}

cache::~cache() = default;

// The device may end in the middle of its last page.
k::u64 cache::bytes_of_pages(k::u64 first, k::u64 count) const noexcept {
    return std::min(count << arch::page_shift, device_.bytes() - (first << arch::page_shift));
}

// --- Reading

k::result<vm::page_ref> cache::page_in(k::u64 index) noexcept {
    vm::page_ref fresh = vm::user_page(vm::fill::any);
    if (!fresh) return k::error::nomem;
    const k::u64 bytes = bytes_of_pages(index, 1);
    if (bytes < page) std::memset(static_cast<std::byte*>(fresh.data()) + bytes, 0, page - bytes);
    auto into = TRY(xio::sink::over_run(fresh.get(), 0, bytes));
    TRY(block::read(device_, index << arch::page_shift, into).status);
    return fresh;
}

// Reads pages that are not there, in one go. What goes wrong is met again, and told, by who reads them.
void cache::fill(k::u64 first, unsigned count) noexcept {
    vm::page_ref fresh[most_ahead];
    vm::page* pages[most_ahead];
    const k::u64 times = pages_->times_forgotten();
    for (unsigned i = 0; i < count; i++) {
        fresh[i] = vm::user_page(vm::fill::any);
        if (!fresh[i]) return;
        pages[i] = fresh[i].get();
    }
    const k::u64 bytes = bytes_of_pages(first, count);
    if (const k::u64 rest = bytes % page)
        std::memset(static_cast<std::byte*>(fresh[count - 1].data()) + rest, 0, page - rest);
    {
        auto into = xio::sink::over_pages({pages, count}, 0, bytes);
        if (!into || !block::read(device_, first << arch::page_shift, *into).status) return;
    }
    pages_->supply(first, {fresh, count}, times);
}

// Brings in what a read will touch, and as much again if it goes on where the last one ended.
void cache::read_ahead(k::u64 offset, k::u64 bytes) noexcept {
    const bool goes_on = next_read_.exchange(offset + bytes, std::memory_order_relaxed) == offset;
    k::u64 at = page_of(offset);
    k::u64 end = at + page_span(offset, bytes);
    if (goes_on || bytes > page) end += most_ahead / 2;
    end = std::min(end, page_count());
    while (at < end) {
        at = pages_->next_in_memory(at, end, false);
        const k::u64 until = std::min(pages_->next_in_memory(at, end, true), at + most_ahead);
        if (at >= page_of(offset) + page_span(offset, bytes) && until - at < most_ahead / 4) return; // not worth it yet
        if (at < until) fill(at, static_cast<unsigned>(until - at));
        at = until;
    }
}

// Whole pages to user memory without copying, where that pays. No bytes: not these.
xio::moved cache::deliver(k::u64 offset, xio::sink& to) noexcept {
    if (to.size() < vm::thresholds().deliver || to.binding() != xio::binding::range) return {};
    const xio::user_range front = to.front_range();
    if ((offset | front.base | to.size()) % page || front.bytes < to.size()) return {};
    auto lent = pages_->lend(offset, to.size());
    if (!lent) return {};
    return vm::deliver(static_cast<vm::space&>(to.memory()), to, *lent);
}

xio::moved cache::read(k::u64 offset, xio::sink& to) noexcept {
    if (offset >= device_.bytes()) return {};
    const k::u64 bytes = std::min(to.size(), device_.bytes() - offset);
    auto part = to.slice(0, bytes);
    // Some at a time, so that a long read does not have all of it in memory before the first byte is moved.
    xio::moved sum;
    constexpr k::u64 step = most_ahead << arch::page_shift;
    while (sum.bytes < bytes && sum.status) {
        const k::u64 now = std::min(step - (offset + sum.bytes) % step, bytes - sum.bytes);
        read_ahead(offset + sum.bytes, now);
        auto piece = part->slice(sum.bytes, now);
        xio::moved m = deliver(offset + sum.bytes, *piece);
        if (m.status && !m.bytes) m = pages_->read(offset + sum.bytes, *piece);
        sum.bytes += m.bytes;
        sum.status = m.status;
    }
    keep_within_limits();
    return sum;
}

// --- Writing

// Takes whole pages of a stable source as they are. How many bytes.
k::u64 cache::adopt(k::u64 offset, const xio::source& from) noexcept {
    if (from.binding() != xio::binding::pages || offset % page || from.size() < page) return 0;
    auto whole = from.slice(0, k::align_down(from.size(), page));
    return pages_->adopt(offset, *whole);
}

xio::moved cache::write(k::u64 offset, const xio::source& from) noexcept {
    if (offset >= device_.bytes()) return {0, k::error::nospc};
    if (device_.properties().read_only) return {0, k::error::rofs};
    const k::u64 bytes = std::min(from.size(), device_.bytes() - offset);
    if (!bytes) return {};
    auto part = from.slice(0, bytes);
    const k::u64 first = page_of(offset), count = page_span(offset, bytes);
    xio::moved m;
    {
        lwkt::sleep_hold hold(writers_);
        if (auto room = dirty_.reserve(first, count); !room) return {0, room};
        const k::u64 taken = adopt(offset, *part);
        m = {taken, {}};
        if (taken < bytes) {
            const xio::moved rest = pages_->write(offset + taken, *part->slice(taken, bytes - taken));
            m = {taken + rest.bytes, rest.status};
        }
        // After the bytes: a write-back that runs meanwhile has the old ones, or finds the pages dirty again.
        dirty_.set(first, page_span(offset, m.bytes));
    }
    keep_within_limits();
    return m;
}

// What is there now, though somebody may be filling one of the pages: who calls write() has soon done so, whoever else
// fills one leaves a copy to be taken.
k::result<xio::source> cache::bytes_to_write(k::u64 offset, k::u64 bytes) noexcept {
    auto lent = pages_->lend(offset, bytes);
    if (lent || lent.error() != k::error::again) return lent;
    lwkt::sleep_hold hold(writers_);
    lent = pages_->lend(offset, bytes);
    if (lent || lent.error() != k::error::again) return lent;
    xio::sink copy = TRY(xio::sink::fresh(bytes));
    const xio::moved m = pages_->read(offset, copy);
    if (m.bytes != bytes) return m.status ? k::error::io : m.status.error();
    return copy.into_source();
}

// One loan of neighbouring dirty pages. They are clean from here on, unless somebody writes to them.
void cache::write_run(k::u64 first, k::u64 count) noexcept {
    dirty_.clear(first, count);
    const k::u64 offset = first << arch::page_shift, bytes = bytes_of_pages(first, count);
    auto lent = bytes_to_write(offset, bytes);
    if (lent)
        on_its_way_.write(offset, *std::move(lent));
    else
        written_back(offset, bytes, lent.error(), this);
}

void cache::written_back(k::u64 offset, k::u64 bytes, k::status status, void* argument) {
    if (status) return;
    auto& self = *static_cast<cache*>(argument);
    self.dirty_.set(page_of(offset), page_span(offset, bytes));
    self.failed_.store(true, std::memory_order_relaxed);
    if (self.outcome_) self.outcome_ = status;
}

// Runs that lie apart are under way together.
k::status cache::write_back(k::u64 first, k::u64 count) noexcept {
    lwkt::sleep_hold hold(writing_back_);
    outcome_ = {};
    const k::u64 end = count < page_count() - std::min(first, page_count()) ? first + count : page_count();
    for (k::u64 at = first; (at = dirty_.next(at, end, true)) < end;) {
        const k::u64 until = std::min(dirty_.next(at, end, false), at + pages_a_write);
        write_run(at, until - at);
        at = until;
    }
    on_its_way_.finish();
    return outcome_;
}

k::status cache::sync() noexcept {
    const k::status written = write_back();
    const bool failed_before = failed_.exchange(false, std::memory_order_relaxed);
    if (!written) return k::error::io;
    TRY(block::flush(device_));
    return failed_before ? k::status(k::error::io) : k::status();
}

// --- Forgetting

void cache::forget_clean(k::u64 first, k::u64 count) noexcept {
    lwkt::sleep_hold hold_written(writing_back_); // what is on its way is not on the disk yet
    lwkt::sleep_hold hold(writers_);
    const k::u64 end = std::min(first + count, page_count());
    for (k::u64 at = first; at < end;) {
        at = dirty_.next(at, end, false);
        const k::u64 until = dirty_.next(at, end, true);
        if (at < until) pages_->forget(at, until - at);
        at = until;
    }
}

void cache::abandon(k::u64 offset, k::u64 bytes) noexcept {
    const k::u64 first = page_of(k::align_up(offset, page)), end = page_of(offset + bytes);
    if (first >= end) return;
    {
        lwkt::sleep_hold hold_written(writing_back_);
        dirty_.clear(first, end - first);
    }
    forget_clean(first, end - first);
}

void cache::drop_clean() noexcept {
    forget_clean(0, page_count());
}

// A quarter of memory for one device, half of that dirty.
void cache::keep_within_limits() noexcept {
    const k::u64 most = vm::promise_limit() / 4;
    if (dirty_pages() > most / 2) (void)write_back();
    if (cached_pages() > most || vm::memory_is_short()) {
        if (!cached_pages()) return;
        (void)write_back();
        drop_clean();
    }
}

// --- Past the cache

xio::moved cache::read_direct(k::u64 offset, const xio::sink& to) noexcept {
    const k::u64 first = page_of(offset), count = page_span(offset, to.size());
    if (dirty_pages())
        if (const k::status written = write_back(first, count); !written) return {0, written};
    return block::read(device_, offset, to);
}

// What reads are bringing in meanwhile may be old: forgetting turns it away.
xio::moved cache::write_direct(k::u64 offset, const xio::source& from, bool durable) noexcept {
    const k::u64 first = page_of(offset), count = page_span(offset, from.size());
    if (dirty_pages())
        if (const k::status written = write_back(first, count); !written) return {0, written};
    const xio::moved m = block::write(device_, offset, from, durable);
    forget_clean(first, count);
    return m;
}

k::status cache::discard(k::u64 offset, k::u64 bytes) noexcept {
    TRY(write_back(page_of(offset), page_span(offset, bytes)));
    const k::status done = block::discard(device_, offset, bytes);
    forget_clean(page_of(offset), page_span(offset, bytes));
    return done;
}

} // namespace block
