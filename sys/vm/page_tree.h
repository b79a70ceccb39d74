// vm::page_tree: a map from page index to page that can be shared by taking a snapshot of it.
//
// A radix tree of counted nodes. A snapshot is one more holder of the root, whatever the size; whoever then
// changes a tree copies the nodes on the path to the change, and only those that are shared. Hence law 3:
//
//     a page may be written in place iff every node from the root to it has exactly one holder, and the page has
//     exactly one reference and no source pin.
//
// find() answers that together with the page. Nobody else implements copy-on-write.
//
//      snapshot()                        insert(5, new page) into the copy
//
//      tree   copy                       tree     copy
//         \   /                            |        |
//        [root] 2 holders               [root]   [root'] 1 holder each
//         |   |                           |  \    /  |
//        [a] [b]                         [a]  [b]   [a']   b: 2 holders; pages 0..4 of a and a': 2 references
//
// A tree belongs to one owner (an object), which serialises its use; the nodes that trees share never
// change while they are shared, so different trees are independent on any CPUs. Nothing here sleeps.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/mem/page.h"

#include <array>
#include <span>

namespace vm {

// Where a page stands, and whether law 3 lets its bytes be changed there.
struct found_page {
    page* p = nullptr;
    bool sole = false;
};

class page_tree {
  public:
    static constexpr unsigned fanout_shift = 6;
    static constexpr unsigned fanout = 1u << fanout_shift;
    static constexpr unsigned max_height = 9; // 2^54 pages
    static constexpr k::u64 max_index = (k::u64{1} << (fanout_shift * max_height)) - 1;

    page_tree() = default;
    page_tree(page_tree&& other) noexcept
        : root_(std::exchange(other.root_, nullptr)), height_(std::exchange(other.height_, 0)) {}
    page_tree& operator=(page_tree&& other) noexcept {
        std::swap(root_, other.root_);
        std::swap(height_, other.height_);
        return *this;
    }
    ~page_tree() { clear(); }

    // The same pages, shared until either side changes. EAGAIN when the root has no room for one more holder.
    k::result<page_tree> snapshot() const noexcept;

    // By who has the tree to himself: a sole page may be shown to who writes from now on (guard()).
    found_page find(k::u64 index) const noexcept;
    // The same for who does not ask whether it is sole, and may share the tree with other readers. Null: none.
    page* find_page(k::u64 index) const noexcept {
        if (!root_ || index >> (fanout_shift * height_)) return nullptr;
        const node* n = root_;
        for (unsigned level = height_ - 1; level > 0; level--)
            if (!(n = static_cast<const node*>(n->slots[slot_of(index, level)]))) return nullptr;
        return static_cast<page*>(n->slots[slot_of(index, 0)]);
    }

    // Puts a page at an index, in the place of what was there. Takes over `held`'s reference only if it
    // succeeds. ENOMEM; EAGAIN when a page on a shared node has no room for one more reference; EINVAL beyond
    // max_index.
    k::status insert(k::u64 index, page_ref& held) noexcept;

    // Changes pages in [first, first + count) in order: edit(index, page*& p) until it returns false; null is an empty
    // place. What it puts there brings its reference, what it takes away keeps its own. The errors of insert(); what
    // was not reached yet stays.
    template <class Edit> k::status edit(k::u64 first, k::u64 count, Edit edit) noexcept {
        for (k::u64 index = first, end = first + count; index < end;) {
            node* leaf = TRY(own_leaf(index));
            do {
                void*& slot = leaf->slots[slot_of(index, 0)];
                auto* p = static_cast<page*>(slot);
                const bool was = p, go_on = edit(index, p);
                slot = p;
                leaf->used += (p != nullptr) - was;
                if (!go_on) return {};
            } while (++index < end && slot_of(index, 0));
        }
        return {};
    }

    // Takes out all pages in [first, first + count). The same errors; what was not reached yet stays.
    k::status erase(k::u64 first, k::u64 count) noexcept;

    // The pages in [first, first + count) in order: visit(index, found) until it returns false. True if it never did.
    // For who does not ask whether they are sole: visit(index, page), which is cheaper.
    template <class Visit> bool for_each(k::u64 first, k::u64 count, Visit visit) const noexcept {
        if (!root_ || !count) return true;
        const k::u64 end = count > max_index - first ? max_index : first + count - 1;
        return walk(root_, height_ - 1, 0, first, end, root_sole(), visit);
    }

    // The pages from `first` on, at most `count`, as far as one leaf goes and up to the first that is missing, as they
    // stand in the leaf, until the tree changes. To walk over pages of which all are there, this costs least; `all`:
    // the caller knows that none is missing.
    std::span<void* const> slots_from(k::u64 first, k::u64 count, bool all = false) const noexcept;

    // A tree of its own of the pages in [first, first + count), which lie in one leaf, at the same places in a leaf.
    // ENOMEM, EAGAIN as insert().
    class leaf_part;
    static k::result<page_tree> part_of(const page_tree& from, k::u64 first, k::u64 count, leaf_part& about) noexcept;

