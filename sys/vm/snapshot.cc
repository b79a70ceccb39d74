#include "sys/vm/snapshot.h"

#include "kernel/mem/slab.h"

namespace vm {

namespace {

// A source over what was made, which is that source's from here on.
xio::source source_over(snapshot& made, k::u64 offset, k::u64 bytes, xio::payer& paid_by) {
    return xio::source::over_snapshot(made, offset, bytes, {.paid_by = paid_by, .promise = xio::stability::stable});
}

} // namespace

k::result<xio::source> snapshot::take(const page_tree& of, k::u64 first, k::u64 count, bool whole, k::u64 offset,
                                      k::u64 bytes, xio::payer& paid_by) noexcept {
    // They lie as in the tree they come from, so that whole leaves can be shared.
    auto made = mem::make_box<snapshot>(first % page_tree::fanout, count, whole);
    if (!made) return k::error::nomem;
    TRY(made->tree_.graft(made->first_, count, of, first));
    return source_over(*made.release(), offset, bytes, paid_by);
}

k::result<xio::source> snapshot::take_few(const page_tree& of, k::u64 first, k::u64 count, k::u64 offset, k::u64 bytes,
                                          xio::payer& paid_by, page_tree::leaf_part& about) noexcept {
    page_tree pages = TRY(page_tree::part_of(of, first, count, about));
    if (about.filled || about.found != count) return k::error::again;
    auto* made = mem::make<snapshot>(first % page_tree::fanout, count, true);
    if (!made) return k::error::nomem;
    made->tree_ = std::move(pages);
    return source_over(*made, offset, bytes, paid_by);
}

snapshot::view snapshot::of(const xio::source& from, k::u64 offset, bool with_holes) noexcept {
    auto* all = static_cast<const snapshot*>(from.snapshot()); // there are no others
    if (!all || !(all->whole_ || with_holes)) return {};
    const k::u64 start = from.start().offset + offset;
    const k::u64 end = k::align_up<k::u64>(start + from.size() - offset, arch::page_size);
    return {&all->tree_, all->first_ + (start >> arch::page_shift),
            start == 0 && end >> arch::page_shift == all->count_, all->whole_};
}

void snapshot::last_slice_gone() noexcept {
    mem::destroy(this);
}

} // namespace vm
