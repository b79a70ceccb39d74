// inotify: telling what happens to files and directories.
#include "kernel/files/watch.h"
#include "kernel/files/watch_file.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/path_arguments.h"

namespace syscalls {

namespace {

k::result<k::u64> sys_inotify_init1(bits flags) {
    if (flags.value & ~k::u64{files::open_nonblock | files::open_cloexec}) return k::error::inval;
    auto made = TRY(files::make_watch_file(static_cast<k::u32>(flags.value) & files::open_nonblock));
    return static_cast<k::u64>(TRY(files::give_to_caller(std::move(made), flags.value & files::open_cloexec)));
}

k::result<k::u64> sys_inotify_init() {
    return sys_inotify_init1({0});
}

k::result<k::u64> sys_inotify_add_watch(fd of, user_text path, bits flags) {
    constexpr k::u32 known = files::all_watch_events | files::watch_directories_only | files::watch_no_follow |
                             files::watch_not_unlinked | files::watch_only_fresh | files::watch_add_bits |
                             files::watch_once | files::watch_unmounted | files::watch_overflow | files::watch_ended |
                             vfs::event_of_directory; // the last four ask for nothing
    const auto mask = static_cast<k::u32>(flags.value);
    if (!(mask & known)) return k::error::inval;
    if ((mask & files::watch_add_bits) && (mask & files::watch_only_fresh)) return k::error::inval;
    file_use f = TRY(files::callers_file(of.number));
    if (f->kind() != files::file_kind::watches) return k::error::inval;
    files::eyes as;
    const vfs::found what = TRY(find(as, at_working_directory, path, !(mask & files::watch_no_follow)));
    if ((mask & files::watch_directories_only) && !what.node->is(vfs::node_type::directory)) return k::error::notdir;
    TRY(vfs::check(*what.node, as.who(), vfs::may_read));
    return static_cast<k::u64>(TRY(files::add_watch(*f, *what.node, mask)));
}

k::result<k::u64> sys_inotify_rm_watch(fd of, int number) {
    file_use f = TRY(files::callers_file(of.number));
    TRY(files::remove_watch(*f, number));
    return 0;
}

constexpr entry entries[] = {
    call<sys_inotify_init>(253, "inotify_init"),
    call<sys_inotify_add_watch>(254, "inotify_add_watch"),
    call<sys_inotify_rm_watch>(255, "inotify_rm_watch"),
    call<sys_inotify_init1>(294, "inotify_init1"),
};

} // namespace

constinit const std::span<const entry> watch_calls = entries;

} // namespace syscalls
