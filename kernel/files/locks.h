// Advisory locks: of ranges of a file's bytes (fcntl) and of whole files (flock). The two know nothing of each other.
//
// A node's locks are attached to it, under a spinlock of their own. Whose a lock is is an address: the table of
// descriptors for a process's own locks, the open file for those that go with it. Whoever ends such an owner, or closes
// a descriptor, takes its locks away (drop_locks()), which costs a look at a pointer where there never were any.
#pragma once

#include "kernel/lib/result.h"
#include "sys/vfs/vnode.h"

namespace files {

enum class lock_kind : k::u8 { ranges, whole };
enum class lock_mode : k::u8 { none, shared, exclusive };

constexpr k::u64 last_lockable = ~k::u64{0} >> 1;

// What is wanted, or held. `mode` none: to give back.
struct byte_lock {
    lock_mode mode = lock_mode::none;
    k::u64 first = 0, last = last_lockable; // both included
    const void* owner = nullptr;
    int pid = 0;             // of who has made it; -1: it goes with an open file
    bool by_process = false; // its owners may wait for each other in a circle: that is looked for

    bool meets(const byte_lock& other) const noexcept { return first <= other.last && other.first <= last; }
    bool excludes(const byte_lock& other) const noexcept {
        return owner != other.owner && meets(other) &&
               (mode == lock_mode::exclusive || other.mode == lock_mode::exclusive);
    }
};

// Sets, changes or gives back. EAGAIN: another is in the way, and `wait` does not say to sleep until it is not;
// EDEADLK: who is in the way waits for this owner; ENOLCK: too many on this file; ENOMEM, EINTR. Thread context of a
// process.
k::status set_lock(vfs::vnode& of, lock_kind kind, const byte_lock& wanted, bool wait) noexcept;
// A lock that is in the way of this one; its mode is none if there is none.
byte_lock blocking_lock(vfs::vnode& of, const byte_lock& wanted) noexcept;

void drop_locks_slow(vfs::vnode& of, const void* owner) noexcept;
// All of an owner, of both kinds. Thread context.
inline void drop_locks(vfs::vnode& of, const void* owner) noexcept {
    if (of.has_attached(vfs::attachment_kind::locks)) [[unlikely]]
        drop_locks_slow(of, owner);
}

} // namespace files
