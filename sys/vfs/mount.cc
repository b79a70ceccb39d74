#include "kernel/mem/slab.h"
#include "sys/vfs/mount_priv.h"
#include "sys/vfs/vop.h"

namespace vfs {

namespace {

std::atomic<k::u64> last_id = 0;
mount_table table;

bool is_root_of_mount(const place& p) noexcept {
    return &p.dir() == &p.in->root();
}

} // namespace

mount::mount(file_system_ref fs, vnode_ref root, k::u32 flags, std::string_view source) noexcept
    : fs_(std::move(fs)), root_(std::move(root)), flags_(flags),
      id_(last_id.fetch_add(1, std::memory_order_relaxed) + 1) {
    source_length_ = static_cast<k::u8>(source.copy(source_, sizeof(source_)));
}

void mount_use::let_go() noexcept {
    if (mount_->expiring_.load(std::memory_order_relaxed)) [[unlikely]]
        mount_->expiring_.store(false, std::memory_order_relaxed);
    if (mount_->users_.drop()) mount_table::free_when_unseen(*mount_);
}

void mount_use::let_go_unnoticed() noexcept {
    const bool last = std::exchange(mount_, nullptr)->users_.drop();
    kassert(!last);
}

// --- Writers

k::result<mount_writing> mount_writing::take(mount& m) noexcept {
    m.writers_.add();
    mount_writing made(m);
    if (m.is_read_only()) return k::error::rofs;
    return made;
}

mount_writing::~mount_writing() {
    if (in_) (void)in_->writers_.drop();
}

bool mount_table::is_written(mount& m) noexcept {
    m.writers_.add(); // this one, without whom the count could not be spread again
    const bool others = m.writers_.gather() > 1;
    m.writers_.spread();
    (void)m.writers_.drop();
    return others;
}

// It is read-only before it is looked who writes: whoever comes from then on is refused.
k::status mount_table::set_flags(mount& m, k::u32 flags, bool of_all) noexcept {
    const bool read_only = flags & mount_read_only;
    if (m.fs().is_in_program()) flags |= mount_no_set_id | mount_no_devices; // as when it was mounted
    const k::u32 before = m.flags_.exchange(flags, std::memory_order_seq_cst);
    const bool all_before = m.fs().is_read_only();
    if (of_all) m.fs().set_read_only(read_only);
    bool written = read_only && !(before & mount_read_only) && is_written(m);
    for (mount* other = first(); other && of_all && read_only && !all_before; other = next_of(*other))
        if (&other->fs() == &m.fs()) written |= is_written(*other);
    if (!written) return {};
    m.flags_.store(before, std::memory_order_relaxed);
    m.fs().set_read_only(all_before);
    return k::error::busy;
}

// --- The table

void mount_table::free_when_unseen(mount& m) noexcept {
    lwkt::retire(m, [](lwkt::retirable& r) { mem::destroy(&static_cast<mount&>(r)); });
}

void mount_table::put(mount& m) noexcept {
    if (!m.tables_) m.tables_ = mount_use(m);
    std::atomic<mount*>* end = &first_;
    while (mount* next = end->load(std::memory_order_relaxed))
        end = &next->next_;
    m.next_.store(nullptr, std::memory_order_relaxed);
    end->store(&m, std::memory_order_release);
}

void mount_table::take_out(mount& m) noexcept {
    std::atomic<mount*>* at = &first_;
    while (at->load(std::memory_order_relaxed) != &m)
        at = &at->load(std::memory_order_relaxed)->next_;
    at->store(m.next_.load(std::memory_order_relaxed), std::memory_order_release);
}

bool mount_table::has(const mount& m) const noexcept {
    for (mount* at = first(); at; at = next_of(*at))
        if (at == &m) return true;
    return false;
}

bool mount_table::carries_others(const mount& m) const noexcept {
    for (mount* at = first(); at; at = next_of(*at))
        if (at->parent() == &m) return true;
    return false;
}

bool mount_table::is_below(const mount& m, const mount& above) noexcept {
    for (const mount* at = &m; at; at = at->parent())
        if (at == &above) return true;
    return false;
}

k::status mount_table::stand(mount& m, mount& in, directory& on) noexcept {
    auto fresh = mem::make_box<mount_point>();
    if (!fresh) return k::error::nomem;
    vop_cover covering(on);
    TRY(on.fs.call(covering));
    fresh->in = &in;
    fresh->covered = static_cast<directory*>(vnode_ref::to(on).release());
    leave_point(m.point_.exchange(fresh.release(), std::memory_order_acq_rel));
    return {};
}

void mount_table::stand_nowhere(mount& m) noexcept {
    leave_point(m.point_.exchange(nullptr, std::memory_order_acq_rel));
}

void mount_table::leave_point(mount_point* p) noexcept {
    if (!p) return;
    p->covered->mounted_on.fetch_sub(1, std::memory_order_release);
    (void)vnode_ref(p->covered);
    lwkt::retire(*p, [](lwkt::retirable& r) { mem::destroy(&static_cast<mount_point&>(r)); });
}

bool mount_table::is_used(mount& m, k::i64 known) noexcept {
    const bool used = m.users_.gather() > known;
    m.users_.spread();
    return used;
}

// It is out of the table: the last user frees it.
void mount_table::end_use(mount& m) noexcept {
    (void)m.users_.gather();
    mount_use tables = std::move(m.tables_);
}

bool mount_table::remove_unused(mount& m) noexcept {
    constexpr k::i64 known = 2; // the table and the caller
    // Nobody finds it any more, and who has found it counts as a user by the time that all are gathered.
    mount_point* const point = m.point_.exchange(nullptr, std::memory_order_acq_rel);
    take_out(m);
    const bool used = m.users_.gather() > known;
    m.point_.store(point, std::memory_order_release);
    if (used) {
        m.users_.spread();
        put(m);
        return false;
    }
    stand_nowhere(m);
    leave_groups(m);
    mount_use tables = std::move(m.tables_);
    return true;
}

void mount_table::remove_tree(mount& m) noexcept {
    for (bool last = false; !last;) {
        // The deepest first: whoever stands in one never sees it stand on what is gone.
        mount* deepest = &m;
        for (mount* at = first(); at;) {
            const bool is_on_it = at->parent() == deepest;
            if (is_on_it) deepest = at;
            at = is_on_it ? first() : next_of(*at);
        }
        stand_nowhere(*deepest);
        take_out(*deepest);
        leave_groups(*deepest);
        last = deepest == &m;
        end_use(*deepest);
    }
}

mount* mount_table::copy_one(const mount& m, directory& root) noexcept {
    auto* made = mem::make<mount>(file_system_ref::to(m.fs()), vnode_ref::to(root), m.flags(), m.source());
    if (!made) return nullptr;
    made->group_ = m.group_;
    made->master_ = m.master_;
    put(*made);
    return made;
}

mount* mount_table::copy(const mount& m, directory& root, bool recursive) noexcept {
    mount* const made = copy_one(m, root);
    if (!made || !recursive) return made;
    for (mount* below = first(); below; below = next_of(*below)) {
        if (below->parent() != &m || below == made || below->unbindable_) continue;
        directory& on = *below->point()->covered;
        if (!is_within(on, root)) continue;
        mount* twin = copy(*below, below->root(), true);
        if (twin && stand(*twin, *made, on)) continue;
        if (twin) remove_tree(*twin);
        remove_tree(*made);
        return nullptr;
    }
    return made;
}

// --- What others call

k::result<place> mount_apart(file_system_ref fs) noexcept {
    vnode_ref root = vnode_ref::to(fs->root());
    auto* made = mem::make<mount>(std::move(fs), root.share(), 0u, "tmpfs");
    if (!made) return k::error::nomem;
    lwkt::sleep_hold hold(table.lock);
    table.put(*made);
    return place{mount_use(*made), std::move(root)};
}

k::result<place> mount_root(file_system_ref fs) noexcept {
    place root = TRY(mount_apart(std::move(fs)));
    lwkt::sleep_hold hold(table.lock);
    table.top = root.in.get();
    return root;
}

k::status mount_on(const place& at, file_system_ref fs, vnode_ref root, k::u32 flags,
                   std::string_view source) noexcept {
    auto* made = mem::make<mount>(std::move(fs), std::move(root), flags, source);
    if (!made) return k::error::nomem;
    lwkt::sleep_hold hold(table.lock);
    table.put(*made);
    k::status done = k::error::inval;
    if (table.has(*at.in)) done = table.attach(*made, *at.in, at.dir());
    if (!done) table.remove_tree(*made);
    return done;
}

k::status bind(const place& what, const place& at, bool recursive) noexcept {
    lwkt::sleep_hold hold(table.lock);
    if (!table.has(*at.in) || !table.has(*what.in) || what.in->is_unbindable()) return k::error::inval;
    mount* const made = table.copy(*what.in, what.dir(), recursive);
    if (!made) return k::error::nomem;
    const k::status done = table.attach(*made, *at.in, at.dir());
    if (!done) table.remove_tree(*made);
    return done;
}

k::status move(const place& what, const place& at) noexcept {
    lwkt::sleep_hold hold(table.lock);
    mount& m = *what.in;
    if (!is_root_of_mount(what) || !table.has(m) || !table.has(*at.in) || !m.parent()) return k::error::inval;
    if (m.parent()->group()) return k::error::inval;
    if (table.is_below(*at.in, m)) return k::error::loop;
    if (at.in->group())
        for (mount* below = table.first(); below; below = mount_table::next_of(*below))
            if (below->is_unbindable() && table.is_below(*below, m)) return k::error::inval;
    return table.attach(m, *at.in, at.dir());
}

k::status propagate(const place& what, propagation how, bool recursive) noexcept {
    lwkt::sleep_hold hold(table.lock);
    if (!is_root_of_mount(what) || !table.has(*what.in)) return k::error::inval;
    for (mount* m = table.first(); m; m = mount_table::next_of(*m))
        if (m == what.in.get() || (recursive && table.is_below(*m, *what.in))) table.set_propagation(*m, how);
    return {};
}

k::status change_flags(const place& what, k::u32 flags, bool of_all) noexcept {
    lwkt::sleep_hold hold(table.lock);
    if (!is_root_of_mount(what) || !table.has(*what.in)) return k::error::inval;
    if (of_all && !(flags & mount_read_only) && !what.in->fs().may_be_written()) return k::error::rofs;
    return table.set_flags(*what.in, flags, of_all);
}

k::status unmount(mount_use use, unmount_how how) noexcept {
    mount& m = *use;
    lwkt::sleep_hold hold(table.lock);
    if (&m == table.top || !table.has(m)) return k::error::inval;
    const mount_point* const stands = m.point(); // null: nowhere
    mount* const in = stands ? stands->in : nullptr;
    const vnode_ref on = stands ? vnode_ref::to(*stands->covered) : vnode_ref();
    const auto next_copy = [&](const mount* last) NO_THREAD_SAFETY_ANALYSIS {
        return in ? table.next_copy(m, *in, on->as_directory(), last) : nullptr;
    };
    if (how != unmount_how::detach) {
        if (table.carries_others(m)) return k::error::busy;
        if (how == unmount_how::expire) {
            if (table.is_used(m, 2)) return k::error::busy;
            if (!table.ask_to_expire(m)) {
                use.let_go_unnoticed();
                return k::error::again;
            }
        }
        for (mount* copy = next_copy(nullptr); copy; copy = next_copy(copy))
            if (!table.carries_others(*copy) && table.is_used(*copy, 1)) return k::error::busy;
        // Before what was passed on, all of which stays if this one does.
        if (!table.remove_unused(m)) return k::error::busy;
    }
    for (mount* copy = next_copy(nullptr); copy;) {
        mount* const next = next_copy(copy);
        const bool goes = how == unmount_how::detach || !table.carries_others(*copy);
        if (goes) table.remove_tree(*copy);
        copy = goes ? next_copy(nullptr) : next;
    }
    if (how == unmount_how::detach) table.remove_tree(m);
    return {};
}

k::status move_root(const place& fresh, const place& old_at) noexcept {
    lwkt::sleep_hold hold(table.lock);
    mount& top = *table.top;
    mount& next = *fresh.in;
    if (&next == &top || !next.parent() || !is_root_of_mount(fresh)) return k::error::inval;
    const mount* below = old_at.in.get();
    while (below && below != &next)
        below = below->parent();
    if (!below) return k::error::inval; // it would hang in the air
    if (top.group() || next.parent()->group()) return k::error::inval;
    TRY(mount_table::stand(top, *old_at.in, old_at.dir()));
    mount_table::stand_nowhere(next);
    table.top = &next;
    return {};
}

mount* mounted_at(const mount& in, const directory& at) noexcept {
    for (mount* m = table.first(); m; m = mount_table::next_of(*m)) {
        const mount_point* p = m->point();
        if (p && p->in == &in && p->covered == &at) return m;
    }
    return nullptr;
}

void for_each_mount(void (*visit)(mount& m, void* argument), void* argument) noexcept {
    lwkt::sleep_hold hold(table.lock);
    for (mount* m = table.first(); m; m = mount_table::next_of(*m))
        visit(*m, argument);
}

} // namespace vfs
