#include "sys/vfs/mount.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/vop.h"

#include <algorithm>

namespace vfs {

namespace {

std::atomic<k::u64> last_id = 0;

} // namespace

// All mounts in the order of their making: read in critical sections, changed under the lock.
class mount_table {
  public:
    lwkt::sleep_lock lock;

    static void free_when_unseen(mount& m) noexcept {
        lwkt::retire(m, [](lwkt::retirable& r) { mem::destroy(&static_cast<mount&>(r)); });
    }
    static mount* next_of(const mount& m) noexcept { return m.next_.load(std::memory_order_acquire); }
    mount* first() const noexcept { return first_.load(std::memory_order_acquire); }

    // The table is a user of each mount in it.
    void put(mount& m) noexcept REQUIRES(lock) {
        if (!m.tables_) m.tables_ = mount_use(m);
        std::atomic<mount*>* end = &first_;
        while (mount* next = end->load(std::memory_order_relaxed))
            end = &next->next_;
        m.next_.store(nullptr, std::memory_order_relaxed);
        end->store(&m, std::memory_order_release);
    }
    void take_out(mount& m) noexcept REQUIRES(lock) {
        std::atomic<mount*>* at = &first_;
        while (at->load(std::memory_order_relaxed) != &m)
            at = &at->load(std::memory_order_relaxed)->next_;
        at->store(m.next_.load(std::memory_order_relaxed), std::memory_order_release);
    }
    bool has(const mount& m) const noexcept REQUIRES(lock) {
        for (mount* at = first(); at; at = next_of(*at))
            if (at == &m) return true;
        return false;
    }
    // Lets a mount stand on a place, which cannot be removed from then on. Nobody looks at what it covered before.
    // ENOENT, ENOMEM.
    static k::status cover(mount& m, const place& at) noexcept {
        vop_cover covering(at.dir());
        TRY(at.dir().fs.call(covering));
        m.covered_ = at.at.share();
        m.parent_.store(at.in.get(), std::memory_order_release);
        return {};
    }
    static void uncover(mount& m) noexcept { m.covered().mounted_on.fetch_sub(1, std::memory_order_release); }
    bool carries_others(const mount& m) noexcept REQUIRES(lock) {
        for (mount* at = first(); at; at = next_of(*at))
            if (at->parent() == &m) return true;
        return false;
    }
    // Has anybody but the table and the caller it in use? It is out of the table. If nobody has, or it shall go anyhow,
    // the table's use ends.
    static bool end_use(mount& m, bool anyhow) noexcept {
        constexpr k::i64 known = 2;
        if (m.users_.gather() > known && !anyhow) {
            m.users_.spread();
            return false;
        }
        mount_use tables = std::move(m.tables_);
        return true;
    }

    // Of which all paths begin.
    mount* top GUARDED_BY(lock) = nullptr;

  private:
    std::atomic<mount*> first_ = nullptr;
};

namespace {
mount_table table;
} // namespace

mount::mount(file_system_ref fs, vnode_ref root, k::u32 flags, std::string_view source) noexcept
    : fs_(std::move(fs)), root_(std::move(root)), flags_(flags),
      id_(last_id.fetch_add(1, std::memory_order_relaxed) + 1) {
    source_length_ = static_cast<k::u8>(source.copy(source_, sizeof(source_)));
}

mount_use::~mount_use() {
    if (mount_ && mount_->users_.drop()) mount_table::free_when_unseen(*mount_);
}

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
    auto made = mem::make_box<mount>(std::move(fs), std::move(root), flags, source);
    if (!made) return k::error::nomem;
    lwkt::sleep_hold hold(table.lock);
    if (!table.has(*at.in)) return k::error::inval;
    TRY(mount_table::cover(*made, at));
    table.put(*made.release());
    return {};
}

k::status unmount(mount_use use, bool detached) noexcept {
    mount& m = *use;
    lwkt::sleep_hold hold(table.lock);
    if (&m == table.top || !table.has(m)) return k::error::inval;
    if (table.carries_others(m)) return k::error::busy;
    // Nobody finds it any more, and who has found it counts as a user by the time that all are gathered.
    mount* const parent = m.parent_.exchange(nullptr, std::memory_order_release);
    table.take_out(m);
    if (mount_table::end_use(m, detached)) {
        if (parent) mount_table::uncover(m);
        return {};
    }
    m.parent_.store(parent, std::memory_order_release);
    table.put(m);
    return k::error::busy;
}

k::status move_root(const place& fresh, const place& old_at) noexcept {
    lwkt::sleep_hold hold(table.lock);
    mount& top = *table.top;
    mount& next = *fresh.in;
    if (&next == &top || !next.parent() || &next.root() != &fresh.dir()) return k::error::inval;
    if (old_at.in.get() != &next) return k::error::inval; // it would hang in the air
    TRY(mount_table::cover(top, old_at));
    mount_table::uncover(next);
    next.parent_.store(nullptr, std::memory_order_release);
    lwkt::wait_for_readers(); // it may cover something else one day
    table.top = &next;
    return {};
}

mount* mounted_at(const mount& in, const directory& at) noexcept {
    for (mount* m = table.first(); m; m = mount_table::next_of(*m))
        if (m->parent() == &in && &m->covered() == &at) return m;
    return nullptr;
}

void for_each_mount(void (*visit)(mount& m, void* argument), void* argument) noexcept {
    lwkt::sleep_hold hold(table.lock);
    for (mount* m = table.first(); m; m = mount_table::next_of(*m))
        visit(*m, argument);
}

} // namespace vfs
