// Calls that find files by their paths: to open them, to look at them, to be somewhere.
#include "kernel/files/magic_link.h"
#include "kernel/files/stored_file.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/path_arguments.h"

namespace syscalls {

namespace {

using files::eyes;
using files::file_ref;
using files::stat_record;
using vfs::found;
using vm::user_pointer;

// --- Opening

k::result<k::u64> open(int directory, user_text path, k::u32 flags, k::u32 mode) {
    path_argument argument;
    TRY(argument.read(path));
    file_ref opened = TRY(files::open_path_at(directory, argument.text(), flags, mode));
    return static_cast<k::u64>(TRY(files::give_to_caller(std::move(opened), flags & files::open_cloexec)));
}

k::result<k::u64> sys_open(user_text path, bits flags, k::u32 mode) {
    return open(at_working_directory, path, static_cast<k::u32>(flags.value), mode);
}

k::result<k::u64> sys_openat(fd directory, user_text path, bits flags, k::u32 mode) {
    return open(directory.number, path, static_cast<k::u32>(flags.value), mode);
}

k::result<k::u64> sys_creat(user_text path, k::u32 mode) {
    return open(at_working_directory, path, files::open_create | files::open_write_only | files::open_truncate, mode);
}

// --- Looking

// Of what has no node, is to be followed out of /proc, or is named by a descriptor alone.
k::status stat_slowly(files::eyes& as, int directory, std::string_view path, k::u64 flags, stat_record& out) {
    const bool follow = !(flags & at_no_follow);
    auto what = files::find_file(as, directory, path, follow ? vfs::last_link::follow : vfs::last_link::keep,
                                 flags & at_empty_path);
    if (what) {
        // /proc/self/fd/1 of a pipe: followed as far as there are nodes.
        if (what->node->is_magic() && follow)
            return TRY(static_cast<files::magic_link&>(*what->node).target())->stat(out);
        if (what->node->is_told_old()) TRY(what->node->fs.ask_again(*what->node));
        files::describe(*what->node, out);
        return {};
    }
    if (what.error() != k::error::opnotsupp) return what.error();
    file_use f = TRY(files::callers_file(directory));
    return f->stat(out);
}

k::status stat_at(int directory, user_text path, k::u64 flags, stat_record& out) {
    path_argument argument;
    TRY(argument.read(path));
    files::eyes as;
    if (argument.text().empty()) return stat_slowly(as, directory, argument.text(), flags, out);
    const bool follow = !(flags & at_no_follow);
    bool seen = false;
    const k::status looked =
        vfs::look_at(TRY(as.from(directory, argument.text())), argument.text(),
                     follow ? vfs::last_link::follow : vfs::last_link::keep, [&](const vfs::vnode& n) {
                         if ((n.is_magic() && follow) || n.is_told_old()) return;
                         files::describe(n, out);
                         seen = true;
                     });
    if (seen || !looked) return looked;
    return stat_slowly(as, directory, argument.text(), flags, out);
}

k::result<k::u64> stat_to(int directory, user_text path, k::u64 flags, user_pointer<stat_record> to) {
    stat_record record;
    TRY(stat_at(directory, path, flags, record));
    TRY(to.write(callers_memory(), record));
    return 0;
}

k::result<k::u64> sys_stat(user_text path, user_pointer<stat_record> to) {
    return stat_to(at_working_directory, path, 0, to);
}

k::result<k::u64> sys_lstat(user_text path, user_pointer<stat_record> to) {
    return stat_to(at_working_directory, path, at_no_follow, to);
}

k::result<k::u64> sys_fstat(fd of, user_pointer<stat_record> to) {
    file_use f = TRY(files::callers_file(of.number));
    stat_record record;
    TRY(f->stat(record));
    TRY(to.write(callers_memory(), record));
    return 0;
}

constexpr k::u64 at_statx_sync = 0x6000;
constexpr k::u64 stat_flags = at_no_follow | at_empty_path | at_no_automount;

k::result<k::u64> sys_newfstatat(fd directory, user_text path, user_pointer<stat_record> to, bits flags) {
    if (flags.value & ~stat_flags) return k::error::inval;
    return stat_to(directory.number, path, flags.value, to);
}

struct statx_time {
    k::i64 seconds;
    k::u32 nanoseconds, pad;
};

// struct statx.
struct statx_record {
    k::u32 mask, block_size;
    k::u64 attributes;
    k::u32 links, uid, gid;
    k::u16 mode, pad0;
    k::u64 inode, size, blocks, attributes_mask;
    statx_time access, birth, change, modify;
    k::u32 special_major, special_minor, device_major, device_minor;
    k::u64 mount;
    k::u64 unused[13];
};
static_assert(sizeof(statx_record) == 256);

k::u32 major_of(k::u64 device) {
    return static_cast<k::u32>(device >> 8 & 0xfff);
}
k::u32 minor_of(k::u64 device) {
    return static_cast<k::u32>((device & 0xff) | (device >> 12 & 0xfff00));
}

statx_record statx_of(const stat_record& from) {
    constexpr k::u32 basic = 0x7ff; // all but the time of birth
    statx_record to{};
    to.mask = basic;
    to.block_size = static_cast<k::u32>(from.block_size);
    to.links = static_cast<k::u32>(from.links);
    to.uid = from.uid;
    to.gid = from.gid;
    to.mode = static_cast<k::u16>(from.mode);
    to.inode = from.inode;
    to.size = static_cast<k::u64>(from.size);
    to.blocks = static_cast<k::u64>(from.blocks);
    to.access = {from.access_s, static_cast<k::u32>(from.access_ns), 0};
    to.modify = {from.modify_s, static_cast<k::u32>(from.modify_ns), 0};
    to.change = {from.change_s, static_cast<k::u32>(from.change_ns), 0};
    to.special_major = major_of(from.device_number);
    to.special_minor = minor_of(from.device_number);
    to.device_major = major_of(from.device);
    to.device_minor = minor_of(from.device);
    return to;
}

k::result<k::u64> sys_statx(fd directory, user_text path, bits flags, bits, user_pointer<statx_record> to) {
    if (flags.value & ~(stat_flags | at_statx_sync)) return k::error::inval;
    stat_record record;
    TRY(stat_at(directory.number, path, flags.value, record));
    TRY(to.write(callers_memory(), statx_of(record)));
    return 0;
}

k::result<k::u64> access_at(int directory, user_text path, int wanted, k::u64 flags) {
    if (wanted & ~7) return k::error::inval;
    const bool real = !(flags & at_effective);
    eyes as(real);
    const found what = TRY(find(as, directory, path, !(flags & at_no_follow), flags & at_empty_path));
    const bool may_fail_read_only = (wanted & vfs::may_write) && what.in && what.in->is_read_only();
    if (may_fail_read_only && !what.node->is(vfs::node_type::character)) return k::error::rofs;
    TRY(vfs::check_asking(*what.node, as.who(), static_cast<unsigned>(wanted)));
    return 0;
}

k::result<k::u64> sys_access(user_text path, int wanted) {
    return access_at(at_working_directory, path, wanted, 0);
}

k::result<k::u64> sys_faccessat(fd directory, user_text path, int wanted) {
    return access_at(directory.number, path, wanted, 0);
}

k::result<k::u64> sys_faccessat2(fd directory, user_text path, int wanted, bits flags) {
    if (flags.value & ~(at_no_follow | at_effective | at_empty_path)) return k::error::inval;
    return access_at(directory.number, path, wanted, flags.value);
}

k::result<k::u64> read_link(int directory, user_text path, user_buffer to, int room) {
    if (room <= 0) return k::error::inval;
    eyes as;
    path_argument argument;
    TRY(argument.read(path));
    const bool is_empty = argument.text().empty() && directory != at_working_directory;
    const found link = TRY(files::find_file(as, directory, argument.text(), vfs::last_link::keep, is_empty));
    if (!link.node->is(vfs::node_type::link)) return is_empty ? k::error::noent : k::error::inval;
    files::path_buffer buffer;
    if (!buffer) return k::error::nomem;
    std::string_view text = TRY(link.node->read_link(as.root(), buffer.room()));
    text = text.substr(0, static_cast<std::size_t>(room));
    if (callers_memory().copy_out(to.at, text.data(), text.size()) != text.size()) return k::error::fault;
    return text.size();
}

k::result<k::u64> sys_readlink(user_text path, user_buffer to, int room) {
    return read_link(at_working_directory, path, to, room);
}

k::result<k::u64> sys_readlinkat(fd directory, user_text path, user_buffer to, int room) {
    return read_link(directory.number, path, to, room);
}

k::result<k::u64> sys_getdents64(fd of, user_buffer to, k::u32 bytes) {
    file_use f = TRY(file_to_read(of));
    const one_range where(to, bytes);
    xio::sink sink = where.sink();
    return files::list_directory(*f, sink);
}

// struct statfs.
struct statfs_record {
    k::i64 type, block_size;
    k::u64 blocks, free_blocks, available_blocks, files, free_files;
    k::i32 id[2];
    k::i64 longest_name, fragment, flags, spare[4];
};
static_assert(sizeof(statfs_record) == 120);

statfs_record statfs_of(const found& what) {
    constexpr k::i64 valid_flags = 0x20;
    vfs::file_system& fs = what.node->fs;
    const vfs::file_system_state now = fs.state();
    statfs_record r{};
    r.type = fs.magic();
    r.block_size = r.fragment = static_cast<k::i64>(now.block_bytes);
    r.blocks = now.blocks;
    r.free_blocks = r.available_blocks = now.free_blocks;
    r.files = now.nodes;
    r.free_files = now.free_nodes;
    r.id[0] = static_cast<k::i32>(fs.device());
    r.longest_name = vfs::longest_name;
    if (what.in) r.flags = (what.in->flags() & 15) | (what.in->is_read_only() ? 1 : 0);
    r.flags |= valid_flags;
    return r;
}

k::result<k::u64> sys_statfs(user_text path, user_pointer<statfs_record> to) {
    eyes as;
    TRY(to.write(callers_memory(), statfs_of(TRY(find(as, at_working_directory, path, true)))));
    return 0;
}

k::result<k::u64> sys_fstatfs(fd of, user_pointer<statfs_record> to) {
    file_use f = TRY(files::callers_file(of.number));
    if (!f->origin()) {
        // Pipes and their like have a file system in Linux too.
        constexpr k::i64 anonymous = 0x0904'1934;
        statfs_record r{};
        r.type = anonymous;
        r.block_size = r.fragment = arch::page_size;
        r.longest_name = vfs::longest_name;
        TRY(to.write(callers_memory(), r));
        return 0;
    }
    TRY(to.write(callers_memory(), statfs_of(f->origin())));
    return 0;
}

// --- Being somewhere

k::result<k::u64> sys_getcwd(user_buffer to, k::u64 room) {
    files::path_buffer buffer;
    if (!buffer) return k::error::nomem;
    const auto where = proc::current_process().where();
    const vfs::place& here = where->directory;
    if (here.dir().is_dead()) return k::error::noent;
    const std::string_view path = TRY(vfs::path_of(where->root, *here.in, *here.at, nullptr, buffer.room()));
    if (room < path.size() + 1) return k::error::range;
    if (callers_memory().copy_out(to.at, path.data(), path.size()) != path.size()) return k::error::fault;
    TRY(user_pointer<char>(to.at + path.size()).write(callers_memory(), '\0'));
    return path.size() + 1;
}

k::result<k::u64> change_directory(const vfs::subject& who, const found& to) {
    if (!to.node->is(vfs::node_type::directory)) return k::error::notdir;
    TRY(vfs::check_asking(*to.node, who, vfs::may_execute));
    proc::process& p = proc::current_process();
    p.set_where(TRY(proc::places::create(p.where()->root.share(), {to.in.share(), to.node.share()})));
    return 0;
}

k::result<k::u64> sys_chdir(user_text path) {
    eyes as;
    return change_directory(as.who(), TRY(find(as, at_working_directory, path, true)));
}

k::result<k::u64> sys_fchdir(fd of) {
    file_use f = TRY(files::callers_file(of.number));
    if (!f->origin()) return k::error::notdir;
    eyes as;
    return change_directory(as.who(), f->origin());
}

k::result<k::u64> sys_chroot(user_text path) {
    eyes as;
    const found to = TRY(find(as, at_working_directory, path, true));
    if (!to.node->is(vfs::node_type::directory)) return k::error::notdir;
    TRY(vfs::check_asking(*to.node, as.who(), vfs::may_execute));
    proc::process& p = proc::current_process();
    if (!p.who.privileged()) return k::error::perm;
    p.set_where(TRY(proc::places::create({to.in.share(), to.node.share()}, p.where()->directory.share())));
    return 0;
}

k::result<k::u64> sys_umask(k::u32 mask) {
    return proc::current_process().umask.exchange(mask & 0777, std::memory_order_relaxed);
}

constexpr entry entries[] = {
    call<sys_open>(2, "open", restarts),
    call<sys_stat>(4, "stat"),
    call<sys_fstat>(5, "fstat"),
    call<sys_lstat>(6, "lstat"),
    call<sys_access>(21, "access"),
    call<sys_getcwd>(79, "getcwd"),
    call<sys_chdir>(80, "chdir"),
    call<sys_fchdir>(81, "fchdir"),
    call<sys_creat>(85, "creat", restarts),
    call<sys_readlink>(89, "readlink"),
    call<sys_umask>(95, "umask"),
    call<sys_statfs>(137, "statfs"),
    call<sys_fstatfs>(138, "fstatfs"),
    call<sys_chroot>(161, "chroot"),
    call<sys_getdents64>(217, "getdents64"),
    call<sys_openat>(257, "openat", restarts),
    call<sys_newfstatat>(262, "newfstatat"),
    call<sys_readlinkat>(267, "readlinkat"),
    call<sys_faccessat>(269, "faccessat"),
    call<sys_statx>(332, "statx"),
    call<sys_faccessat2>(439, "faccessat2"),
};

} // namespace

constinit const std::span<const entry> path_calls = entries;

} // namespace syscalls
