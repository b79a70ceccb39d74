// Who may do what: the permission bits of a node against whom an operation is done for.
#pragma once

#include "sys/vfs/vnode.h"

#include <span>

namespace vfs {

// For whom: a user, a group and more groups (sorted). User 0 may do everything, but run what nobody may run.
struct subject {
    k::u32 uid, gid;
    std::span<const k::u32> groups;

    bool privileged() const noexcept { return uid == 0; }
    bool in_group(k::u32 group) const noexcept;
    bool owns(const vnode& node) const noexcept {
        return privileged() || uid == node.uid.load(std::memory_order_relaxed);
    }
};

enum wish : unsigned { may_execute = 1, may_write = 2, may_read = 4 };

// EACCES. Any context.
k::status check(const vnode& node, const subject& who, unsigned wishes) noexcept;
// The same by what its program says now, if what it said is too old. Thread context, may sleep; and its errors.
k::status check_afresh(vnode& node, const subject& who, unsigned wishes) noexcept;
// The same, and where the file system leaves it to its program, that is asked. Thread context, may sleep.
k::status check_asking(vnode& node, const subject& who, unsigned wishes) noexcept;
// May the name of `what` be taken out of `in`? EACCES; EPERM: the directory is sticky and neither is the subject's.
k::status check_removal(const vnode& in, const vnode& what, const subject& who) noexcept;

} // namespace vfs
