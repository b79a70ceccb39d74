#include "sys/vfs/data.h"

#include "sys/vfs/file_system.h"
#include "sys/vm/space.h"

#include <algorithm>

namespace vfs {

namespace {

constexpr k::u64 pages_for(k::u64 bytes) {
    return k::align_up(bytes, k::u64{arch::page_size}) >> arch::page_shift;
}

k::u64 size_of(const vnode& n) {
    return n.size.load(std::memory_order_acquire);
}

// Zeroes [from, to), which lie in one page, unless the page is not there and reads as zeroes anyhow.
k::status zero_in_page(vnode& n, k::u64 from, k::u64 to) noexcept {
    if (from == to) return {};
    if (!n.fs.is_on_disk() && n.pages()->next_resident(from >> arch::page_shift, true) != from >> arch::page_shift)
        return {};
    auto nothing = TRY(xio::source::over_run(vm::zero_page(), 0, to - from));
    return n.pages()->write(from, nothing).status;
}

} // namespace

k::status zero_behind_end(vnode& n, k::u64 new_end) noexcept {
    const k::u64 end = size_of(n);
    if (end % arch::page_size == 0 || new_end <= end) return {};
    return zero_in_page(n, end, std::min(new_end, k::align_up(end, k::u64{arch::page_size})));
}

namespace {

k::status resize_locked(vnode& n, k::u64 bytes) noexcept {
    if (bytes > most_file_bytes) return k::error::fbig;
    TRY(n.resize_there(bytes));
    TRY(zero_behind_end(n, bytes));
    if (bytes < size_of(n)) n.size.store(bytes, std::memory_order_release); // before the pages go
    TRY(n.pages()->resize(pages_for(bytes)));
    n.size.store(bytes, std::memory_order_release);
    return n.fs.resized(n, bytes);
}

// Bytes were written behind the old end or in front of it: they are seen, and kept wherever the file is, or it is as it
// was.
k::status written(vnode& to, k::u64 before, k::u64 at, k::u64 bytes) noexcept {
    to.size.store(std::max(before, at + bytes), std::memory_order_release);
    const k::status stored = to.store_there(at, bytes);
    if (stored) {
        to.touch_modified();
        return stored;
    }
    to.size.store(before, std::memory_order_release);
    (void)to.pages()->resize(pages_for(before));
    return stored;
}

constexpr bool is_page_aligned(k::u64 offset, xio::user_address at) {
    return (offset | at) % arch::page_size == 0;
}

// Whole pages to user memory, from the start, as far as they can change hands.
k::u64 give_pages(vnode& from, k::u64 offset, const xio::sink& to, k::u64 bytes) noexcept {
    k::u64 done = 0;
    while (bytes - done >= least_given) {
        const xio::user_range r = to.cursor(done).range(bytes - done);
        if (r.bytes < least_given || !is_page_aligned(offset + done, r.base)) break;
        const k::u64 pages = from.pages()->give_to(static_cast<vm::space&>(to.memory()), r.base,
                                                   (offset + done) >> arch::page_shift, r.bytes >> arch::page_shift);
        if (!pages) break;
        done += pages << arch::page_shift;
    }
    return done;
}

[[gnu::noinline]] k::result<k::u64> read_much(vnode& from, k::u64 offset, xio::sink& to, k::u64 bytes) noexcept {
    from.bring_in(offset, bytes);
    if (from.fs.is_on_disk()) from.fs.will_read(from, offset, bytes);
    const bool to_user = to.binding() == xio::binding::range;
    const k::u64 given = bytes >= least_given && to_user ? give_pages(from, offset, to, bytes) : 0;
    if (!given) return from.pages()->read(offset, to, bytes).as_result();
    if (given == bytes) return given;
    xio::sink rest = TRY(to.slice(given, bytes - given));
    return given + from.pages()->read(offset + given, rest).bytes;
}

// What is brought in of a file in a program, and not forgotten while it is read, even if memory is short.
constexpr k::u64 most_brought_in = 4 << 20;

[[gnu::noinline]] k::result<k::u64> read_in_pieces(vnode& from, k::u64 offset, xio::sink& to, k::u64 bytes) noexcept {
    k::u64 done = 0;
    while (done < bytes) {
        const k::u64 part = std::min(most_brought_in, bytes - done);
        auto piece = to.slice(done, part);
        auto got = piece ? read_much(from, offset + done, *piece, part) : k::result<k::u64>(piece.error());
        if (!got && !done) return got.error();
        if (!got || !*got) break;
        done += *got;
    }
    return done;
}

// Whole pages of a source, which user memory shows or somebody holds, into a file. How many bytes were taken.
k::u64 take_pages(vm::object& into, k::u64 offset, const xio::source& from) noexcept {
    if (offset % arch::page_size) return 0;
    if (from.binding() == xio::binding::pages)
        return into.adopt(offset, *from.slice(0, k::align_down(from.size(), k::u64{arch::page_size})));
    k::u64 done = 0;
    while (from.size() - done >= least_taken) {
        const xio::user_range r = from.cursor(done).range(from.size() - done);
        if (r.bytes < least_taken || r.base % arch::page_size) break;
        const k::u64 pages = into.take_from(static_cast<vm::space&>(from.memory()), r.base,
                                            (offset + done) >> arch::page_shift, r.bytes >> arch::page_shift);
        if (!pages) break;
        done += pages << arch::page_shift;
    }
    return done;
}

xio::moved write_from(vm::object& into, k::u64 offset, const xio::source& from) noexcept {
    const k::u64 taken = from.size() < least_taken ? 0 : take_pages(into, offset, from);
    if (!taken) return into.write(offset, from);
    if (taken == from.size()) return {taken, {}};
    const xio::moved m = into.write(offset + taken, *from.slice(taken, from.size() - taken));
    return {taken + m.bytes, m.status};
}

} // namespace

k::result<k::u64> read(vnode& from, k::u64 offset, xio::sink& to) noexcept {
    const k::u64 end = size_of(from);
    if (offset >= end || to.empty()) return 0;
    from.touch_accessed();
    const k::u64 bytes = std::min(to.size(), end - offset);
    if (from.pages()->read_at_hand(offset, bytes, to)) [[likely]]
        return bytes;
    if (from.fs.is_in_program() && bytes > most_brought_in) return read_in_pieces(from, offset, to, bytes);
    return read_much(from, offset, to, bytes);
}

k::result<xio::source> lend(vnode& from, k::u64 offset, k::u64 bytes) noexcept {
    const k::u64 end = size_of(from);
    if (offset >= end || !bytes) return xio::source();
    from.touch_accessed();
    if (from.fs.is_in_program()) from.bring_in(offset, std::min({bytes, end - offset, most_brought_in}));
    return from.pages()->lend(offset, std::min(bytes, end - offset));
}

k::result<k::u64> copy_range(vnode& from, k::u64 from_offset, vnode& to, k::u64 offset, k::u64 bytes,
                             k::u64 limit) noexcept {
    constexpr k::u64 page = arch::page_size;
    const writers_hold hold(to);
    const k::u64 from_end = size_of(from), before = size_of(to);
    if (&from == &to || from_offset >= from_end || (from_offset | offset) % page || limit <= offset)
        return k::error::again;
    bytes = std::min({bytes, from_end - from_offset, std::min(limit, most_file_bytes) - offset});
    // The last page may be shared if nothing of it is the other file's own: what is behind the end is not seen.
    const bool to_the_end = offset + bytes >= before;
    const k::u64 whole = to_the_end && from_offset + bytes == from_end ? bytes : k::align_down(bytes, page);
    if (!whole) return k::error::again;
    TRY(zero_behind_end(to, offset));
    vm::object& pages = *to.pages();
    if (pages_for(offset + whole) > pages.pages()) TRY(pages.resize(pages_for(offset + whole)));
    const k::status shared =
        pages.share_pages(offset >> arch::page_shift, *from.pages(), from_offset >> arch::page_shift, pages_for(whole));
    if (shared) {
        TRY(written(to, before, offset, whole));
        from.touch_accessed();
        return whole;
    }
    if (pages.pages() > pages_for(before)) (void)pages.resize(pages_for(before));
    return shared.error();
}

namespace {

// The writers' lock is held, and `at` is where to.
[[gnu::noinline]] k::result<k::u64> write_much(vnode& to, const write_request& what, const xio::source& from,
                                               k::u64 at) noexcept {
    const k::u64 before = size_of(to);
    if (from.empty()) return 0;
    const k::u64 limit = std::min(what.limit, most_file_bytes);
    if (at >= limit) return k::error::fbig;
    const k::u64 bytes = std::min(from.size(), limit - at);
    TRY(zero_behind_end(to, at));
    vm::object& pages = *to.pages();
    if (pages_for(at + bytes) > pages.pages()) TRY(pages.resize(pages_for(at + bytes)));
    xio::moved m;
    if (bytes == from.size()) {
        m = write_from(pages, at, from);
    } else {
        const xio::source part = TRY(from.slice(0, bytes));
        m = write_from(pages, at, part);
    }
    if (m.bytes) TRY(written(to, before, at, m.bytes));
    const k::u64 after = size_of(to);
    if (pages.pages() > pages_for(after)) (void)pages.resize(pages_for(after));
    return m.as_result();
}

} // namespace

k::result<k::u64> write(vnode& to, const write_request& what, const xio::source& from, k::u64& at) noexcept {
    const writers_hold hold(to);
    const k::u64 before = size_of(to), bytes = from.size();
    at = what.append ? before : what.offset;
    // Bytes that the file has already, as small writes often are.
    if (bytes && bytes <= before && at <= before - bytes && at + bytes <= what.limit &&
        to.pages()->write_at_hand(at, bytes, from)) {
        TRY(to.store_there(at, bytes));
        to.touch_modified();
        return bytes;
    }
    return write_much(to, what, from, at);
}

k::status resize(vnode& of, k::u64 bytes) noexcept {
    const writers_hold hold(of);
    if (bytes == size_of(of)) return {};
    TRY(resize_locked(of, bytes));
    of.touch_modified();
    return {};
}

k::status reserve(vnode& of, k::u64 offset, k::u64 bytes, bool grow) noexcept {
    k::u64 end;
    if (__builtin_add_overflow(offset, bytes, &end) || end > most_file_bytes) return k::error::fbig;
    const writers_hold hold(of);
    const k::u64 before = size_of(of);
    const k::u64 first = offset >> arch::page_shift;
    if (pages_for(end) > of.pages()->pages()) TRY(of.pages()->resize(pages_for(end)));
    k::status filled = of.fs.reserve(of, first, pages_for(end) - first);
    if (!filled && filled.error() == k::error::opnotsupp) filled = of.pages()->fill(first, pages_for(end) - first);
    if (filled && grow && end > before) {
        TRY(zero_behind_end(of, end));
        of.size.store(end, std::memory_order_release);
        of.touch_modified();
        return {};
    }
    // Room behind the end is kept only as far as the size says; a later write takes it again.
    if (pages_for(before) < of.pages()->pages()) (void)of.pages()->resize(pages_for(before));
    return filled;
}

k::status punch(vnode& of, k::u64 offset, k::u64 bytes) noexcept {
    const writers_hold hold(of);
    const k::u64 size = size_of(of);
    if (offset >= size) return {};
    const k::u64 end = bytes < size - offset ? offset + bytes : size;
    const k::u64 first_whole = k::align_up(offset, k::u64{arch::page_size});
    const k::u64 last_whole =
        end == size ? k::align_up(end, k::u64{arch::page_size}) : k::align_down(end, k::u64{arch::page_size});
    if (first_whole >= last_whole) {
        const k::u64 middle = std::min(first_whole, end);
        TRY(zero_in_page(of, offset, middle));
        TRY(zero_in_page(of, middle, end));
    } else {
        TRY(zero_in_page(of, offset, first_whole));
        if (last_whole < end) TRY(zero_in_page(of, last_whole, end));
        const k::u64 first = first_whole >> arch::page_shift, pages = (last_whole - first_whole) >> arch::page_shift;
        TRY(of.pages()->punch(first, pages));
        TRY(of.fs.punched(of, first, pages));
    }
    of.touch_modified();
    return {};
}

k::status allocate_there(vnode& of, k::u32 mode, k::u64 offset, k::u64 bytes) noexcept {
    k::u64 end;
    if (__builtin_add_overflow(offset, bytes, &end) || end > most_file_bytes) return k::error::fbig;
    const writers_hold hold(of);
    TRY(of.allocate_there(mode, offset, bytes));
    of.touch_modified();
    return {};
}

k::result<k::u64> next_data(vnode& of, k::u64 from) noexcept {
    const k::u64 end = size_of(of);
    if (from >= end) return k::error::nxio;
    if (of.fs.is_in_program())
        if (auto said = of.fs.find_there(of, from, true); said || said.error() != k::error::opnotsupp) return said;
    const k::u64 page = TRY(of.fs.next_kept(of, from >> arch::page_shift, true));
    if (page > end >> arch::page_shift || page << arch::page_shift >= end) return k::error::nxio;
    return std::max(page << arch::page_shift, from);
}

k::result<k::u64> next_hole(vnode& of, k::u64 from) noexcept {
    const k::u64 end = size_of(of);
    if (from >= end) return k::error::nxio;
    if (of.fs.is_in_program())
        if (auto said = of.fs.find_there(of, from, false); said || said.error() != k::error::opnotsupp) return said;
    const k::u64 page = TRY(of.fs.next_kept(of, from >> arch::page_shift, false));
    return std::clamp(std::min(page, end) << arch::page_shift, from, end);
}

} // namespace vfs
