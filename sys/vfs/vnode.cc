#include "sys/vfs/vnode.h"

#include "kernel/mem/slab.h"
#include "kernel/time/realtime.h"
#include "sys/vfs/file_system.h"

namespace vfs {

k::u64 now_ns() noexcept {
    return ktime::realtime_now();
}

vnode::vnode(file_system& of, k::u64 number, const node_attributes& a) noexcept
    : fs(of), inode(number), type(a.type), device(a.device), mode(a.mode), uid(a.uid), gid(a.gid), links(1),
      home(arch::cpu::id()) {
    const k::u64 now = now_ns();
    accessed_ns.store(now, std::memory_order_relaxed);
    modified_ns.store(now, std::memory_order_relaxed);
    changed_ns.store(now, std::memory_order_relaxed);
}

// The bytes go now; the memory of the node itself may still be looked at.
void vnode::go() noexcept {
    going();
    pages_.reset();
    for (auto& slot : attached_)
        if (auto what = k::ref<attachment>(slot.exchange(nullptr, std::memory_order_acq_rel))) what->node_gone(*this);
    fs.node_gone(*this);
    lwkt::retire(*this, [](lwkt::retirable& r) { mem::destroy(&static_cast<vnode&>(r)); });
}

// The name of a removed directory may be the last to hold the one that it was in, and so on upwards: as many as one may
// have made below each other, so they go one after the other and not in each other.
void vnode::last_holder_left() noexcept {
    name_ref above = is(node_type::directory) ? as_directory().take_own_name() : name_ref();
    go();
    while (name* n = above.drop()) {
        vnode_ref in = n->go();
        vnode* parent = in.drop();
        if (!parent) return;
        above = parent->as_directory().take_own_name();
        parent->go();
    }
}

void vnode::note_access() noexcept {
    constexpr k::u64 seconds_a_day = 86'400;
    const k::u64 now = now_ns(), last = accessed_ns.load(std::memory_order_relaxed);
    if (last <= modified_ns.load(std::memory_order_relaxed) || last <= changed_ns.load(std::memory_order_relaxed) ||
        now >= last + seconds_a_day * ktime::second)
        accessed_ns.store(now, std::memory_order_relaxed);
    const k::u64 noted = std::min(now, accessed_ns.load(std::memory_order_relaxed));
    const k::u64 seconds_left = seconds_a_day - (now - noted) / ktime::second;
    day_is_over_.store(arch::clock::cycles() + seconds_left * arch::clock::cycles_hz(), std::memory_order_relaxed);
}

void vnode::touch_modified() noexcept {
    const k::u64 now = now_ns();
    modified_ns.store(now, std::memory_order_relaxed);
    changed_ns.store(now, std::memory_order_relaxed);
}

void vnode::touch_changed() noexcept {
    changed_ns.store(now_ns(), std::memory_order_relaxed);
}

k::result<claim> claim::take(vnode& of, claim_kind kind) noexcept {
    const auto one = static_cast<k::i32>(kind);
    k::i32 before = of.claims.load(std::memory_order_relaxed);
    do
        if (before && (before > 0) != (one > 0)) return k::error::txtbsy;
    while (!of.claims.compare_exchange_weak(before, before + one, std::memory_order_acquire));
    return claim(of, kind);
}

k::ref<attachment> vnode::find_attached(attachment_kind kind) noexcept {
    attachment* there = attached_[static_cast<unsigned>(kind)].load(std::memory_order_acquire);
    return there ? k::ref<attachment>::to(*there) : k::ref<attachment>();
}

k::ref<attachment> vnode::attach(attachment_kind kind, k::ref<attachment> what) noexcept {
    if (!what) return what;
    attachment* nobody = nullptr;
    auto& slot = attached_[static_cast<unsigned>(kind)];
    if (!slot.compare_exchange_strong(nobody, what.get(), std::memory_order_acq_rel))
        return k::ref<attachment>::to(*nobody);
    return k::ref<attachment>::to(*what.release());
}

} // namespace vfs
