// Bytes that a program puts into the cache by itself, and has back from there. It is in the midst of telling, so nobody
// is waited for: a file that somebody writes to, or brings in, is left alone, and what was told of is asked for again
// when he is done. What is stored is what the program would answer if it were asked, so that forgetting does as well:
// whole pages are kept, and those of which it brings a part are forgotten. What users stored into mappings stays.
#include "sys/userfs/instance.h"
#include "sys/vfs/data.h"

namespace vfs {

namespace userfs {

namespace {

constexpr k::u64 page = arch::page_size, most_at_once = 64 * page;

// What comes to stand behind a file's end in the end's own page, as a copy; empty: nothing does.
k::result<xio::source> behind_end(const xio::source& bytes, k::u64 offset, k::u64 end) noexcept {
    const k::u64 first = std::max(offset, end), last = std::min(offset + bytes.size(), k::align_up(end, page));
    if (end % page == 0 || first >= last) return xio::source();
    xio::sink copy = TRY(xio::sink::fresh(last - first));
    const xio::moved m = xio::copy_some(TRY(bytes.slice(first - offset, last - first)), copy, xio::reason::page_in);
    if (m.bytes != last - first) return m.status ? k::error::io : m.status.error();
    return copy.into_source();
}

} // namespace

// The program's memory is looked at before the lock is taken: it may be a mapping of the file itself.
k::status file_node::put_piece(k::u64 offset, const xio::source& bytes) noexcept {
    const k::u64 first = offset >> arch::page_shift, end = offset + bytes.size();
    const k::u64 count = (k::align_up(end, page) >> arch::page_shift) - first;
    xio::source fresh;
    if (offset % page == 0 && !vm::memory_is_short()) {
        auto copy = fuse::in_fresh_pages(bytes);
        if (!copy && copy.error() != k::error::nomem) return copy.error();
        if (copy) fresh = *std::move(copy);
    }
    {
        const writers_attempt hold(*this);
        const bool is_whole = bytes.size() % page == 0 || end >= size.load(std::memory_order_acquire);
        const bool is_kept = hold && is_whole && !fresh.empty() && pages()->renew(offset, fresh) == fresh.size();
        if (hold && !is_kept) pages()->forget(first, count);
        if (hold) return {};
    }
    bytes_are_old(first, count);
    return {};
}

k::status file_node::put(k::u64 offset, const xio::source& bytes) noexcept {
    const k::u64 end = offset + bytes.size();
    for (bool is_done = false; !is_done;) {
        const k::u64 before = size.load(std::memory_order_acquire);
        const xio::source tail = TRY(behind_end(bytes, offset, before));
        const writers_attempt hold(*this);
        if (!hold && end > before) told_until_ns.store(0, std::memory_order_relaxed);
        is_done = !hold || size.load(std::memory_order_acquire) == before;
        if (!hold || !is_done) continue;
        TRY(reach(end));
        if (!tail.empty() && has_dirty_tail(before)) TRY(pages()->write(std::max(offset, before), tail).status);
    }
    for (k::u64 at = offset; at < end;) {
        const k::u64 left = end - at;
        k::u64 part = left < page ? left : std::min(k::align_down(left, page), most_at_once);
        if (at % page) part = std::min(left, page - at % page);
        TRY(put_piece(at, TRY(bytes.slice(at - offset, part))));
        at += part;
    }
    return {};
}

// Who takes pages away holds the writers' lock: what is there stays, and nothing has to be brought in to be lent.
k::result<xio::source> file_node::cached(k::u64 offset, k::u64 bytes) noexcept {
    const writers_attempt hold(*this);
    const k::u64 end = size.load(std::memory_order_acquire);
    if (!hold || offset >= end || !bytes) return xio::source();
    const k::u64 last = std::min(offset + bytes, end);
    const k::u64 gap =
        pages()->next_in_memory(offset >> arch::page_shift, k::align_up(last, page) >> arch::page_shift, false);
    const k::u64 stop = std::min(last, gap << arch::page_shift);
    auto lent = stop > offset ? pages()->lend(offset, stop - offset) : k::result<xio::source>(xio::source());
    if (!lent && lent.error() == k::error::again) return xio::source(); // somebody fills one of them
    return lent;
}

} // namespace userfs

k::status userfs_instance::store(k::u64 number, k::u64 offset, const xio::source& bytes) noexcept {
    const vnode_ref node = nodes_.find(number);
    if (!node) return k::error::noent;
    if (!node->pages()) return k::error::inval;
    if (offset > most_file_bytes || bytes.size() > most_file_bytes - offset) return k::error::fbig;
    nodes_.trim();
    return static_cast<userfs::file_node&>(*node).put(offset, bytes);
}

k::result<xio::source> userfs_instance::retrieve(k::u64 number, k::u64 offset, k::u64 bytes) noexcept {
    const vnode_ref node = nodes_.find(number);
    if (!node) return k::error::noent;
    if (!node->pages()) return k::error::inval;
    return static_cast<userfs::file_node&>(*node).cached(offset, bytes);
}

} // namespace vfs