    // How many pages there are in [first, first + count). Looks at leaves, not at pages.
    k::u64 count(k::u64 first, k::u64 count) const noexcept;
    // Makes [first, first + count) show what `from` has in [from_first, ...), in place of what is there: whole branches
    // are shared where both lie alike, single pages elsewhere. The errors of insert(); what was not reached yet stays.
    k::status graft(k::u64 first, k::u64 count, const page_tree& from, k::u64 from_first) noexcept;

    // The owner takes the right to write away from every mapping of pages in [first, first + count), unless this says
    // that none has it since the last time: find() has called none of them sole, and none has been put there.
    bool guard(k::u64 first, k::u64 count) noexcept;

    bool empty() const noexcept { return !root_; }
    void clear() noexcept {
        if (!root_) return;
        drop_node(std::exchange(root_, nullptr), height_ - 1);
        height_ = 0;
    }

    // Nodes that are alive in all trees.
    static k::u64 nodes_alive() noexcept;

  private:
    // Level 0 holds pages, the others nodes of the level below. Never changed while it has several holders.
    struct node {
        std::atomic<k::u32> holders;
        k::u32 used; // slots that are not empty
        // Of a leaf: pages that nobody may write to where they are shown. The only thing that changes while there are
        // several holders, each of whom may find it so.
        mutable std::atomic<k::u64> guarded;
        std::array<void*, fanout> slots;
    };

    static node* make_node() noexcept;
    static void drop_node(node* n, unsigned level) noexcept;
    template <class Drop> static void drop_children(node* n, Drop drop) noexcept;
    static k::result<node*> copy_node(const node* n, unsigned level) noexcept;
    static k::status make_own(void*& slot, unsigned level) noexcept;
    static k::status erase_below(void*& slot, unsigned level, k::u64 base, k::u64 first, k::u64 last) noexcept;
    static k::u64 count_below(const node* n, unsigned level, k::u64 base, k::u64 first, k::u64 last) noexcept;
    const node* branch(k::u64 index, unsigned level) const noexcept;
    k::status graft_nodes(k::u64 first, k::u64 nodes, unsigned level, const page_tree& from,
                          k::u64 from_first) noexcept;
    k::status graft_pages(k::u64 first, k::u64 count, const page_tree& from, k::u64 from_first) noexcept;
    // A page is sole, and may be shown to who writes.
    static void unguard(const node* leaf, unsigned slot) noexcept {
        const k::u64 bit = k::u64{1} << slot, before = leaf->guarded.load(std::memory_order_relaxed);
        if (before & bit) leaf->guarded.store(before & ~bit, std::memory_order_relaxed);
    }
    static bool has_one_holder(const node* n) noexcept { return n->holders.load(std::memory_order_acquire) == 1; }
    bool root_sole() const noexcept { return has_one_holder(root_); }
    k::status grow_to(k::u64 index, unsigned level) noexcept;
    k::result<node*> own_node(k::u64 index, unsigned level) noexcept;
    k::result<node*> own_leaf(k::u64 index) noexcept;

    static unsigned slot_of(k::u64 index, unsigned level) noexcept {
        return static_cast<unsigned>(index >> (fanout_shift * level)) % fanout;
    }
    // Law 3's part about the page itself. A sink pin is the owner's own and does not stand in the way.
    static bool page_sole(const page* p) noexcept { return p->holds.is_sole(); }

    template <class Visit>
    static bool walk(const node* n, unsigned level, k::u64 base, k::u64 first, k::u64 last, bool sole, Visit& visit) {
        const unsigned shift = fanout_shift * level;
        const unsigned from = first > base ? static_cast<unsigned>((first - base) >> shift) : 0;
        for (unsigned slot = from; slot < fanout; slot++) {
            const k::u64 at = base + (k::u64{slot} << shift);
            if (at > last) break;
            if (!n->slots[slot]) continue;
            if (level == 0) {
                auto* p = static_cast<page*>(n->slots[slot]);
                if constexpr (std::is_invocable_v<Visit&, k::u64, page*>) {
                    if (!visit(at, p)) return false;
                } else {
                    const found_page found{p, sole && page_sole(p)};
                    if (found.sole) unguard(n, slot);
                    if (!visit(at, found)) return false;
                }
            } else {
                auto* child = static_cast<node*>(n->slots[slot]);
                if (!walk(child, level - 1, at, first, last, sole && has_one_holder(child), visit)) return false;
            }
        }
        return true;
    }

    node* root_ = nullptr;
    unsigned height_ = 0; // levels; 0 for an empty tree
};

// What part_of() says of the pages that it found.
class page_tree::leaf_part {
  public:
    k::u64 found = 0;    // so many are there
    bool filled = false; // somebody fills one of them

    // As the tree's guard() of these pages, before the tree changes.
    bool guard() const noexcept;

  private:
    friend class page_tree;
    const node* leaf_ = nullptr;
    k::u64 these_ = 0;
};

} // namespace vm
