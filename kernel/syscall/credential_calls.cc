// System calls about user and group ids. What privilege is, Linux's rules say; here it is user 0 (credentials.h).
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/syscall/calls.h"

namespace syscalls {

namespace {

using proc::credentials;
using proc::current_process;
using proc::current_space;
using proc::identity;
using vm::user_pointer;

constexpr k::u32 as_it_is = ~k::u32{0};

// The rules are the same for users and groups.
using identity_of = identity credentials::*;

k::status set_id(identity& i, k::u32 to, bool privileged) {
    if (privileged)
        i = {to, to, to, to};
    else if (to == i.real || to == i.saved)
        i.effective = i.for_files = to;
    else
        return k::error::perm;
    return {};
}

k::status set_real_effective(identity& i, k::u32 real, k::u32 effective, bool privileged) {
    const identity old = i;
    const bool real_good = real == as_it_is || real == old.real || real == old.effective;
    const bool effective_good =
        effective == as_it_is || effective == old.real || effective == old.effective || effective == old.saved;
    if (!privileged && (!real_good || !effective_good)) return k::error::perm;
    if (real != as_it_is) i.real = real;
    if (effective != as_it_is) i.effective = effective;
    if (real != as_it_is || (effective != as_it_is && effective != old.real)) i.saved = i.effective;
    i.for_files = i.effective;
    return {};
}

k::status set_three(identity& i, k::u32 real, k::u32 effective, k::u32 saved, bool privileged) {
    const identity old = i;
    auto good = [&](k::u32 id) { return id == as_it_is || id == old.real || id == old.effective || id == old.saved; };
    if (!privileged && !(good(real) && good(effective) && good(saved))) return k::error::perm;
    if (real != as_it_is) i.real = real;
    if (effective != as_it_is) i.effective = effective;
    if (saved != as_it_is) i.saved = saved;
    i.for_files = i.effective;
    return {};
}

k::u32 set_for_files(identity& i, k::u32 to, bool privileged) {
    const k::u32 old = i.for_files;
    if (privileged || to == i.real || to == i.effective || to == i.saved) i.for_files = to;
    return old;
}

// Changes the caller's ids by how(identity&, privileged); a new real user gets its threads on the account.
template <class How> k::result<k::u64> change(identity_of which, How how) {
    proc::process& p = current_process();
    TRY(p.who.change([&](credentials& c) { return how(c.*which, c.privileged()); }));
    // Without memory for another account the threads stay on the old one.
    if (which == &credentials::user) (void)proc::change_account(p, p.who.user().real);
    return 0;
}

k::result<k::u64> write_three(const identity& i, user_pointer<k::u32> real, user_pointer<k::u32> effective,
                              user_pointer<k::u32> saved) {
    TRY(real.write(current_space(), i.real));
    TRY(effective.write(current_space(), i.effective));
    TRY(saved.write(current_space(), i.saved));
    return 0;
}

k::result<k::u64> sys_getuid() {
    return current_process().who.user().real;
}
k::result<k::u64> sys_getgid() {
    return current_process().who.group().real;
}
k::result<k::u64> sys_geteuid() {
    return current_process().who.user().effective;
}
k::result<k::u64> sys_getegid() {
    return current_process().who.group().effective;
}

template <identity_of which> k::result<k::u64> sys_set(k::u32 to) {
    if (to == as_it_is) return k::error::inval;
    return change(which, [=](identity& i, bool privileged) { return set_id(i, to, privileged); });
}

template <identity_of which> k::result<k::u64> sys_setre(k::u32 real, k::u32 effective) {
    return change(which,
                  [=](identity& i, bool privileged) { return set_real_effective(i, real, effective, privileged); });
}

template <identity_of which> k::result<k::u64> sys_setres(k::u32 real, k::u32 effective, k::u32 saved) {
    return change(which,
                  [=](identity& i, bool privileged) { return set_three(i, real, effective, saved, privileged); });
}

template <identity_of which> k::result<k::u64> sys_setfs(k::u32 to) {
    k::u32 old = 0;
    TRY(change(which, [&](identity& i, bool privileged) {
        old = set_for_files(i, to, privileged);
        return k::status();
    }));
    return old;
}

k::result<k::u64> sys_getresuid(user_pointer<k::u32> real, user_pointer<k::u32> effective, user_pointer<k::u32> saved) {
    return write_three(current_process().who.user(), real, effective, saved);
}
k::result<k::u64> sys_getresgid(user_pointer<k::u32> real, user_pointer<k::u32> effective, user_pointer<k::u32> saved) {
    return write_three(current_process().who.group(), real, effective, saved);
}

k::result<k::u64> sys_getgroups(int room, user_pointer<k::u32> to) {
    const credentials c = current_process().who.read();
    const std::span<const k::u32> groups = c.more_groups ? c.more_groups->groups() : std::span<const k::u32>();
    if (room < 0 || (room && static_cast<std::size_t>(room) < groups.size())) return k::error::inval;
    if (room) TRY(to.write_array(current_space(), groups));
    return groups.size();
}

k::result<k::u64> sys_setgroups(int count, user_pointer<const k::u32> from) {
    proc::process& p = current_process();
    if (!p.who.privileged()) return k::error::perm;
    if (count < 0 || static_cast<k::u32>(count) > proc::most_groups) return k::error::inval;
    k::ref<proc::group_list> list;
    if (count) {
        const auto bytes = static_cast<std::size_t>(count) * sizeof(k::u32);
        auto* ids = static_cast<k::u32*>(mem::allocate(bytes));
        if (!ids) return k::error::nomem;
        const std::span<k::u32> all{ids, static_cast<std::size_t>(count)};
        auto read = from.read_array(current_space(), all);
        auto made = read ? proc::group_list::create(all) : k::result<k::ref<proc::group_list>>(read.error());
        mem::free(ids);
        list = TRY(std::move(made));
    }
    TRY(p.who.change([&](credentials& c) {
        std::swap(c.more_groups, list); // the old one goes when no lock is held any more
        return k::status();
    }));
    return 0;
}

constexpr std::string_view of_process = "of the whole process, not of a thread";

constexpr entry entries[] = {
    call<sys_getuid>(102, "getuid"),
    call<sys_getgid>(104, "getgid"),
    call<sys_set<&credentials::user>>(105, "setuid", ends, of_process),
    call<sys_set<&credentials::group>>(106, "setgid", ends, of_process),
    call<sys_geteuid>(107, "geteuid"),
    call<sys_getegid>(108, "getegid"),
    call<sys_setre<&credentials::user>>(113, "setreuid", ends, of_process),
    call<sys_setre<&credentials::group>>(114, "setregid", ends, of_process),
    call<sys_getgroups>(115, "getgroups"),
    call<sys_setgroups>(116, "setgroups", ends, of_process),
    call<sys_setres<&credentials::user>>(117, "setresuid", ends, of_process),
    call<sys_getresuid>(118, "getresuid"),
    call<sys_setres<&credentials::group>>(119, "setresgid", ends, of_process),
    call<sys_getresgid>(120, "getresgid"),
    call<sys_setfs<&credentials::user>>(122, "setfsuid", ends, of_process),
    call<sys_setfs<&credentials::group>>(123, "setfsgid", ends, of_process),
};

} // namespace

constinit const std::span<const entry> credential_calls = entries;

} // namespace syscalls
