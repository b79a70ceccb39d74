#include "sys/vfs/name.h"

#include "kernel/mem/slab.h"

#include <cstring>

namespace vfs {

// --- A name

name::name(directory& in, const name_text& text, vnode_ref node) noexcept
    : in_(static_cast<directory*>(vnode_ref::to(in).release())), node_(node.release()), hash_(text.hash),
      length_(static_cast<k::u8>(text.text.size())) {
    std::memcpy(static_cast<void*>(this + 1), text.text.data(), text.text.size());
}

k::result<name_ref> name::create(directory& in, const name_text& text, vnode_ref node) noexcept {
    kassert(!text.text.empty() && text.text.size() <= longest_name);
    void* at = mem::allocate(sizeof(name) + text.text.size());
    if (!at) return k::error::nomem;
    return name_ref(new (at) name(in, text, std::move(node)));
}

k::result<name_ref> name::create_removed(directory& in, const name_text& text) noexcept {
    name_ref made = TRY(create(in, text, {}));
    made->removed_.store(true, std::memory_order_relaxed);
    return made;
}

void name::last_holder_left() noexcept {
    (void)go();
}

vnode_ref name::go() noexcept {
    (void)vnode_ref(node_);
    vnode_ref in(in_);
    lwkt::retire(*this, [](lwkt::retirable& r) { mem::destroy(&static_cast<name&>(r)); });
    return in;
}

// --- A directory

directory::~directory() {
    mem::free(table_.load(std::memory_order_relaxed));
}

name* directory::find(const name_text& text) const noexcept {
    const table* in = table_.load(std::memory_order_acquire);
    if (!in) return nullptr;
    for (k::u32 i = text.hash & in->mask;; i = (i + 1) & in->mask) {
        name* n = in->slots[i].load(std::memory_order_acquire);
        if (!n) return nullptr;
        if (n != removed_mark() && n->hash_ == text.hash && n->text() == text.text) return n;
    }
}

directory::table* directory::make_table(k::u32 slots) noexcept {
    void* at = mem::allocate(sizeof(table) + slots * sizeof(std::atomic<name*>));
    if (!at) return nullptr;
    auto* made = new (at) table{};
    made->mask = slots - 1;
    for (k::u32 i = 0; i < slots; i++)
        new (&made->slots[i]) std::atomic<name*>(nullptr);
    return made;
}

void directory::put(table& into, name& n) noexcept {
    k::u32 i = n.hash_ & into.mask;
    while (into.slots[i].load(std::memory_order_relaxed))
        i = (i + 1) & into.mask;
    into.slots[i].store(&n, std::memory_order_release);
}

// A table with room for them, at most three quarters full: readers' searches end at an empty slot.
k::status directory::make_room_for(k::u32 more) noexcept {
    constexpr k::u32 fewest = 8;
    table* old = table_.load(std::memory_order_relaxed);
    const k::u32 slots = old ? old->mask + 1 : 0;
    if ((used_ + more) * 4 <= slots * 3) return {};
    k::u32 wanted = std::max(slots, fewest);
    while ((live_ + more) * 2 > wanted)
        wanted *= 2;
    table* fresh = make_table(wanted);
    if (!fresh) return k::error::nomem;
    for (name& n : names_)
        put(*fresh, n);
    used_ = live_;
    table_.store(fresh, std::memory_order_release);
    if (old) lwkt::retire(*old, [](lwkt::retirable& r) { mem::free(&static_cast<table&>(r)); });
    return {};
}

k::status directory::add(name_ref& fresh) noexcept {
    TRY(make_room_for(1));
    name& n = *fresh.release();
    n.place_ = next_place_++;
    names_.insert(names_.end(), n);
    put(*table_.load(std::memory_order_relaxed), n);
    live_++;
    used_++;
    negative_ += !n.node_;
    return {};
}

name_ref directory::take_out(name& which) noexcept {
    table& in = *table_.load(std::memory_order_relaxed);
    k::u32 i = which.hash_ & in.mask;
    while (in.slots[i].load(std::memory_order_relaxed) != &which)
        i = (i + 1) & in.mask;
    // A mark in front of an empty slot serves no search.
    const bool last = !in.slots[(i + 1) & in.mask].load(std::memory_order_relaxed);
    in.slots[i].store(last ? nullptr : removed_mark(), std::memory_order_release);
    used_ -= last;
    live_--;
    negative_ -= !which.node_;
    names_.erase(names_.iterator_to(which));
    which.removed_.store(true, std::memory_order_release);
    return name_ref(&which);
}

name* directory::at_or_after(k::u64 place) noexcept {
    const auto found = names_.lower_bound(place);
    return found == names_.end() ? nullptr : &*found;
}

bool directory::has_no_nodes() const noexcept {
    for (const name& n : names_)
        if (n.node()) return false;
    return true;
}

void directory::set_own_name(name_ref n) noexcept {
    (void)name_ref(own_name_.exchange(n.release(), std::memory_order_acq_rel));
}

name_ref directory::take_own_name() noexcept {
    return name_ref(own_name_.exchange(nullptr, std::memory_order_acq_rel));
}

void directory::die(name_ref last) noexcept {
    last->removed_.store(true, std::memory_order_relaxed);
    dead_.store(true, std::memory_order_release);
    set_own_name(std::move(last));
}

bool is_within(directory& at, const directory& above) noexcept {
    lwkt::critical section;
    for (directory* d = &at;; d = &d->parent()) {
        if (d == &above) return true;
        if (!d->own_name()) return false;
    }
}

} // namespace vfs
