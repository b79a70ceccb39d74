#include "sys/xio/view.h"

namespace xio {

namespace {

struct mapping {
    std::byte* address;
    platform::window window;
};

// Do all runs but the ends fill whole pages?
bool can_be_contiguous(const slice_base& slice) {
    for (walker w(slice); w.left();) {
        const bool first = w.left() == slice.size();
        const k::u64 run = w.run();
        if (!first && w.physical() % platform::page_size) return false;
        if (run != w.left() && (w.physical() + run) % platform::page_size) return false;
        w.advance(run);
    }
    return true;
}

k::result<mapping> map_slice(const slice_base& slice, platform::access may) {
    walker w(slice);
    if (!w.left()) return mapping{};
    if (w.run() == w.left()) return mapping{w.address(), {}};
    if (!can_be_contiguous(slice)) return k::error::opnotsupp;
    const k::u64 lead = w.physical() % platform::page_size;
    auto window = TRY(platform::window::create((lead + slice.size() + platform::page_size - 1) / platform::page_size));
    for (std::size_t index = 0; w.left();) {
        k::u64 run = w.run();
        const platform::physical_address end = w.physical() + run;
        for (auto at = w.physical() / platform::page_size * platform::page_size; at < end; at += platform::page_size)
            window.show(index++, at, may);
        w.advance(run);
    }
    note(happening::mapped);
    auto* address = static_cast<std::byte*>(window.data()) + lead;
    return mapping{address, std::move(window)};
}

} // namespace

k::result<source_view> source_view::map(const source& from) noexcept {
    mapping m = TRY(map_slice(from, platform::access::read));
    return source_view(m.address, from.size(), std::move(m.window));
}

k::result<sink_view> sink_view::map(sink& to) noexcept {
    mapping m = TRY(map_slice(to, platform::access::read_write));
    return sink_view(m.address, to.size(), std::move(m.window));
}

} // namespace xio
