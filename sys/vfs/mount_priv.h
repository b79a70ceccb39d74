// The table of all mounts, for the files mount.cc and propagation.cc.
#pragma once

#include "sys/vfs/mount.h"

namespace vfs {

// In the order of their making: read in critical sections, changed under the lock.
class mount_table {
  public:
    lwkt::sleep_lock lock;

    static mount* next_of(const mount& m) noexcept { return m.next_.load(std::memory_order_acquire); }
    mount* first() const noexcept { return first_.load(std::memory_order_acquire); }
    static void free_when_unseen(mount& m) noexcept;

    // The table is a user of each mount in it.
    void put(mount& m) noexcept REQUIRES(lock);
    bool has(const mount& m) const noexcept REQUIRES(lock);
    bool carries_others(const mount& m) const noexcept REQUIRES(lock);
    // Is it that mount's, or mounted somewhere below?
    static bool is_below(const mount& m, const mount& above) noexcept;

    // Lets a mount stand on a place, which cannot be removed from then on. Nobody sees it in two places, or in none,
    // while it moves. ENOENT, ENOMEM.
    static k::status stand(mount& m, mount& in, directory& on) noexcept;
    static void stand_nowhere(mount& m) noexcept;
    // Has anybody it in use, beside so many that are known of?
    static bool is_used(mount& m, k::i64 known) noexcept;
    // Takes mounts away: one that carries no others, if nobody uses it (false: somebody does); or, anyhow, one with all
    // below it. Their users keep them.
    bool remove_unused(mount& m) noexcept REQUIRES(lock);
    void remove_tree(mount& m) noexcept REQUIRES(lock);
    // See change_flags().
    k::status set_flags(mount& m, k::u32 flags, bool of_all) noexcept REQUIRES(lock);
    // Was it asked before, and has nobody used it since?
    static bool ask_to_expire(mount& m) noexcept { return m.expiring_.exchange(true, std::memory_order_relaxed); }

    // One more mount of what `m` shows, from `root` on, which stands nowhere; a peer of a shared one, a slave of its
    // master if that is a slave. With `recursive` also of what is mounted below, but for what is unbindable. Null: no
    // memory.
    mount* copy(const mount& m, directory& root, bool recursive) noexcept REQUIRES(lock);

    // --- Propagation.
    void set_propagation(mount& m, propagation how) noexcept REQUIRES(lock);
    // A tree of mounts that stands nowhere yet comes to stand on a place, and copies of it wherever that is passed on.
    // ENOENT, ENOMEM: none does, and the tree stands nowhere.
    k::status attach(mount& tree, mount& in, directory& on) noexcept REQUIRES(lock);
    // What was passed on when `m` was mounted on a place.
    mount* next_copy(const mount& m, const mount& in, const directory& on, const mount* last) const noexcept
        REQUIRES(lock);
    // The group whose slaves the members of a group are; 0: none.
    k::u64 master_of(k::u64 group) const noexcept REQUIRES(lock);
    // It leaves its groups.
    void leave_groups(mount& m) noexcept REQUIRES(lock);

    // Of which all paths begin.
    mount* top GUARDED_BY(lock) = nullptr;

  private:
    void take_out(mount& m) noexcept REQUIRES(lock);
    static void end_use(mount& m) noexcept;
    static void leave_point(mount_point* p) noexcept;
    static bool is_written(mount& m) noexcept;
    mount* copy_one(const mount& m, directory& root) noexcept REQUIRES(lock);
    bool receives(const mount& m, const mount& from) const noexcept REQUIRES(lock);
    bool has_member(k::u64 group) const noexcept REQUIRES(lock);
    void end_group(k::u64 group, k::u64 master) noexcept REQUIRES(lock);
    void share_tree(mount& tree) noexcept REQUIRES(lock);
    void enslave_tree(mount& tree, bool shared) noexcept REQUIRES(lock);

    std::atomic<mount*> first_ = nullptr;
    k::u64 last_group_ GUARDED_BY(lock) = 0;
};

} // namespace vfs
