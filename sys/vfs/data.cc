#include "sys/vfs/data.h"

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
    if (from == to || n.pages()->next_resident(from >> arch::page_shift, true) != from >> arch::page_shift) return {};
    auto nothing = TRY(xio::source::over_run(vm::zero_page(), 0, to - from));
    return n.pages()->write(from, nothing).status;
}

// What a mapping or a longer life left behind the end, in the last page: bytes up to `new_end` will be seen.
k::status zero_behind_end(vnode& n, k::u64 new_end) noexcept {
    const k::u64 end = size_of(n);
    if (end % arch::page_size == 0 || new_end <= end) return {};
    return zero_in_page(n, end, std::min(new_end, k::align_up(end, k::u64{arch::page_size})));
}

k::status resize_locked(vnode& n, k::u64 bytes) noexcept {
    if (bytes > most_file_bytes) return k::error::fbig;
    TRY(zero_behind_end(n, bytes));
    if (bytes < size_of(n)) n.size.store(bytes, std::memory_order_release); // before the pages go
    TRY(n.pages()->resize(pages_for(bytes)));
    n.size.store(bytes, std::memory_order_release);
    return {};
}

} // namespace

k::result<k::u64> read(vnode& from, k::u64 offset, xio::sink& to) noexcept {
    const k::u64 end = size_of(from);
    if (offset >= end || to.empty()) return 0;
    from.touch_accessed();
    if (to.size() <= end - offset) return from.pages()->read(offset, to).as_result();
    xio::sink part = TRY(to.slice(0, end - offset));
    return from.pages()->read(offset, part).as_result();
}

k::result<k::u64> write(vnode& to, const write_request& what, const xio::source& from, k::u64& at) noexcept {
    lwkt::sleep_hold hold(to.writers);
    const k::u64 before = size_of(to);
    at = what.append ? before : what.offset;
    if (from.empty()) return 0;
    const k::u64 limit = std::min(what.limit, most_file_bytes);
    if (at >= limit) return k::error::fbig;
    const k::u64 bytes = std::min(from.size(), limit - at);
    TRY(zero_behind_end(to, at));
    vm::object& pages = *to.pages();
    if (pages_for(at + bytes) > pages.pages()) TRY(pages.resize(pages_for(at + bytes)));
    xio::moved m;
    if (bytes == from.size()) {
        m = pages.write(at, from);
    } else {
        const xio::source part = TRY(from.slice(0, bytes));
        m = pages.write(at, part);
    }
    const k::u64 after = m.bytes ? std::max(before, at + m.bytes) : before;
    if (m.bytes) to.touch_modified();
    to.size.store(after, std::memory_order_release);
    if (pages.pages() > pages_for(after)) (void)pages.resize(pages_for(after));
    return m.as_result();
}

k::status resize(vnode& of, k::u64 bytes) noexcept {
    lwkt::sleep_hold hold(of.writers);
    if (bytes == size_of(of)) return {};
    TRY(resize_locked(of, bytes));
    of.touch_modified();
    return {};
}

k::status reserve(vnode& of, k::u64 offset, k::u64 bytes, bool grow) noexcept {
    k::u64 end;
    if (__builtin_add_overflow(offset, bytes, &end) || end > most_file_bytes) return k::error::fbig;
    lwkt::sleep_hold hold(of.writers);
    const k::u64 before = size_of(of);
    const k::u64 first = offset >> arch::page_shift;
    if (pages_for(end) > of.pages()->pages()) TRY(of.pages()->resize(pages_for(end)));
    const k::status filled = of.pages()->fill(first, pages_for(end) - first);
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
    lwkt::sleep_hold hold(of.writers);
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
        TRY(of.pages()->punch(first_whole >> arch::page_shift, (last_whole - first_whole) >> arch::page_shift));
    }
    of.touch_modified();
    return {};
}

k::result<k::u64> next_data(vnode& of, k::u64 from) noexcept {
    const k::u64 end = size_of(of);
    if (from >= end) return k::error::nxio;
    const k::u64 at = of.pages()->next_resident(from >> arch::page_shift, true) << arch::page_shift;
    if (at >= end) return k::error::nxio;
    return std::max(at, from);
}

k::result<k::u64> next_hole(vnode& of, k::u64 from) noexcept {
    const k::u64 end = size_of(of);
    if (from >= end) return k::error::nxio;
    const k::u64 at = of.pages()->next_resident(from >> arch::page_shift, false) << arch::page_shift;
    return std::clamp(at, from, end);
}

} // namespace vfs
