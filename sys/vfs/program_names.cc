#include "sys/vfs/program_names.h"

#include "sys/vfs/vop.h"

namespace vfs {

namespace {

// The first name with a node in a directory; empty: there is none.
k::result<name_ref> first_name(directory& in) noexcept {
    vop_list::entry one[1];
    vop_list first(in, 0, one);
    TRY(in.fs.call(first));
    return first.count ? std::move(one[0].what) : name_ref();
}

// One without names below it goes out of the one that it is in. ENOTEMPTY: there are some by now.
k::status lose_empty(directory& which) noexcept {
    name_ref own;
    {
        lwkt::critical section;
        if (name* n = which.own_name()) own = name_ref::to_living(*n);
    }
    if (!own || which.is_dead()) return {};
    vnode_ref in = vnode_ref::to(own->in());
    const name_text text(own->text());
    vop_remove gone(in->as_directory(), text, which, true, TRY(name::create(in->as_directory(), text, {})));
    const k::status done = which.fs.call(gone);
    // By another directory of that name, or by none: this one has lost its place already.
    if (!done && done.error() == k::error::noent) return {};
    return done;
}

// One that the caller holds.
k::status forget_name(directory& in, const name& which) noexcept {
    const name_text text(which.text());
    vop_forget gone(in, text, &which);
    return in.fs.call(gone);
}

} // namespace

k::result<bool> has_names(directory& in) noexcept {
    const name_ref first = TRY(first_name(in));
    return bool(first);
}

k::status lose_name(directory& in, const name& which) noexcept {
    vnode* const node = which.node();
    if (node && node->is(node_type::directory)) return lose_directory(node->as_directory());
    return forget_name(in, which);
}

// Without recursion: what is deepest goes first, and then it is looked from the top again, for others may have moved it
// meanwhile. Who puts as much there as goes does not hold us up for ever.
k::status lose_directory(directory& which) noexcept {
    vnode_ref at = vnode_ref::to(which);
    for (unsigned steps = 1u << 18; steps; steps--) {
        directory& here = at->as_directory();
        if (const name_ref n = TRY(first_name(here))) {
            if (n->node()->is(node_type::directory))
                at = vnode_ref::to(*n->node());
            else
                TRY(forget_name(here, *n));
            continue;
        }
        const k::status lost = lose_empty(here);
        if (!lost && lost.error() != k::error::notempty) return lost;
        if (lost && &here == &which) return {};
        if (lost) at = vnode_ref::to(which);
    }
    return k::error::busy;
}

k::result<found> ask_program(mount& in, directory& at, const name_text& wanted) noexcept {
    name_ref before;
    {
        lwkt::critical section;
        if (name* n = at.find(wanted)) before = name_ref::to_living(*n);
    }
    file_system::belief how;
    auto node = in.fs().look_up_there(at, wanted.text, before ? before->node() : nullptr, how);
    if (!node && node.error() != k::error::noent) return node.error();
    if (before && before->node() == (node ? node->get() : nullptr)) {
        in.fs().believe(before->valid_until, how);
        if (!node) return k::error::noent;
        return found{mount_use(in), *std::move(node), std::move(before)};
    }
    if (before) {
        const k::status lost = lose_name(at, *before);
        // What something is mounted on stays, so that it can be unmounted.
        if (!lost && lost.error() == k::error::busy)
            return found{mount_use(in), vnode_ref::to(*before->node()), std::move(before)};
        TRY(lost);
    }
    found out{mount_use(in), node ? node->share() : vnode_ref(), name_ref()};
    if (node || how.until > ktime::now()) {
        vop_remember keep(at, TRY(name::create(at, wanted, out.node.share())));
        keep.fresh->valid_until.store(0, std::memory_order_relaxed);
        if (in.fs().call(keep)) {
            in.fs().believe(keep.fresh->valid_until, how);
            out.called = std::move(keep.fresh);
        }
    }
    if (!out.node) return k::error::noent;
    return out;
}

} // namespace vfs
