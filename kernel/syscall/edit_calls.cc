// Calls that make, rename and remove names, and those that change what stat(2) says.
#include "kernel/proc/clock.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/path_arguments.h"

namespace syscalls {

namespace {

using files::eyes;
using vfs::found;
using vfs::node_type;
using vfs::spot;
using vm::user_pointer;

// --- Making

k::result<k::u64> make_at(int directory, user_text path, node_type type, k::u32 mode, k::u64 device = 0) {
    eyes as;
    const spot where = TRY(find_spot(as, directory, path));
    TRY(vfs::make(as.from_here(), where,
                  {.type = type,
                   .mode = files::without_umask(mode),
                   .uid = as.who().uid,
                   .gid = as.who().gid,
                   .device = device}));
    return 0;
}

k::result<k::u64> sys_mkdir(user_text path, k::u32 mode) {
    return make_at(at_working_directory, path, node_type::directory, mode & 01777);
}

k::result<k::u64> sys_mkdirat(fd directory, user_text path, k::u32 mode) {
    return make_at(directory.number, path, node_type::directory, mode & 01777);
}

k::result<k::u64> make_special(int directory, user_text path, k::u32 mode, k::u64 device) {
    constexpr k::u32 type_mask = 0170000;
    switch (const k::u32 type = mode & type_mask) {
    case 0: return make_at(directory, path, node_type::regular, mode);
    case static_cast<k::u32>(node_type::regular):
    case static_cast<k::u32>(node_type::fifo):
    case static_cast<k::u32>(node_type::socket): return make_at(directory, path, static_cast<node_type>(type), mode);
    case static_cast<k::u32>(node_type::character):
    case static_cast<k::u32>(node_type::block):
        if (!proc::current_process().who.privileged()) return k::error::perm;
        return make_at(directory, path, static_cast<node_type>(type), mode, device);
    case static_cast<k::u32>(node_type::directory): return k::error::perm;
    default: return k::error::inval;
    }
}

k::result<k::u64> sys_mknod(user_text path, k::u32 mode, k::u64 device) {
    return make_special(at_working_directory, path, mode, device);
}

k::result<k::u64> sys_mknodat(fd directory, user_text path, k::u32 mode, k::u64 device) {
    return make_special(directory.number, path, mode, device);
}

k::result<k::u64> symlink(user_text text, int directory, user_text path) {
    path_argument target;
    TRY(target.read(text));
    if (target.text().empty()) return k::error::noent;
    eyes as;
    const spot where = TRY(find_spot(as, directory, path));
    TRY(vfs::make(as.from_here(), where,
                  {.type = node_type::link, .mode = 0777, .uid = as.who().uid, .gid = as.who().gid}, target.text()));
    return 0;
}

k::result<k::u64> sys_symlink(user_text text, user_text path) {
    return symlink(text, at_working_directory, path);
}

k::result<k::u64> sys_symlinkat(user_text text, fd directory, user_text path) {
    return symlink(text, directory.number, path);
}

k::result<k::u64> link(int from_directory, user_text from, int to_directory, user_text to, k::u64 flags) {
    if (flags & ~k::u64{at_follow | at_empty_path}) return k::error::inval;
    eyes as;
    const found what = TRY(find(as, from_directory, from, flags & at_follow, flags & at_empty_path));
    TRY(vfs::link(as.from_here(), what, TRY(find_spot(as, to_directory, to))));
    return 0;
}

k::result<k::u64> sys_link(user_text from, user_text to) {
    return link(at_working_directory, from, at_working_directory, to, 0);
}

k::result<k::u64> sys_linkat(fd from_directory, user_text from, fd to_directory, user_text to, bits flags) {
    return link(from_directory.number, from, to_directory.number, to, flags.value);
}

// --- Removing and renaming

k::result<k::u64> remove(int directory, user_text path, bool of_directory) {
    eyes as;
    const spot where = TRY(find_spot(as, directory, path));
    TRY(vfs::remove(as.from_here(), where, of_directory));
    return 0;
}

k::result<k::u64> sys_unlink(user_text path) {
    return remove(at_working_directory, path, false);
}

k::result<k::u64> sys_rmdir(user_text path) {
    return remove(at_working_directory, path, true);
}

k::result<k::u64> sys_unlinkat(fd directory, user_text path, bits flags) {
    if (flags.value & ~k::u64{at_remove_directory}) return k::error::inval;
    return remove(directory.number, path, flags.value & at_remove_directory);
}

k::result<k::u64> rename(int from_directory, user_text from, int to_directory, user_text to, k::u64 flags) {
    if (flags & ~k::u64{vfs::rename_no_replace | vfs::rename_exchange}) return k::error::inval;
    if (flags == (vfs::rename_no_replace | vfs::rename_exchange)) return k::error::inval;
    eyes as;
    const spot old_place = TRY(find_spot(as, from_directory, from));
    const spot new_place = TRY(find_spot(as, to_directory, to));
    TRY(vfs::rename(as.from_here(), old_place, new_place, static_cast<unsigned>(flags)));
    return 0;
}

k::result<k::u64> sys_rename(user_text from, user_text to) {
    return rename(at_working_directory, from, at_working_directory, to, 0);
}

k::result<k::u64> sys_renameat(fd from_directory, user_text from, fd to_directory, user_text to) {
    return rename(from_directory.number, from, to_directory.number, to, 0);
}

k::result<k::u64> sys_renameat2(fd from_directory, user_text from, fd to_directory, user_text to, bits flags) {
    return rename(from_directory.number, from, to_directory.number, to, flags.value);
}

// --- Attributes

// The node of an open file. EBADF: it was opened as a path only; EINVAL, or what `otherwise` says: it has none.
k::result<found> node_of(fd of, k::error otherwise) {
    file_use f = TRY(files::callers_file(of.number));
    if (f->flags() & files::open_path) return k::error::badf;
    const found& o = f->origin();
    if (!o) return otherwise;
    return found{o.in.share(), o.node.share(), o.called.share()};
}

k::result<k::u64> change_mode(int directory, user_text path, k::u32 mode, k::u64 flags) {
    eyes as;
    const found what = TRY(find(as, directory, path, !(flags & at_no_follow), flags & at_empty_path));
    if (what.node->is(node_type::link)) return k::error::opnotsupp;
    TRY(vfs::change_mode(what, as.who(), mode));
    return 0;
}

k::result<k::u64> sys_chmod(user_text path, k::u32 mode) {
    return change_mode(at_working_directory, path, mode, 0);
}

k::result<k::u64> sys_fchmodat(fd directory, user_text path, k::u32 mode) {
    return change_mode(directory.number, path, mode, 0);
}

k::result<k::u64> sys_fchmodat2(fd directory, user_text path, k::u32 mode, bits flags) {
    if (flags.value & ~k::u64{at_no_follow | at_empty_path}) return k::error::inval;
    return change_mode(directory.number, path, mode, flags.value);
}

k::result<k::u64> sys_fchmod(fd of, k::u32 mode) {
    const found what = TRY(node_of(of, k::error::inval));
    eyes as;
    TRY(vfs::change_mode(what, as.who(), mode));
    return 0;
}

k::result<k::u64> change_owner(int directory, user_text path, k::u32 uid, k::u32 gid, k::u64 flags) {
    eyes as;
    const found what = TRY(find(as, directory, path, !(flags & at_no_follow), flags & at_empty_path));
    TRY(vfs::change_owner(what, as.who(), uid, gid));
    return 0;
}

k::result<k::u64> sys_chown(user_text path, k::u32 uid, k::u32 gid) {
    return change_owner(at_working_directory, path, uid, gid, 0);
}

k::result<k::u64> sys_lchown(user_text path, k::u32 uid, k::u32 gid) {
    return change_owner(at_working_directory, path, uid, gid, at_no_follow);
}

k::result<k::u64> sys_fchownat(fd directory, user_text path, k::u32 uid, k::u32 gid, bits flags) {
    if (flags.value & ~k::u64{at_no_follow | at_empty_path}) return k::error::inval;
    return change_owner(directory.number, path, uid, gid, flags.value);
}

k::result<k::u64> sys_fchown(fd of, k::u32 uid, k::u32 gid) {
    const found what = TRY(node_of(of, k::error::inval));
    eyes as;
    TRY(vfs::change_owner(what, as.who(), uid, gid));
    return 0;
}

k::result<k::u64> sys_truncate(user_text path, k::i64 bytes) {
    if (bytes < 0) return k::error::inval;
    eyes as;
    const found what = TRY(find(as, at_working_directory, path, true));
    TRY(vfs::truncate(what, as.who(), static_cast<k::u64>(bytes)));
    return 0;
}

// --- Times

using vfs::new_time;

k::result<k::u64> set_times(int directory, user_text path, k::u64 flags, new_time accessed, new_time modified) {
    eyes as;
    // No path at all is futimens(), which needs a descriptor.
    if (!path.at && directory == at_working_directory) return k::error::fault;
    const found what = path.at ? TRY(find(as, directory, path, !(flags & at_no_follow), flags & at_empty_path))
                               : TRY(node_of({directory}, k::error::inval));
    TRY(vfs::change_times(what, as.who(), accessed, modified));
    return 0;
}

// Seconds before 1970 become 0: nodes do not know them.
new_time given(k::i64 seconds, k::u64 ns) {
    const k::u64 whole = seconds < 0 ? 0 : std::min(static_cast<k::u64>(seconds), ~k::u64{0} / ktime::second - 1);
    return {new_time::kind::given, whole * ktime::second + ns};
}

constexpr new_time right_now{new_time::kind::now};

k::result<new_time> time_of(const proc::time_spec& t) {
    constexpr k::i64 utime_now = 0x3fff'ffff, utime_omit = 0x3fff'fffe;
    if (t.nanoseconds == utime_now) return right_now;
    if (t.nanoseconds == utime_omit) return new_time{};
    if (t.nanoseconds < 0 || t.nanoseconds >= k::i64{1'000'000'000}) return k::error::inval;
    return given(t.seconds, static_cast<k::u64>(t.nanoseconds));
}

k::result<k::u64> sys_utimensat(fd directory, user_text path, user_pointer<const proc::time_spec> times, bits flags) {
    if (flags.value & ~k::u64{at_no_follow | at_empty_path}) return k::error::inval;
    new_time both[2] = {right_now, right_now};
    if (times) {
        proc::time_spec raw[2];
        TRY(times.read_array(callers_memory(), raw));
        both[0] = TRY(time_of(raw[0]));
        both[1] = TRY(time_of(raw[1]));
    }
    return set_times(directory.number, path, flags.value, both[0], both[1]);
}

k::result<k::u64> utimes(int directory, user_text path, user_pointer<const proc::time_value> times) {
    if (!times) return set_times(directory, path, 0, right_now, right_now);
    proc::time_value raw[2];
    TRY(times.read_array(callers_memory(), raw));
    for (const auto& t : raw)
        if (t.microseconds < 0 || t.microseconds >= k::i64{1'000'000}) return k::error::inval;
    const auto convert = [](const proc::time_value& t) {
        return given(t.seconds, static_cast<k::u64>(t.microseconds) * 1000);
    };
    return set_times(directory, path, 0, convert(raw[0]), convert(raw[1]));
}

k::result<k::u64> sys_utimes(user_text path, user_pointer<const proc::time_value> times) {
    return utimes(at_working_directory, path, times);
}

k::result<k::u64> sys_futimesat(fd directory, user_text path, user_pointer<const proc::time_value> times) {
    return utimes(directory.number, path, times);
}

struct utimbuf {
    k::i64 accessed, modified;
};

k::result<k::u64> sys_utime(user_text path, user_pointer<const utimbuf> times) {
    if (!times) return set_times(at_working_directory, path, 0, right_now, right_now);
    const utimbuf raw = TRY(times.read(callers_memory()));
    return set_times(at_working_directory, path, 0, given(raw.accessed, 0), given(raw.modified, 0));
}

constexpr entry entries[] = {
    call<sys_truncate>(76, "truncate"),
    call<sys_rename>(82, "rename"),
    call<sys_mkdir>(83, "mkdir"),
    call<sys_rmdir>(84, "rmdir"),
    call<sys_link>(86, "link"),
    call<sys_unlink>(87, "unlink"),
    call<sys_symlink>(88, "symlink"),
    call<sys_chmod>(90, "chmod"),
    call<sys_fchmod>(91, "fchmod"),
    call<sys_chown>(92, "chown"),
    call<sys_fchown>(93, "fchown"),
    call<sys_lchown>(94, "lchown"),
    call<sys_utime>(132, "utime"),
    call<sys_mknod>(133, "mknod"),
    call<sys_utimes>(235, "utimes"),
    call<sys_mkdirat>(258, "mkdirat"),
    call<sys_mknodat>(259, "mknodat"),
    call<sys_fchownat>(260, "fchownat"),
    call<sys_futimesat>(261, "futimesat"),
    call<sys_unlinkat>(263, "unlinkat"),
    call<sys_renameat>(264, "renameat"),
    call<sys_linkat>(265, "linkat"),
    call<sys_symlinkat>(266, "symlinkat"),
    call<sys_fchmodat>(268, "fchmodat"),
    call<sys_utimensat>(280, "utimensat"),
    call<sys_renameat2>(316, "renameat2"),
    call<sys_fchmodat2>(452, "fchmodat2"),
};

} // namespace

constinit const std::span<const entry> edit_calls = entries;

} // namespace syscalls
