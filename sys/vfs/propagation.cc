// Passing mounts on: what is mounted on a shared mount is mounted on its peers and on their slaves too, and goes there
// when it goes. Linux's Documentation/filesystems/sharedsubtree.rst says what should come of it.
//
// Groups are numbers, and who belongs to one is found by looking through the table: mounts are few, and are made
// rarely.
#include "sys/vfs/mount_priv.h"

namespace vfs {

bool mount_table::has_member(k::u64 group) const noexcept {
    for (const mount* m = first(); m; m = next_of(*m))
        if (m->group_ == group) return true;
    return false;
}

// The group whose slaves a group's members are.
k::u64 mount_table::master_of(k::u64 group) const noexcept {
    for (const mount* m = first(); m; m = next_of(*m))
        if (m->group_ == group) return m->master_;
    return 0;
}

// The slaves of a group that has ended are its masters'.
void mount_table::end_group(k::u64 group, k::u64 master) noexcept {
    if (!group || has_member(group)) return;
    for (mount* m = first(); m; m = next_of(*m))
        if (m->master_ == group) m->master_ = master;
}

void mount_table::leave_groups(mount& m) noexcept {
    const k::u64 group = std::exchange(m.group_, 0), master = std::exchange(m.master_, 0);
    end_group(group, master);
}

void mount_table::set_propagation(mount& m, propagation how) noexcept {
    if (how == propagation::shared) {
        if (!m.group_) m.group_ = ++last_group_;
        m.unbindable_ = false;
        return;
    }
    if (how != propagation::slave) {
        leave_groups(m);
        m.unbindable_ = how == propagation::unbindable;
        return;
    }
    const k::u64 group = std::exchange(m.group_, 0);
    if (!group) return;
    if (has_member(group))
        m.master_ = group;
    else
        end_group(group, m.master_);
}

// Does what is mounted on `from` reach `m`?
bool mount_table::receives(const mount& m, const mount& from) const noexcept {
    if (&m == &from || !from.group_ || &m.fs() != &from.fs()) return false;
    if (m.group_ == from.group_) return true;
    for (k::u64 group = m.master_; group; group = master_of(group))
        if (group == from.group_) return true;
    return false;
}

mount* mount_table::next_copy(const mount& m, const mount& in, const directory& on, const mount* last) const noexcept {
    for (mount* at = last ? next_of(*last) : first(); at; at = next_of(*at)) {
        const mount_point* other = at->point();
        if (at != &m && other && other->covered == &on && &at->root() == &m.root() && receives(*other->in, in))
            return at;
    }
    return nullptr;
}

// --- Mounting

namespace {

struct spreading {
    mount& tree;
    mount& in;
    directory& on;
    k::u64 last_old; // later ones are copies that are being made

    bool is_fresh(const mount& m) const noexcept { return m.id() > last_old; }
};

} // namespace

// The copy that a receiver has got already.
static mount* copy_at(const mount_table& t, const spreading& s, const mount& receiver) noexcept {
    for (mount* m = t.first(); m; m = mount_table::next_of(*m)) {
        const mount_point* p = m->point();
        if (s.is_fresh(*m) && p && p->in == &receiver && p->covered == &s.on) return m;
    }
    return nullptr;
}

// What a receiver's copy is made of: a peer's, to be a peer, or a master's, to be a slave. Its master's comes first:
// null, if that is still to be made.
static mount* pattern_for(const mount_table& t, const spreading& s, const mount& receiver,
                          bool& is_peer) noexcept NO_THREAD_SAFETY_ANALYSIS {
    is_peer = true;
    if (receiver.group() == s.in.group()) return &s.tree;
    for (k::u64 group = receiver.group() ? receiver.group() : receiver.master(); group; group = t.master_of(group)) {
        is_peer = group == receiver.group();
        if (group == s.in.group()) return &s.tree;
        bool will_have_one = false;
        for (mount* m = t.first(); m; m = mount_table::next_of(*m)) {
            if (m->group() != group || m == &receiver || s.is_fresh(*m)) continue;
            if (mount* there = copy_at(t, s, *m)) return there;
            will_have_one |= !is_peer && is_within(s.on, m->root());
        }
        if (will_have_one) return nullptr;
    }
    return nullptr;
}

// Every mount of a tree gets a group, if it has none.
void mount_table::share_tree(mount& tree) noexcept {
    for (mount* m = first(); m; m = next_of(*m))
        if (!m->group_ && is_below(*m, tree)) m->group_ = ++last_group_;
}

// The mounts of a copy, which are peers of what they were copied from, become their slaves.
void mount_table::enslave_tree(mount& tree, bool shared) noexcept {
    for (mount* m = first(); m; m = next_of(*m)) {
        if (!is_below(*m, tree)) continue;
        m->master_ = m->group_;
        m->group_ = shared ? ++last_group_ : 0;
    }
}

k::status mount_table::attach(mount& tree, mount& in, directory& on) noexcept {
    if (!in.group_) return stand(tree, in, on);
    share_tree(tree);
    k::u64 last_old = 0;
    for (const mount* m = first(); m; m = next_of(*m))
        last_old = std::max(last_old, m->id());
    const spreading s{tree, in, on, last_old};
    k::status done;
    for (bool again = true; again && done;) {
        again = false;
        for (mount* to = first(); to && done; to = next_of(*to)) {
            if (s.is_fresh(*to) || !receives(*to, in) || !is_within(on, to->root()) || is_below(*to, tree)) continue;
            if (copy_at(*this, s, *to)) continue;
            bool is_peer;
            mount* const pattern = pattern_for(*this, s, *to, is_peer);
            if (!pattern) continue; // in the next round
            mount* const made = copy(*pattern, pattern->root(), true);
            if (!made) {
                done = k::error::nomem;
                break;
            }
            if (!is_peer) enslave_tree(*made, to->group_ != 0);
            done = stand(*made, *to, on);
            if (!done) remove_tree(*made);
            again = true;
        }
    }
    if (done) done = stand(tree, in, on);
    if (done) return done;
    for (mount* m = first(); m;) {
        mount* const next = next_of(*m);
        const mount* const parent = m->parent();
        const bool goes = s.is_fresh(*m) && parent && !s.is_fresh(*parent);
        if (goes) remove_tree(*m);
        m = goes ? first() : next;
    }
    return done;
}

} // namespace vfs
