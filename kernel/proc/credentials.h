// Who a process is: user and group ids, as credentials(7) has them. They belong to the process (Linux keeps a set for
// each thread and lets the libc make them equal). User 0 may do everything: there are no capabilities.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"

#include <span>

namespace proc {

constexpr k::u32 most_groups = 65536;

// Supplementary groups, sorted; shared by processes and never changed.
class group_list final : public k::counted<group_list> {
  public:
    static k::result<k::ref<group_list>> create(std::span<const k::u32> groups) noexcept; // ENOMEM
    void last_holder_left() noexcept;

    std::span<const k::u32> groups() const noexcept { return {reinterpret_cast<const k::u32*>(this + 1), count_}; }
    bool contains(k::u32 group) const noexcept;

    explicit group_list(k::u32 count) noexcept : count_(count) {}

  private:
    k::u32 count_; // the ids follow
};

struct identity {
    k::u32 real, effective, saved, for_files;
};

struct credentials {
    identity user{}, group{};
    k::ref<group_list> more_groups; // null: none

    bool privileged() const noexcept { return user.effective == 0; }
    credentials share() const noexcept { return {user, group, more_groups.share()}; }
    // Is the group the effective one or a supplementary one?
    bool in_group(k::u32 id) const noexcept {
        return group.effective == id || (more_groups && more_groups->contains(id));
    }
};

// A process's credentials: its own threads change them, all may look.
class guarded_credentials {
  public:
    credentials read() const noexcept {
        lwkt::spin_guard guard(lock_);
        return value_.share();
    }
    identity user() const noexcept {
        lwkt::spin_guard guard(lock_);
        return value_.user;
    }
    identity group() const noexcept {
        lwkt::spin_guard guard(lock_);
        return value_.group;
    }
    bool privileged() const noexcept { return user().effective == 0; }
    void replace(credentials with) noexcept {
        lwkt::spin_guard guard(lock_);
        std::swap(value_, with); // what was there goes after the lock is let go
    }
    // Calls change(credentials&) -> k::status in one step; it must not block.
    template <class Change> k::status change(Change how) noexcept {
        lwkt::spin_guard guard(lock_);
        return how(value_);
    }

  private:
    mutable lwkt::spinlock lock_;
    credentials value_ GUARDED_BY(lock_);
};

} // namespace proc
