// vfs::mount: a place in the tree of names where a directory of a file system is seen.
//
// The same file system may be seen in several places (bind mounts). Who keeps a mount in use (a working directory, an
// open file) says so by a mount_use; walking through needs nothing but a critical section.
#pragma once

#include "kernel/lwkt/spread_count.h"
#include "sys/vfs/file_system.h"

namespace vfs {

enum mount_flag : k::u32 { // Linux's MS_ values
    mount_read_only = 1,
    mount_no_set_id = 2,
    mount_no_devices = 4,
    mount_no_programs = 8,
};

class mount;

// What becomes of mounting and unmounting on a mount elsewhere (mount_namespaces(7)). Peers pass it on to each other
// and to their slaves; slaves pass nothing back. One that is unbindable cannot be seen in a second place.
enum class propagation : k::u8 { alone, shared, slave, unbindable };

// Keeps a mount.
class mount_use {
  public:
    mount_use() = default;
    // Of a mount that is found in a critical section, or that the caller keeps already.
    explicit mount_use(mount& m) noexcept;
    mount_use(mount_use&& other) noexcept : mount_(std::exchange(other.mount_, nullptr)) {}
    mount_use& operator=(mount_use&& other) noexcept {
        std::swap(mount_, other.mount_);
        return *this;
    }
    ~mount_use() {
        if (mount_) let_go();
    }
    mount_use share() const noexcept { return mount_ ? mount_use(*mount_) : mount_use(); }
    // Lets go, as if nobody had used it: see unmount_how::expire. The caller knows of another use.
    void let_go_unnoticed() noexcept;

    explicit operator bool() const { return mount_ != nullptr; }
    mount* get() const { return mount_; }
    mount& operator*() const { return *mount_; }
    mount* operator->() const { return mount_; }

  private:
    void let_go() noexcept;

    mount* mount_ = nullptr;
};

// A directory as seen through a mount: where a walk begins or stands.
struct place {
    mount_use in;
    vnode_ref at; // a directory

    explicit operator bool() const { return static_cast<bool>(at); }
    place share() const noexcept { return {in.share(), at.share()}; }
    directory& dir() const noexcept { return at->as_directory(); }
};

// Where a mount stands: what it covers, seen through which other one. Never changes.
struct mount_point : lwkt::retirable {
    mount* in;
    directory* covered; // held by who made it stand there
};

class mount : lwkt::retirable {
  public:
    file_system& fs() const noexcept { return *fs_; }
    directory& root() const noexcept { return static_cast<directory&>(*root_); }
    k::u32 flags() const noexcept { return flags_.load(std::memory_order_relaxed); }
    bool is_read_only() const noexcept { return (flags() & mount_read_only) || fs().is_read_only(); }
    // What was given as the source of the mount, for /proc/mounts.
    std::string_view source() const noexcept { return {source_, source_length_}; }
    k::u64 id() const noexcept { return id_; }

    // In a critical section. Null: nowhere (the first, or taken away).
    const mount_point* point() const noexcept { return point_.load(std::memory_order_acquire); }
    mount* parent() const noexcept {
        const mount_point* p = point();
        return p ? p->in : nullptr;
    }
    // Of for_each_mount(): the number of its peers' group, and of the group whose slave it is; 0: none.
    k::u64 group() const noexcept { return group_; }
    k::u64 master() const noexcept { return master_; }
    bool is_unbindable() const noexcept { return unbindable_; }

    mount(file_system_ref fs, vnode_ref root, k::u32 flags,
          std::string_view source) noexcept; // for the functions below

  private:
    friend class mount_use;
    friend class mount_table;
    friend class mount_writing;

    const file_system_ref fs_;
    const vnode_ref root_;
    std::atomic<k::u32> flags_;
    std::atomic<bool> expiring_ = false; // nobody has used it since umount2(MNT_EXPIRE) asked
    const k::u64 id_;
    char source_[64];
    k::u8 source_length_;
    lwkt::spread_count users_, writers_;
    mount_use tables_; // the table's own, while it stands there
    // Of the table.
    std::atomic<mount_point*> point_ = nullptr;
    std::atomic<mount*> next_ = nullptr;
    k::u64 group_ = 0, master_ = 0;
    bool unbindable_ = false;
};

// Somebody has a file open for writing through a mount, which stays writable meanwhile.
class mount_writing {
  public:
    mount_writing() = default;
    // EROFS.
    static k::result<mount_writing> take(mount& m) noexcept;
    mount_writing(mount_writing&& other) noexcept : in_(std::move(other.in_)) {}
    mount_writing& operator=(mount_writing&& other) noexcept {
        in_ = std::move(other.in_);
        return *this;
    }
    ~mount_writing();

  private:
    explicit mount_writing(mount& m) noexcept : in_(m) {}

    mount_use in_;
};

// The following: thread context, may sleep. A `place` to mount on is refused with EINVAL when the mount that it is in
// is not there any more, and with ENOENT when it was removed. ENOMEM changes nothing.

// The first mount, of which all paths begin. Boot, once.
k::result<place> mount_root(file_system_ref fs) noexcept;
// One more of that kind, which no path leads to but those that begin there (tests).
k::result<place> mount_apart(file_system_ref fs) noexcept;
// Mounts a directory of a file system on a place.
k::status mount_on(const place& at, file_system_ref fs, vnode_ref root, k::u32 flags, std::string_view source) noexcept;
// Shows a directory in a second place, with all that is mounted below it if `recursive`. EINVAL: it is unbindable.
k::status bind(const place& what, const place& at, bool recursive) noexcept;
// Moves a mount with all that is mounted on it. EINVAL: it is no mount's root or the first, its parent is shared, or it
// is unbindable and would be; ELOOP: into itself.
k::status move(const place& what, const place& at) noexcept;
// EINVAL: it is no mount's root. `recursive`: all that is mounted below it, too.
k::status propagate(const place& what, propagation how, bool recursive) noexcept;
// Other flags, for what is seen through this mount or, `of_all`, through any of its file system. EINVAL: it is no
// mount's root; EBUSY: it would become read-only, and a file is open for writing; EROFS: it cannot be written.
k::status change_flags(const place& what, k::u32 flags, bool of_all) noexcept;

enum class unmount_how : k::u8 {
    when_unused,
    detach, // now; what is in use lives on for its users. What is mounted on it goes with it
    expire, // if nobody has used it since the last time that this was asked; EAGAIN: it was asked for the first time
};
// Takes a mount away. EBUSY: others are mounted on it, or somebody uses it; EINVAL: it is the first, or is not there
// any more. `use`: the caller's own, which goes.
k::status unmount(mount_use use, unmount_how how) noexcept;
// pivot_root(2): the mount `fresh` becomes the first, and the first one so far is seen at `old_at`. EINVAL: it is no
// mount's root, or the first already, or one of them is shared.
k::status move_root(const place& fresh, const place& old_at) noexcept;
// What is mounted on a directory, seen through a mount; null: nothing. In a critical section.
mount* mounted_at(const mount& in, const directory& at) noexcept;
// Calls visit(mount&, argument) for each, the first one first. Nothing is mounted meanwhile.
void for_each_mount(void (*visit)(mount& m, void* argument), void* argument) noexcept;

inline mount_use::mount_use(mount& m) noexcept : mount_(&m) {
    m.users_.add();
}

} // namespace vfs
