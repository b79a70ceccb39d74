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
    ~mount_use();
    mount_use share() const noexcept { return mount_ ? mount_use(*mount_) : mount_use(); }

    explicit operator bool() const { return mount_ != nullptr; }
    mount* get() const { return mount_; }
    mount& operator*() const { return *mount_; }
    mount* operator->() const { return mount_; }

  private:
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

class mount : lwkt::retirable {
  public:
    file_system& fs() const noexcept { return *fs_; }
    directory& root() const noexcept { return static_cast<directory&>(*root_); }
    k::u32 flags() const noexcept { return flags_.load(std::memory_order_relaxed); }
    bool is_read_only() const noexcept { return flags() & mount_read_only; }
    void set_flags(k::u32 to) noexcept { flags_.store(to, std::memory_order_relaxed); }
    // What was given as the source of the mount, for /proc/mounts.
    std::string_view source() const noexcept { return {source_, source_length_}; }
    k::u64 id() const noexcept { return id_; }

    // In a critical section. Where it stands; null: nowhere (the root, or unmounted).
    mount* parent() const noexcept { return parent_.load(std::memory_order_acquire); }
    directory& covered() const noexcept { return static_cast<directory&>(*covered_); }

    mount(file_system_ref fs, vnode_ref root, k::u32 flags,
          std::string_view source) noexcept; // for the functions below

  private:
    friend class mount_use;
    friend class mount_table;
    friend k::status unmount(mount_use use, bool detached) noexcept;
    friend k::status move_root(const place& fresh, const place& old_at) noexcept;

    const file_system_ref fs_;
    const vnode_ref root_;
    std::atomic<k::u32> flags_;
    const k::u64 id_;
    char source_[64];
    k::u8 source_length_;
    lwkt::spread_count users_;
    mount_use tables_; // the table's own, while it stands there
    // Of the table.
    std::atomic<mount*> parent_ = nullptr;
    vnode_ref covered_; // set once, before it is seen
    std::atomic<mount*> next_ = nullptr;
};

// The first mount, of which all paths begin. Boot, once. ENOMEM.
k::result<place> mount_root(file_system_ref fs) noexcept;
// One more of that kind, which no path leads to but those that begin there (tests). ENOMEM.
k::result<place> mount_apart(file_system_ref fs) noexcept;
// Mounts a directory of a file system on a place. ENOENT: that was removed; EINVAL: the mount that it is in is not
// there any more; ENOMEM.
k::status mount_on(const place& at, file_system_ref fs, vnode_ref root, k::u32 flags, std::string_view source) noexcept;
// Takes a mount away. EBUSY: others are mounted on it, or somebody uses it and it is not to be `detached` anyhow;
// EINVAL: it is the first, or is not there any more. `use`: the caller's own, which goes.
k::status unmount(mount_use use, bool detached) noexcept;
// pivot_root(2): the mount `fresh` becomes the first, and the first one so far is seen at `old_at`. EINVAL: it is no
// mount's root, or the first already; ENOENT.
k::status move_root(const place& fresh, const place& old_at) noexcept;
// What is mounted on a directory, seen through a mount; null: nothing. In a critical section.
mount* mounted_at(const mount& in, const directory& at) noexcept;
// Calls visit(mount&, argument) for each, the first one first. Nothing is mounted meanwhile. May sleep.
void for_each_mount(void (*visit)(mount& m, void* argument), void* argument) noexcept;

inline mount_use::mount_use(mount& m) noexcept : mount_(&m) {
    m.users_.add();
}

} // namespace vfs
