#include "kernel/proc/places.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/process.h"
#include "kernel/proc/tree.h"

namespace proc {

k::result<k::ref<places>> places::create(vfs::place root, vfs::place directory) noexcept {
    auto* made = mem::make<places>(std::move(root), std::move(directory));
    if (!made) return k::error::nomem;
    return k::ref<places>(made);
}

void places::last_holder_left() noexcept {
    mem::destroy(this);
}

k::result<k::ref<held_program>> held_program::create(vfs::found file, opened_ref opened) noexcept {
    vfs::claim running = TRY(vfs::claim::take(*file.node, vfs::claim_kind::running));
    auto* made = mem::make<held_program>(std::move(file), std::move(running), std::move(opened));
    if (!made) return k::error::nomem;
    return k::ref<held_program>(made);
}

void held_program::last_holder_left() noexcept {
    mem::destroy(this);
}

namespace {

struct move {
    const vfs::place& before;
    const vfs::place& after;
    k::status all;

    const vfs::place& of(const vfs::place& p) const noexcept {
        return p.in.get() == before.in.get() && p.at == before.at ? after : p;
    }
    void apply(process& p) noexcept {
        const k::ref<places> now = p.where();
        if (!now || (&of(now->root) != &after && &of(now->directory) != &after)) return;
        auto moved = places::create(of(now->root).share(), of(now->directory).share());
        if (moved)
            p.set_where(*std::move(moved));
        else
            all = moved.error();
    }
};

} // namespace

k::status move_places(const vfs::place& before, const vfs::place& after) noexcept {
    move what{before, after, {}};
    lwkt::token_hold hold(tree);
    for_each_process([](process& p, void* argument) { static_cast<move*>(argument)->apply(p); }, &what);
    return what.all;
}

} // namespace proc
