// The bytes of files: what the server gives become the cache's pages as they are, and what is written is lent from
// there. Everything is written at once, so that any page can be forgotten and asked for again.
#include "kernel/mem/slab.h"
#include "sys/userfs/fuse_protocol.h"
#include "sys/userfs/nodes.h"
#include "sys/vfs/data.h"
#include "sys/xio/walk.h"

#include <cstring>

namespace vfs::userfs {

namespace {

constexpr k::u64 first_ahead = 8, most_ahead = 64; // pages

constexpr k::u64 pages_for(k::u64 bytes) {
    return k::align_up(bytes, k::u64{arch::page_size}) >> arch::page_shift;
}

// The next page of what came: itself if it is whole and may stand in a cache, else a copy, with zeroes behind the end.
// Null: no memory.
vm::page_ref next_page(const xio::source& got, xio::walker& from) noexcept {
    if (from.left()) {
        vm::page* whole = from.whole_page();
        if (whole && whole->place == 0 && whole->use == vm::page_use::object &&
            whole->holds.try_add(vm::hold::reference)) {
            from.advance(arch::page_size);
            return vm::page_ref(whole);
        }
    }
    vm::page_ref fresh = vm::user_page(vm::fill::any);
    if (!fresh) return fresh;
    auto* to = static_cast<std::byte*>(fresh.data());
    const k::u64 bytes = std::min<k::u64>(from.left(), arch::page_size);
    (void)got.read_some(got.size() - from.left(), {to, bytes}, xio::reason::page_in); // of pages: it cannot fail
    from.advance(bytes);
    std::memset(to + bytes, 0, arch::page_size - bytes);
    return fresh;
}

} // namespace

k::result<k::ref<vm::object>> file_pages::make(server_ref from, k::u64 node, k::u64 bytes,
                                               file_pages*& pager) noexcept {
    auto made = mem::make_box<file_pages>(std::move(from), node, bytes);
    if (!made) return k::error::nomem;
    auto pages = vm::object::of_file(*made, pages_for(bytes), vm::noting::mapped_writes);
    if (!pages) return pages;
    pager = made.release(); // the object's from here on
    pager->object_ = pages->get();
    return pages;
}

void file_pages::object_gone() noexcept {
    mem::destroy(this);
}

k::result<vm::page_ref> file_pages::page_in(k::u64 index) noexcept {
    const k::u64 offset = index << arch::page_shift, end = bytes_.load(std::memory_order_relaxed);
    if (offset >= end) return vm::user_page(vm::fill::zeroed); // it became shorter meanwhile
    // Whoever goes on where the last one stopped gets more and more at a time.
    const bool goes_on = next_.load(std::memory_order_relaxed) == index;
    const k::u64 ahead = goes_on ? std::min(ahead_.load(std::memory_order_relaxed) * 2, most_ahead) : first_ahead;
    const k::u64 wanted = std::min(std::max(ahead, first_ahead), pages_for(end) - index);
    const k::u64 times = object_->times_forgotten();
    auto said = server_->read(node_, offset, std::min(wanted << arch::page_shift, end - offset));
    if (!said) { // it has nothing to say of our memory, nor of when to ask again
        const k::error why = said.error();
        return why == k::error::nomem || why == k::error::again ? k::error::io : why;
    }
    const xio::source got = *std::move(said);
    next_.store(index + wanted, std::memory_order_relaxed);
    ahead_.store(wanted, std::memory_order_relaxed);
    xio::walker from(got);
    vm::page_ref first = next_page(got, from);
    if (!first) return k::error::nomem;
    vm::page_ref more[most_ahead];
    k::u64 n = 0;
    while (n + 1 < wanted && from.left() && (more[n] = next_page(got, from)))
        n++;
    if (n) object_->supply(index + 1, {more, n}, times);
    return first;
}

// Lets go of all pages but some. Only where there are any: who brings one in meanwhile has to do it again.
void file_node::forget_around(k::u64 first, k::u64 end) noexcept {
    vm::object& cache = *pages();
    constexpr k::u64 last = ~k::u64{0} >> arch::page_shift;
    if (cache.next_in_memory(0, first, true) < first) cache.forget(0, first);
    if (cache.next_in_memory(end, last, true) < last) cache.forget(end, last - end);
}

// Whole pages that are missing, much at a time; the others come one by one when they are looked at.
void file_node::bring_in(k::u64 offset, k::u64 bytes) noexcept {
    vm::object& cache = *pages();
    if (cache.resident_pages() == cache.pages()) return; // all is there
    const writers_hold hold(*this);
    const k::u64 size = this->size.load(std::memory_order_acquire), end_page = std::min(offset + bytes, size) >> 12;
    const k::u64 start = offset >> arch::page_shift;
    if (vm::memory_is_short()) forget_around(start, std::max(end_page, start + most_ahead));
    for (k::u64 at = start; at < end_page;) {
        const k::u64 first = cache.next_in_memory(at, end_page, false);
        const k::u64 most = std::min(end_page, first + (most_moved >> arch::page_shift));
        at = cache.next_in_memory(first, most, true);
        const k::u64 wanted = (at - first) << arch::page_shift;
        if (wanted < least_given) continue;
        auto got = server_->read(number_there, first << arch::page_shift, wanted);
        if (!got || got->size() != wanted || cache.bring(first << arch::page_shift, *got) != wanted) break;
    }
}

// All of a question but its bytes is there.
k::status file_node::store_piece(question& q) noexcept {
    const k::u64 offset = q.head.offset, bytes = q.head.bytes;
    auto lent = pages()->lend(offset, bytes);
    // The rest of what is being filled comes later.
    if (!lent && q.was_stored && !pages()->soil(offset >> arch::page_shift, pages_for(bytes))) return k::error::nomem;
    if (!lent && lent.error() == k::error::again) { // somebody fills one of the pages: a copy of what is there now
        xio::sink copy = TRY(xio::sink::fresh(bytes));
        const xio::moved m = pages()->read(offset, copy);
        if (m.bytes != bytes) return m.status ? k::error::io : m.status.error();
        lent = copy.into_source();
    }
    q.bytes = TRY(std::move(lent));
    return server_->tell(q);
}

// What could not be stored is forgotten here, too.
k::status file_node::store_there(k::u64 offset, k::u64 bytes) noexcept {
    note_sectors(node_told::not_told);
    k::status stored = server_->wait_for_left(number_there, true);
    for (k::u64 done = 0; done < bytes && stored;) {
        const k::u64 part = std::min(most_moved, bytes - done);
        question q{
            .head = {.operation = operation::write, .node = number_there, .offset = offset + done, .bytes = part}};
        stored = store_piece(q);
        done += part;
    }
    const k::u64 first = offset >> arch::page_shift, count = pages_for(offset + bytes) - first;
    if (stored) {
        const k::u64 end = std::max(size.load(std::memory_order_acquire), offset + bytes);
        pager_.set_bytes(end);
        pages()->extend_paged(pages_for(end));
    }
    if (!stored || vm::memory_is_short()) pages()->forget(first, count);
    if (!stored && ~told_until_ns.load(std::memory_order_relaxed)) told_until_ns.store(0, std::memory_order_relaxed);
    return stored;
}

void file_node::written_there(k::u64 offset, k::u64 bytes, bool certain) noexcept {
    if (!bytes) return;
    note_sectors(node_told::not_told);
    const k::u64 first = offset >> arch::page_shift, end = offset + bytes;
    pages()->forget(first, pages_for(end) - first);
    touch_modified();
    const bool is_longer = end > size.load(std::memory_order_acquire);
    if (!certain || (is_longer && !became(end))) told_until_ns.store(0, std::memory_order_relaxed);
}

k::status file_node::resize_there(k::u64 bytes) noexcept {
    note_sectors(node_told::not_told);
    TRY(server_->wait_for_left(number_there, true));
    question q{.head = {.operation = operation::change, .node = number_there, .bytes = bytes, .what = change_size}};
    const k::status said = server_->tell(q);
    if (said) pager_.set_bytes(bytes);
    return said;
}

k::status file_node::allocate_there(k::u32 mode, k::u64 offset, k::u64 bytes) noexcept {
    note_sectors(node_told::not_told);
    TRY(server_->wait_for_left(number_there, true));
    TRY(write_dirty(true)); // what it takes away would come back
    TRY(server_->allocate(number_there, mode, offset, bytes));
    const k::u64 first = offset >> arch::page_shift, before = size.load(std::memory_order_acquire);
    const k::u64 end = mode & fuse::keeps_size ? before : std::max(before, offset + bytes);
    if (mode & (fuse::punches | fuse::zeroes)) pages()->forget(first, pages_for(offset + bytes) - first);
    if (~told_until_ns.load(std::memory_order_relaxed)) told_until_ns.store(0, std::memory_order_relaxed);
    return reach(end);
}

k::status file_node::reach(k::u64 end) noexcept {
    const k::u64 before = size.load(std::memory_order_acquire);
    if (end <= before) return {};
    grow(before, end);
    // What is behind the old end is zeroes there; here a mapping may have stored something into that page.
    return grown(before, end, has_dirty_tail(before) ? zero_behind_end(*this, end) : k::status());
}

// Whoever brings in the page with the old end, or one behind it, from now on gets what is there.
void file_node::grow(k::u64 before, k::u64 end) noexcept {
    pager_.set_bytes(end);
    pages()->grow_paged(pages_for(end));
    pages()->forget(before >> arch::page_shift, 1);
}

// It is as long as that, or else as before.
k::status file_node::grown(k::u64 before, k::u64 end, k::status good) noexcept {
    if (good) {
        size.store(end, std::memory_order_release);
        return good;
    }
    pager_.set_bytes(before);
    (void)pages()->resize(pages_for(before));
    return good;
}

bool file_node::has_dirty_tail(k::u64 end) noexcept {
    const k::u64 last = end >> arch::page_shift;
    return end % arch::page_size && pages()->next_in_memory(last, last + 1, true) == last &&
           pages()->next_dirty(last, last + 1, true) == last;
}

k::status file_node::fill_tail(k::u64 bytes) noexcept {
    const k::u64 before = size.load(std::memory_order_acquire), start = k::align_down(before, k::u64{arch::page_size});
    const k::u64 wanted = std::min(bytes - start, k::u64{arch::page_size});
    const xio::source got = TRY(server_->read(number_there, start, wanted));
    TRY(zero_behind_end(*this, bytes));
    const k::u64 there = std::min(got.size(), wanted);
    if (start + there <= before) return {};
    return pages()->write(before, TRY(got.slice(before - start, start + there - before))).status;
}

k::status file_node::became(k::u64 bytes) noexcept {
    const k::u64 before = size.load(std::memory_order_acquire);
    if (bytes == before) return {};
    if (bytes > before) {
        grow(before, bytes);
        TRY(grown(before, bytes, has_dirty_tail(before) ? fill_tail(bytes) : k::status()));
    } else {
        size.store(bytes, std::memory_order_release); // before the pages go
        TRY(pages()->resize(pages_for(bytes)));
        pager_.set_bytes(bytes);
    }
    forget_pages();
    return {};
}

void file_node::bytes_are_old(k::u64 first, k::u64 count) noexcept {
    if (const writers_attempt hold(*this); hold) return pages()->forget(first, count);
    cache_is_old.store(true);
    forget_old(); // he may just have gone
}

// Whoever has the lock looks when he has let go of it.
void file_node::forget_old() noexcept {
    while (cache_is_old.load()) {
        const lwkt::sleep_attempt hold(writers);
        if (!hold) return;
        if (cache_is_old.exchange(false)) forget_pages();
    }
}

void file_node::forget_pages() noexcept {
    pages()->forget(0, ~k::u64{0} >> arch::page_shift);
}

} // namespace vfs::userfs
