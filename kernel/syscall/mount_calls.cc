// Calls that change what is seen where: mount, umount, pivot_root.
#include "kernel/files/file_systems.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/path_arguments.h"

namespace syscalls {

namespace {

using files::eyes;
using vfs::found;

// Linux's flags; the low four are vfs::mount_flag's.
enum mount_request : k::u64 {
    own_flags = 15,
    request_remount = 32,
    request_bind = 4096,
    request_move = 8192,
    request_recursive = 16384,
    silent = 32768,
    request_unbindable = 1 << 17,
    request_private = 1 << 18,
    request_slave = 1 << 19,
    request_shared = 1 << 20,
    kernels_own = 1ull << 31,
};
constexpr k::u64 propagation_requests = request_unbindable | request_private | request_slave | request_shared;

// A text that may be missing.
k::status read_optional(path_argument& to, user_text from) {
    return from.at ? to.read(from) : k::status();
}

vfs::place place_of(const found& f) {
    return {f.in.share(), f.node.share()};
}

// What a mount is made of, as a path.
k::result<found> find_source(eyes& as, const path_argument& source) {
    if (source.text().empty()) return k::error::inval;
    found what = TRY(vfs::find(as.from_here(), source.text()));
    if (!what.node->is(vfs::node_type::directory)) return k::error::notdir; // files are not mounted on files
    return what;
}

k::status propagate(const found& at, k::u64 asked) {
    using vfs::propagation;
    if (asked & ~(propagation_requests | request_recursive | silent)) return k::error::inval;
    propagation how;
    switch (asked & propagation_requests) {
    case request_unbindable: how = propagation::unbindable; break;
    case request_private: how = propagation::alone; break;
    case request_slave: how = propagation::slave; break;
    case request_shared: how = propagation::shared; break;
    default: return k::error::inval;
    }
    return vfs::propagate(place_of(at), how, asked & request_recursive);
}

k::status remount(const found& at, k::u64 asked, std::string_view options) {
    if (at.node.get() != &at.in->root()) return k::error::inval;
    const bool of_all = !(asked & request_bind);
    if (of_all) TRY(files::change_file_system(at.in->fs(), options));
    TRY(vfs::change_flags(place_of(at), static_cast<k::u32>(asked & own_flags), of_all));
    return asked & vfs::mount_read_only ? at.in->fs().sync(nullptr) : k::status();
}

// ENOTBLK: it is no block device.
k::result<found> find_device(eyes& as, std::string_view path) {
    if (path.empty()) return k::error::inval;
    found device = TRY(vfs::find(as.from_here(), path));
    if (!device.node->is(vfs::node_type::block)) return k::error::notblk;
    return device;
}

k::result<vfs::file_system_ref> mount_device(eyes& as, std::string_view source, k::u32 flags,
                                             std::string_view options) {
    const found device = TRY(find_device(as, source));
    return files::mount_disk(device.node->device, options, flags & vfs::mount_read_only);
}

k::status mount_fresh(eyes& as, const found& at, std::string_view kind, std::string_view source, k::u32 flags,
                      std::string_view options) {
    const bool on_a_disk = files::is_on_a_disk(kind);
    if (kind.starts_with("fuseblk")) TRY(find_device(as, source)); // its program reads it
    vfs::file_system_ref made =
        TRY(on_a_disk ? mount_device(as, source, flags, options) : files::make_file_system(kind, source, options));
    // What a program says of its files gives nobody another's rights, nor a device.
    if (made->is_in_program()) flags |= vfs::mount_no_set_id | vfs::mount_no_devices;
    // It says itself that nothing can be changed in it, and perhaps others see it, too.
    if (on_a_disk && made->is_read_only()) flags |= vfs::mount_read_only;
    if (!on_a_disk && made->holders() == 1)
        made->set_read_only(flags & vfs::mount_read_only); // else others see it, too
    vfs::vnode_ref root = vfs::vnode_ref::to(made->root());
    return vfs::mount_on(place_of(at), std::move(made), std::move(root), flags, source);
}

k::result<k::u64> sys_mount(user_text source, user_text target, user_text type, bits flags, user_text data) {
    const k::u64 asked = flags.value >> 16 == 0xc0ed ? flags.value & 0xffff : flags.value;
    path_argument from, kind, options;
    TRY(read_optional(kind, type));
    TRY(read_optional(from, source));
    TRY(read_optional(options, data));
    eyes as;
    const found at = TRY(find(as, at_working_directory, target, true));
    if (!proc::current_process().who.privileged()) return k::error::perm;
    if (asked & kernels_own || !at.in) return k::error::inval;
    k::status done;
    if (asked & request_remount) {
        done = remount(at, asked, options.text());
    } else if (!at.node->is(vfs::node_type::directory)) {
        done = asked & (propagation_requests | request_move) ? k::error::inval : k::error::notdir;
    } else if (asked & request_bind) {
        done = vfs::bind(place_of(TRY(find_source(as, from))), place_of(at), asked & request_recursive);
    } else if (asked & propagation_requests) {
        done = propagate(at, asked);
    } else if (asked & request_move) {
        done = vfs::move(place_of(TRY(find_source(as, from))), place_of(at));
    } else {
        if (!type.at) return k::error::inval;
        done = mount_fresh(as, at, kind.text(), from.text(), static_cast<k::u32>(asked & own_flags), options.text());
    }
    TRY(std::move(done));
    return 0;
}

k::result<k::u64> sys_umount2(user_text target, bits flags) {
    enum : k::u64 { force = 1, detach = 2, expire = 4, no_follow = 8 };
    using vfs::unmount_how;
    if (flags.value & ~k::u64{force | detach | expire | no_follow}) return k::error::inval;
    eyes as;
    vfs::mount_use in;
    {
        found at = TRY(find(as, at_working_directory, target, !(flags.value & no_follow)));
        if (!proc::current_process().who.privileged()) return k::error::perm;
        if (!at.in || at.node.get() != &at.in->root()) return k::error::inval;
        in = std::move(at.in);
    }
    unmount_how how = flags.value & detach ? unmount_how::detach : unmount_how::when_unused;
    if (flags.value & expire) {
        if (flags.value & (force | detach) || in.get() == as.root().in.get()) return k::error::inval;
        how = unmount_how::expire;
    }
    // What is asked elsewhere ends; who has it open keeps what is known.
    if (flags.value & force && in->fs().give_up()) how = unmount_how::detach;
    // What is unmounted is on the disk, and the disk is clean, when this is over.
    const vfs::file_system_ref fs = vfs::file_system_ref::to(in->fs());
    TRY(vfs::unmount(std::move(in), how));
    (void)fs->sync(nullptr); // what cannot be written is told by the log, and by fsync
    return 0;
}

k::result<k::u64> sys_pivot_root(user_text fresh, user_text old) {
    if (!proc::current_process().who.privileged()) return k::error::perm;
    eyes as;
    const found to = TRY(find(as, at_working_directory, fresh, true));
    const found old_at = TRY(find(as, at_working_directory, old, true));
    if (!to.node->is(vfs::node_type::directory) || !old_at.node->is(vfs::node_type::directory)) return k::error::notdir;
    const vfs::place before = as.root().share();
    TRY(vfs::move_root(place_of(to), place_of(old_at)));
    TRY(proc::move_places(before, place_of(to)));
    return 0;
}

constexpr entry entries[] = {
    call<sys_pivot_root>(155, "pivot_root"),
    call<sys_mount>(165, "mount", ends, "directories only; access times are always relative"),
    call<sys_umount2>(166, "umount2"),
};

} // namespace

constinit const std::span<const entry> mount_calls = entries;

} // namespace syscalls
