#include "sys/vm/snapshot.h"

#include "kernel/mem/slab.h"

namespace vm {

k::result<xio::source> snapshot::take(const page_tree& of, k::u64 first, k::u64 count, k::u64 offset, k::u64 bytes,
                                      xio::payer& paid_by) noexcept {
    // They lie as in the tree they come from, so that whole leaves can be shared.
    auto made = mem::make_box<snapshot>(first % page_tree::fanout);
    if (!made) return k::error::nomem;
    TRY(made->tree_.graft(made->first_, count, of, first));
    auto lent =
        xio::source::over_snapshot(*made, offset, bytes, {.paid_by = paid_by, .promise = xio::stability::stable});
    if (lent) made.release(); // the source's from here on
    return lent;
}

snapshot::view snapshot::of(const xio::source& from, k::u64 offset) noexcept {
    auto* all = static_cast<const snapshot*>(from.snapshot()); // there are no others
    if (!all) return {};
    return {&all->tree_, all->first_ + ((from.start().offset + offset) >> arch::page_shift)};
}

void snapshot::last_slice_gone() noexcept {
    mem::destroy(this);
}

} // namespace vm
