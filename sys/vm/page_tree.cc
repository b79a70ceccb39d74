#include "sys/vm/page_tree.h"

#include "kernel/mem/slab.h"

#include <algorithm>

namespace vm {

namespace {

std::atomic<k::u64> nodes;

constexpr k::u32 max_holders = k::u32{1} << 31;

// Both kinds of child.
void drop_page(void* slot) noexcept {
    drop(static_cast<page*>(slot), hold::reference);
}

} // namespace

k::u64 page_tree::nodes_alive() noexcept {
    return nodes.load(std::memory_order_relaxed);
}

page_tree::node* page_tree::make_node() noexcept {
    auto* n = mem::make<node>();
    if (!n) return nullptr;
    n->holders.store(1, std::memory_order_relaxed);
    nodes.fetch_add(1, std::memory_order_relaxed);
    return n;
}

// Calls drop(child) for what is there.
template <class Drop> void page_tree::drop_children(node* n, Drop drop) noexcept {
    unsigned left = n->used;
    const auto drop_one = [&](void* child) {
        if (!child) return;
        left--;
        drop(child);
    };
    static_assert(fanout % 4 == 0);
    void** four = n->slots.data();
    while (left) {
        drop_one(four[0]);
        drop_one(four[1]);
        drop_one(four[2]);
        drop_one(four[3]);
        four += 4;
    }
}

// Recursion is as deep as the tree is high: at most nine small frames.
void page_tree::drop_node(node* n, unsigned level) noexcept {
    if (n->holders.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (level == 0)
        drop_children(n, drop_page);
    else
        drop_children(n, [level](void* child) { drop_node(static_cast<node*>(child), level - 1); });
    mem::destroy(n);
    nodes.fetch_sub(1, std::memory_order_relaxed);
}

// A node with the same children, each of which gets one more holder.
k::result<page_tree::node*> page_tree::copy_node(const node* n, unsigned level) noexcept {
    node* copy = make_node();
    if (!copy) return k::error::nomem;
    for (unsigned slot = 0; slot < fanout; slot++) {
        void* child = n->slots[slot];
        if (!child) continue;
        if (level == 0) {
            if (!static_cast<page*>(child)->holds.try_add(hold::reference)) {
                drop_node(copy, level);
                return k::error::again;
            }
        } else {
            static_cast<node*>(child)->holders.fetch_add(1, std::memory_order_relaxed);
        }
        copy->slots[slot] = child;
        copy->used++;
    }
    return copy;
}

// Makes the node in `slot` one that may be changed: it is there, and its only holder is this tree.
k::status page_tree::make_own(void*& slot, unsigned level) noexcept {
    auto* n = static_cast<node*>(slot);
    if (n && has_one_holder(n)) return {};
    if (!n) {
        slot = make_node();
        return slot ? k::status() : k::error::nomem;
    }
    slot = TRY(copy_node(n, level));
    drop_node(n, level);
    return {};
}

k::result<page_tree> page_tree::snapshot() const noexcept {
    page_tree copy;
    if (!root_) return copy;
    if (root_->holders.fetch_add(1, std::memory_order_relaxed) >= max_holders) {
        root_->holders.fetch_sub(1, std::memory_order_relaxed);
        return k::error::again;
    }
    copy.root_ = root_;
    copy.height_ = height_;
    return copy;
}

found_page page_tree::find(k::u64 index) const noexcept {
    if (!root_ || index >> (fanout_shift * height_)) return {};
    const node* n = root_;
    bool sole = has_one_holder(n);
    for (unsigned level = height_ - 1; level > 0; level--) {
        n = static_cast<const node*>(n->slots[slot_of(index, level)]);
        if (!n) return {};
        sole = sole && has_one_holder(n);
    }
    const unsigned slot = slot_of(index, 0);
    auto* p = static_cast<page*>(n->slots[slot]);
    sole = sole && p && page_sole(p);
    if (sole) unguard(n, slot);
    return {p, sole};
}

// Puts levels on top until the index fits and there is a node of that level.
k::status page_tree::grow_to(k::u64 index, unsigned level) noexcept {
    while (height_ <= level || index >> (fanout_shift * height_)) {
        node* top = make_node();
        if (!top) return k::error::nomem;
        if (root_) {
            top->slots[0] = root_;
            top->used = 1;
        }
        root_ = top;
        height_++;
    }
    return {};
}

// The node of a level that covers an index, this tree's own like every node above it.
[[gnu::always_inline]] inline k::result<page_tree::node*> page_tree::own_node(k::u64 index, unsigned level) noexcept {
    if (index > max_index) return k::error::inval;
    if (height_ <= level || index >> (fanout_shift * height_)) TRY(grow_to(index, level));
    if (!has_one_holder(root_)) [[unlikely]] {
        void* root = root_;
        auto owned = make_own(root, height_ - 1);
        root_ = static_cast<node*>(root);
        if (!owned) return owned.error();
    }
    node* n = root_;
    for (unsigned at = height_ - 1; at > level; at--) {
        void*& slot = n->slots[slot_of(index, at)];
        if (!slot || !has_one_holder(static_cast<node*>(slot))) [[unlikely]] {
            const bool fresh = !slot;
            if (auto own = make_own(slot, at - 1); !own) return own.error();
            n->used += fresh;
        }
        n = static_cast<node*>(slot);
    }
    return n;
}

k::result<page_tree::node*> page_tree::own_leaf(k::u64 index) noexcept {
    node* leaf = TRY(own_node(index, 0));
    leaf->guarded.store(0, std::memory_order_relaxed);
    return leaf;
}

// Of much, the page table takes writing away without looking at every leaf.
bool page_tree::guard(k::u64 first, k::u64 count) noexcept {
    constexpr k::u64 most = 16 * fanout;
    if (count > most) return false;
    bool all = true;
    for (k::u64 part; count; first += part, count -= part) {
        const unsigned slot = slot_of(first, 0);
        part = std::min<k::u64>(count, fanout - slot);
        const node* leaf = branch(first, 0);
        if (!leaf) continue;
        const k::u64 these = ~k::u64{0} >> (fanout - part) << slot;
        const k::u64 before = leaf->guarded.load(std::memory_order_relaxed);
        all &= (before & these) == these;
        leaf->guarded.store(before | these, std::memory_order_relaxed);
    }
    return all;
}

k::status page_tree::insert(k::u64 index, page_ref& held) noexcept {
    node* leaf = TRY(own_leaf(index));
    void*& slot = leaf->slots[slot_of(index, 0)];
    if (slot)
        drop_page(slot);
    else
        leaf->used++;
    slot = held.release();
    return {};
}

// Erases what lies in [first, last] below one slot, whose node starts at `base`. An emptied node goes.
k::status page_tree::erase_below(void*& slot, unsigned level, k::u64 base, k::u64 first, k::u64 last) noexcept {
    const unsigned shift = fanout_shift * level;
    const k::u64 end = base + ((k::u64{fanout} << shift) - 1);
    if (first <= base && end <= last) { // all of it: no need to own what goes
        drop_node(static_cast<node*>(slot), level);
        slot = nullptr;
        return {};
    }
    if (auto own = make_own(slot, level); !own) return own;
    auto* n = static_cast<node*>(slot);
    for (unsigned i = slot_of(std::max(first, base), level); i < fanout; i++) {
        const k::u64 at = base + (k::u64{i} << shift);
        if (at > last) break;
        void*& child = n->slots[i];
        if (!child) continue;
        if (level == 0)
            drop_page(std::exchange(child, nullptr));
        else if (auto below = erase_below(child, level - 1, at, first, last); !below)
            return below;
        n->used -= !child;
    }
    if (!n->used) {
        drop_node(n, level);
        slot = nullptr;
    }
    return {};
}

k::status page_tree::erase(k::u64 first, k::u64 count) noexcept {
    if (!root_ || !count || first > max_index || first >> (fanout_shift * height_)) return {};
    const k::u64 last = count > max_index - first ? max_index : first + count - 1;
    void* root = root_;
    auto done = erase_below(root, height_ - 1, 0, first, last);
    root_ = static_cast<node*>(root);
    if (!root_) height_ = 0;
    return done;
}

k::u64 page_tree::count_below(const node* n, unsigned level, k::u64 base, k::u64 first, k::u64 last) noexcept {
    const unsigned shift = fanout_shift * level;
    const bool whole = first <= base && base + ((k::u64{fanout} << shift) - 1) <= last;
    if (level == 0 && whole) return n->used;
    k::u64 sum = 0;
    for (unsigned slot = first > base ? static_cast<unsigned>((first - base) >> shift) : 0; slot < fanout; slot++) {
        const k::u64 at = base + (k::u64{slot} << shift);
        if (at > last) break;
        if (!n->slots[slot]) continue;
        sum += level ? count_below(static_cast<const node*>(n->slots[slot]), level - 1, at, first, last) : 1;
    }
    return sum;
}

k::u64 page_tree::count(k::u64 first, k::u64 count) const noexcept {
    if (!root_ || !count || first > max_index) return 0;
    const k::u64 last = count > max_index - first ? max_index : first + count - 1;
    return count_below(root_, height_ - 1, 0, first, last);
}

std::span<void* const> page_tree::slots_from(k::u64 first, k::u64 count, bool all) const noexcept {
    const node* leaf = branch(first, 0);
    if (!leaf) return {};
    const unsigned slot = slot_of(first, 0);
    void* const* const from = &leaf->slots[slot];
    const auto most = static_cast<unsigned>(std::min<k::u64>(count, fanout - slot));
    if (all || leaf->used == fanout) return {from, most};
#pragma GCC unroll 8
    for (unsigned there = 0; there < most; there++)
        if (!from[there]) return {from, there};
    return {from, most};
}

bool page_tree::leaf_part::guard() const noexcept {
    if (!leaf_) return true;
    const k::u64 before = leaf_->guarded.load(std::memory_order_relaxed);
    leaf_->guarded.store(before | these_, std::memory_order_relaxed);
    return (before & these_) == these_;
}

k::result<page_tree> page_tree::part_of(const page_tree& from, k::u64 first, k::u64 count, leaf_part& about) noexcept {
    const unsigned slot = slot_of(first, 0);
    kassert(count && count <= fanout - slot);
    page_tree part;
    about = {};
    const node* leaf = from.branch(first, 0);
    if (!leaf) return part;
    part.root_ = make_node();
    if (!part.root_) return k::error::nomem;
    part.height_ = 1;
    void* const* theirs = &leaf->slots[slot];
    void** ours = &part.root_->slots[slot];
    auto used = static_cast<k::u32>(count);
    k::u64 held = 0; // all counts, one over the other
#pragma GCC unroll 4
    for (k::u64 i = 0; i < count; i++) {
        auto* const p = static_cast<page*>(theirs[i]);
        if (!p) [[unlikely]] {
            used--;
            continue;
        }
        held |= p->holds.add(hold::reference);
        ours[i] = p;
    }
    part.root_->used = used;
    if (hold_counts::was_full(held, hold::reference)) return k::error::again;
    about.leaf_ = leaf;
    about.these_ = ~k::u64{0} >> (fanout - count) << slot;
    about.filled = hold_counts::are_in(held, hold::sink_pin);
    about.found = used;
    return part;
}

// --- Grafting

// The node of a level that covers an index; null: nothing is there, or the tree is not that high.
const page_tree::node* page_tree::branch(k::u64 index, unsigned level) const noexcept {
    if (!root_ || level >= height_ || index >> (fanout_shift * height_)) return nullptr;
    const node* n = root_;
    for (unsigned at = height_ - 1; n && at > level; at--)
        n = static_cast<const node*>(n->slots[slot_of(index, at)]);
    return n;
}

// Whole nodes of a level that stand side by side, each with one more holder, in the place of such.
k::status page_tree::graft_nodes(k::u64 first, k::u64 nodes, unsigned level, const page_tree& from,
                                 k::u64 from_first) noexcept {
    const node* above = from.branch(from_first, level + 1);
    if (!above && !from.branch(from_first, level)) return erase(first, nodes << (fanout_shift * (level + 1)));
    node* to = TRY(own_node(first, level + 1));
    void** ours = &to->slots[slot_of(first, level + 1)];
    for (k::u64 i = 0; i < nodes; i++) {
        // A tree that is just as high as the branch is one.
        void* next = above ? above->slots[slot_of(from_first, level + 1) + i] : i ? nullptr : from.root_;
        if (next) static_cast<node*>(next)->holders.fetch_add(1, std::memory_order_relaxed);
        void* const before = std::exchange(ours[i], next);
        to->used += (next != nullptr) - (before != nullptr);
        if (before) drop_node(static_cast<node*>(before), level);
    }
    return {};
}

// Pages of one leaf to places in one leaf.
k::status page_tree::graft_pages(k::u64 first, k::u64 count, const page_tree& from, k::u64 from_first) noexcept {
    const node* source = from.branch(from_first, 0);
    if (!source) return erase(first, count);
    node* leaf = TRY(own_leaf(first));
    void* const* theirs = &source->slots[slot_of(from_first, 0)];
    void** ours = &leaf->slots[slot_of(first, 0)];
    for (k::u64 i = 0; i < count; i++) {
        void* const next = theirs[i];
        if (next && !static_cast<page*>(next)->holds.try_add(hold::reference)) return k::error::again;
        void* const before = std::exchange(ours[i], next);
        leaf->used += (next != nullptr) - (before != nullptr);
        if (before) drop_page(before);
    }
    return {};
}

k::status page_tree::graft(k::u64 first, k::u64 count, const page_tree& from, k::u64 from_first) noexcept {
    if (first > max_index || count > max_index - first) return k::error::inval;
    while (count) {
        // The highest level whose node begins at both places and lies wholly in what is wanted.
        unsigned level = 0;
        const auto fits = [&](unsigned l) {
            const k::u64 pages = k::u64{1} << (fanout_shift * (l + 1));
            return l + 1 < max_height && (first | from_first) % pages == 0 && pages <= count;
        };
        const bool whole = fits(0);
        while (whole && fits(level + 1) && level + 1 < from.height_)
            level++;
        k::u64 part;
        if (whole) {
            const k::u64 in_node = k::u64{1} << (fanout_shift * (level + 1));
            const unsigned slots_left = fanout - std::max(slot_of(first, level + 1), slot_of(from_first, level + 1));
            const k::u64 nodes = std::min<k::u64>(count / in_node, slots_left);
            part = nodes * in_node;
            TRY(graft_nodes(first, nodes, level, from, from_first));
        } else {
            part = std::min(count, fanout - std::max(first % fanout, from_first % fanout));
            TRY(graft_pages(first, part, from, from_first));
        }
        first += part;
        from_first += part;
        count -= part;
    }
    return {};
}

} // namespace vm
