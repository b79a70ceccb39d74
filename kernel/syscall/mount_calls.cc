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
    request_private = 1 << 18,
    request_slave = 1 << 19,
    request_shared = 1 << 20,
    ignored =
        16 | 64 | 1024 | 2048 | 32768 | 1 << 21 | 1 << 23 | 1 << 24 | 1 << 25, // synchronous, no access times, ...
};

// A text that may be missing.
k::status read_optional(path_argument& to, user_text from) {
    return from.at ? to.read(from) : k::status();
}

vfs::place place_of(const found& f) {
    return {f.in.share(), f.node.share()};
}

k::result<k::u64> sys_mount(user_text source, user_text target, user_text type, bits flags, user_text data) {
    if (!proc::current_process().who.privileged()) return k::error::perm;
    const k::u64 asked = (flags.value >> 16 == 0xc0ed ? flags.value & 0xffff : flags.value) & ~k::u64{ignored};
    if (asked & (request_private | request_slave | request_shared)) return 0; // nothing is ever propagated
    if (asked & request_move) return k::error::opnotsupp;
    path_argument from, kind, options;
    TRY(read_optional(from, source));
    TRY(read_optional(kind, type));
    TRY(read_optional(options, data));
    eyes as;
    const found at = TRY(find(as, at_working_directory, target, true));
    if (!at.node->is(vfs::node_type::directory)) return k::error::notdir;
    const auto own = static_cast<k::u32>(asked & own_flags);
    if (asked & request_remount) {
        if (at.called || at.node.get() != &at.in->root()) return k::error::inval;
        if (!(asked & request_bind)) TRY(files::change_file_system(at.in->fs(), options.text()));
        at.in->set_flags(own);
        return 0;
    }
    if (asked & request_bind) {
        const found what = TRY(vfs::find(as.from_here(), from.text()));
        if (!what.node->is(vfs::node_type::directory)) return k::error::notdir;
        TRY(vfs::mount_on(place_of(at), vfs::file_system_ref::to(what.node->fs), what.node.share(), what.in->flags(),
                          from.text()));
        return 0;
    }
    vfs::file_system_ref made = TRY(files::make_file_system(kind.text(), options.text()));
    vfs::vnode_ref root = vfs::vnode_ref::to(made->root());
    TRY(vfs::mount_on(place_of(at), std::move(made), std::move(root), own, from.text()));
    return 0;
}

k::result<k::u64> sys_umount2(user_text target, bits flags) {
    enum : k::u64 { force = 1, detach = 2, expire = 4, no_follow = 8 };
    if (flags.value & ~k::u64{force | detach | no_follow}) return k::error::inval;
    if (!proc::current_process().who.privileged()) return k::error::perm;
    eyes as;
    vfs::mount_use in;
    {
        found at = TRY(find(as, at_working_directory, target, !(flags.value & no_follow)));
        if (at.node.get() != &at.in->root()) return k::error::inval;
        in = std::move(at.in);
    }
    TRY(vfs::unmount(std::move(in), flags.value & detach));
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
    call<sys_mount>(165, "mount", ends, "no moving, no propagation"),
    call<sys_umount2>(166, "umount2"),
};

} // namespace

constinit const std::span<const entry> mount_calls = entries;

} // namespace syscalls
