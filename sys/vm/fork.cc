// Forking a space: trees are shared, writing is taken away at the top of the page table, and nothing depends on how
// much memory was touched. The child begins with an empty page table and finds its pages by faults.
//
// A page that is being filled (sink pins) is copied for the child at once: whoever fills it and the owner go on
// sharing the page itself.
#include "kernel/mem/slab.h"
#include "sys/vm/space.h"

namespace vm {

k::result<k::ref<space>> space::fork() noexcept {
    k::ref<space> child = TRY(create());
    lwkt::token_hold hold(token_);
    lwkt::token_hold child_hold(child->token_); // nobody else knows it: this never waits
    child->mmap_top_ = child->full_from_ = mmap_top_;
    child->limit_bytes_ = limit_bytes_;
    child->data_limit_pages_ = data_limit_pages_;
    child->heap_base_ = heap_base_;
    child->heap_end_ = heap_end_;
    // Before any page gets a second holder.
    flush_cpus(pmap_.write_protect_all(), 0, 0);
    k::status all;
    for (entry& e : entries_)
        if (all = copy_entry(e, *child); !all) break;
    for (entry& e : entries_)
        if (e.what) e.what->twin_ = nullptr;
    if (!all) return all.error();
    return child;
}

k::status space::copy_entry(entry& e, space& child) noexcept NO_THREAD_SAFETY_ANALYSIS { // fork() holds both tokens
    if (e.inherited == inheritance::none) return {};
    auto twin = mem::make_box<entry>();
    if (!twin) return k::error::nomem;
    twin->base = e.base;
    twin->end = e.end;
    twin->offset = e.offset;
    twin->under_offset = e.under_offset;
    twin->lowest = e.lowest;
    twin->under = e.under.share();
    twin->of = e.of.share();
    twin->access = e.access;
    twin->most_access = e.most_access;
    twin->how = e.how;
    twin->inherited = e.inherited;
    twin->grows_down = e.grows_down;
    if (e.is_shared())
        twin->what = e.what.share();
    else if (e.what && e.inherited != inheritance::zeroed)
        TRY(copy_private(e, *twin));
    child.add(*twin.release());
    return {};
}

k::status space::copy_private(entry& e, entry& twin) noexcept {
    object& mine = *e.what;
    if (mine.twin_) { // another entry of the same object was here before
        twin.what = k::ref<object>::to(*mine.twin_);
    } else {
        twin.what = TRY(object::anonymous(mine.pages()));
        twin.what->tree_ = TRY(mine.tree_.snapshot());
        mine.twin_ = twin.what.get();
    }
    if (!payer_->sink_pages() && !sinks_in_making_.load()) return {};
    k::status all;
    mine.tree_.for_each(e.offset, e.pages(), [&](k::u64 index, found_page found) {
        if (!found.p->holds.count(hold::sink_pin)) return true;
        page_ref fresh = copy_of_page(found.p, xio::reason::copy_on_write);
        all = fresh ? twin.what->tree_.insert(index, fresh) : k::error::nomem;
        return all.has_value();
    });
    return all;
}

} // namespace vm
