// Calls that take paths. Until there is a virtual file system they look at the boot archive, which cannot be written:
// whatever would change a file finds it, or does not, and then answers EROFS.
#include "kernel/files/names.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"

namespace syscalls {

namespace {

using files::at_working_directory;
using files::file_ref;
using files::named;
using files::path_buffer;
using files::stat_record;
using vm::user_pointer;

constexpr k::u64 at_no_follow = 0x100, at_effective = 0x200, at_follow = 0x400, at_empty_path = 0x1000,
                 at_remove_directory = 0x200;

// --- Finding

// What a path of the caller's leads to; with `or_empty` an empty one means the file of the descriptor itself.
k::result<named> find(int directory, user_text path, bool follow, bool or_empty = false) {
    path_buffer buffer;
    if (!buffer) return k::error::nomem;
    const std::string_view text = TRY(vm::read_user_text(callers_memory(), path.at, buffer.room()));
    if (!or_empty || !text.empty()) return files::find_named(directory, text, follow);
    if (directory == at_working_directory) return files::find_named(directory, ".", follow);
    named found;
    found.open = files::callers_table().get(directory);
    if (!found.open) return k::error::badf;
    return found;
}

// For calls that would change an existing file.
k::result<k::u64> refuse_to_change(int directory, user_text path, bool follow) {
    TRY(find(directory, path, follow));
    return k::error::rofs;
}

// For calls that would make a new one.
k::result<k::u64> refuse_to_make(int directory, user_text path) {
    auto found = find(directory, path, false);
    if (found) return k::error::exist;
    if (found.error() == k::error::noent) return k::error::rofs;
    return found.error();
}

// --- Opening

k::result<k::u64> open(int directory, user_text path, k::u32 flags) {
    const bool creates = (flags & files::open_create) && !(flags & files::open_path);
    const bool follow = !(flags & files::open_no_follow) && !(creates && (flags & files::open_exclusive));
    auto found = find(directory, path, follow);
    if (!found) {
        if (creates && found.error() == k::error::noent) return k::error::rofs;
        return found.error();
    }
    if (creates && (flags & files::open_exclusive)) return k::error::exist;
    file_ref opened = TRY(files::open_named(*found, flags));
    return static_cast<k::u64>(TRY(files::give_to_caller(std::move(opened), flags & files::open_cloexec)));
}

k::result<k::u64> sys_open(user_text path, bits flags, k::u32) {
    return open(at_working_directory, path, static_cast<k::u32>(flags.value));
}

k::result<k::u64> sys_openat(fd directory, user_text path, bits flags, k::u32) {
    return open(directory.number, path, static_cast<k::u32>(flags.value));
}

k::result<k::u64> sys_creat(user_text path, k::u32) {
    return open(at_working_directory, path, files::open_create | files::open_write_only | files::open_truncate);
}

// --- Looking

k::result<stat_record> stat_at(int directory, user_text path, k::u64 flags) {
    const named found = TRY(find(directory, path, !(flags & at_no_follow), flags & at_empty_path));
    stat_record record;
    TRY(files::stat_named(found, record));
    return record;
}

k::result<k::u64> sys_stat(user_text path, user_pointer<stat_record> to) {
    TRY(to.write(callers_memory(), TRY(stat_at(at_working_directory, path, 0))));
    return 0;
}

k::result<k::u64> sys_lstat(user_text path, user_pointer<stat_record> to) {
    TRY(to.write(callers_memory(), TRY(stat_at(at_working_directory, path, at_no_follow))));
    return 0;
}

k::result<k::u64> sys_fstat(fd of, user_pointer<stat_record> to) {
    file_use f = TRY(files::callers_file(of.number));
    stat_record record;
    TRY(f->stat(record));
    TRY(to.write(callers_memory(), record));
    return 0;
}

constexpr k::u64 at_no_automount = 0x800, at_statx_sync = 0x6000;
constexpr k::u64 stat_flags = at_no_follow | at_empty_path | at_no_automount;

k::result<k::u64> sys_newfstatat(fd directory, user_text path, user_pointer<stat_record> to, bits flags) {
    if (flags.value & ~stat_flags) return k::error::inval;
    TRY(to.write(callers_memory(), TRY(stat_at(directory.number, path, flags.value))));
    return 0;
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
    return static_cast<k::u32>(device & 0xff);
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
    TRY(to.write(callers_memory(), statx_of(TRY(stat_at(directory.number, path, flags.value)))));
    return 0;
}

k::result<k::u64> access_at(int directory, user_text path, int wanted, k::u64 flags) {
    if (wanted & ~7) return k::error::inval;
    const named found = TRY(find(directory, path, !(flags & at_no_follow), flags & at_empty_path));
    TRY(files::check_access(found, static_cast<unsigned>(wanted), flags & at_effective));
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

// The text of a link: /proc/self/exe, or one of the archive.
k::result<std::string_view> link_text(const named& of) {
    if (!of.archived || !of.archived->is(proc::type_link)) return k::error::inval;
    return of.archived->text();
}

k::result<k::u64> read_link(int directory, user_text path, user_buffer to, int room) {
    if (room <= 0) return k::error::inval;
    path_buffer buffer;
    if (!buffer) return k::error::nomem;
    const std::string_view text = TRY(vm::read_user_text(callers_memory(), path.at, buffer.room()));
    k::ref<proc::shared_text> program;
    std::string_view target;
    if (text == "/proc/self/exe" && (program = proc::current_process().program()))
        target = program->view();
    else
        target = TRY(link_text(TRY(files::find_named(directory, text, false))));
    target = target.substr(0, static_cast<std::size_t>(room));
    if (callers_memory().copy_out(to.at, target.data(), target.size()) != target.size()) return k::error::fault;
    return target.size();
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

statfs_record statfs_now() {
    constexpr k::i64 ramfs = 0x858458f6, read_only = 1, valid_flags = 0x20;
    statfs_record r{};
    r.type = ramfs;
    r.block_size = r.fragment = arch::page_size;
    r.files = proc::boot_files().files().size();
    r.longest_name = 255;
    r.flags = read_only | valid_flags;
    return r;
}

k::result<k::u64> sys_statfs(user_text path, user_pointer<statfs_record> to) {
    TRY(find(at_working_directory, path, true));
    TRY(to.write(callers_memory(), statfs_now()));
    return 0;
}

k::result<k::u64> sys_fstatfs(fd of, user_pointer<statfs_record> to) {
    TRY(files::callers_file(of.number));
    TRY(to.write(callers_memory(), statfs_now()));
    return 0;
}

// --- The working directory

k::result<k::u64> sys_getcwd(user_buffer to, k::u64 room) {
    const auto working = proc::current_process().working_directory();
    const std::string_view path = working ? working->view() : std::string_view("/");
    if (room < path.size() + 1) return k::error::range;
    if (callers_memory().copy_out(to.at, path.data(), path.size()) != path.size()) return k::error::fault;
    TRY(user_pointer<char>(to.at + path.size()).write(callers_memory(), '\0'));
    return path.size() + 1;
}

k::result<k::u64> change_directory(const proc::archive_file* to) {
    if (!to || !to->is(proc::type_directory)) return k::error::notdir;
    named target;
    target.archived = to;
    TRY(files::check_access(target, 1, true));
    path_buffer buffer;
    if (!buffer) return k::error::nomem;
    k::buffer_sink text(buffer.room());
    text.put("/");
    text.put(to->path);
    proc::current_process().set_working_directory(TRY(proc::shared_text::create(text.view())));
    return 0;
}

k::result<k::u64> sys_chdir(user_text path) {
    const named found = TRY(find(at_working_directory, path, true));
    return change_directory(found.archived);
}

k::result<k::u64> sys_fchdir(fd of) {
    file_use f = TRY(files::callers_file(of.number));
    return change_directory(files::directory_of(*f));
}

k::result<k::u64> sys_chroot(user_text path) {
    const named found = TRY(find(at_working_directory, path, true));
    if (!found.is_directory()) return k::error::notdir;
    if (!proc::current_process().who.privileged()) return k::error::perm;
    if (found.archived->path.empty()) return 0; // to where the root is
    return k::error::rofs;
}

k::result<k::u64> sys_umask(k::u32 mask) {
    return proc::current_process().umask.exchange(mask & 0777, std::memory_order_relaxed);
}

// --- What would change files

k::result<k::u64> sys_truncate(user_text path, k::i64 bytes) {
    if (bytes < 0) return k::error::inval;
    return refuse_to_change(at_working_directory, path, true);
}

k::result<k::u64> sys_rename(user_text from, user_text) {
    return refuse_to_change(at_working_directory, from, false);
}
k::result<k::u64> sys_renameat2(fd directory, user_text from, fd, user_text, bits) {
    return refuse_to_change(directory.number, from, false);
}
k::result<k::u64> sys_mkdir(user_text path, k::u32) {
    return refuse_to_make(at_working_directory, path);
}
k::result<k::u64> sys_mkdirat(fd directory, user_text path, k::u32) {
    return refuse_to_make(directory.number, path);
}
k::result<k::u64> sys_remove(user_text path) {
    return refuse_to_change(at_working_directory, path, false);
}
k::result<k::u64> sys_unlinkat(fd directory, user_text path, bits flags) {
    if (flags.value & ~at_remove_directory) return k::error::inval;
    return refuse_to_change(directory.number, path, false);
}
k::result<k::u64> sys_link(user_text from, user_text to) {
    TRY(find(at_working_directory, from, false));
    return refuse_to_make(at_working_directory, to);
}
k::result<k::u64> sys_linkat(fd from_directory, user_text from, fd to_directory, user_text to, bits flags) {
    if (flags.value & ~(at_follow | at_empty_path)) return k::error::inval;
    TRY(find(from_directory.number, from, flags.value & at_follow, flags.value & at_empty_path));
    return refuse_to_make(to_directory.number, to);
}
k::result<k::u64> sys_symlink(user_text, user_text at) {
    return refuse_to_make(at_working_directory, at);
}
k::result<k::u64> sys_symlinkat(user_text, fd directory, user_text at) {
    return refuse_to_make(directory.number, at);
}
k::result<k::u64> sys_mknod(user_text path, k::u32, k::u64) {
    return refuse_to_make(at_working_directory, path);
}
k::result<k::u64> sys_mknodat(fd directory, user_text path, k::u32, k::u64) {
    return refuse_to_make(directory.number, path);
}
k::result<k::u64> sys_chmod(user_text path, k::u32) {
    return refuse_to_change(at_working_directory, path, true);
}
k::result<k::u64> sys_fchmodat(fd directory, user_text path, k::u32) {
    return refuse_to_change(directory.number, path, true);
}
k::result<k::u64> sys_chown(user_text path, k::u32, k::u32) {
    return refuse_to_change(at_working_directory, path, true);
}
k::result<k::u64> sys_lchown(user_text path, k::u32, k::u32) {
    return refuse_to_change(at_working_directory, path, false);
}
k::result<k::u64> sys_fchownat(fd directory, user_text path, k::u32, k::u32, bits flags) {
    if (flags.value & ~(at_no_follow | at_empty_path)) return k::error::inval;
    TRY(find(directory.number, path, !(flags.value & at_no_follow), flags.value & at_empty_path));
    return k::error::rofs;
}
k::result<k::u64> sys_fchmod(fd of, k::u32) {
    TRY(files::callers_file(of.number));
    return k::error::rofs;
}
k::result<k::u64> sys_fchown(fd of, k::u32, k::u32) {
    TRY(files::callers_file(of.number));
    return k::error::rofs;
}
k::result<k::u64> sys_utimes(user_text path, user_buffer) {
    return refuse_to_change(at_working_directory, path, true);
}
k::result<k::u64> sys_utimensat(fd directory, user_text path, user_buffer, bits flags) {
    if (flags.value & ~(at_no_follow | at_empty_path)) return k::error::inval;
    if (!path.at) return sys_fchmod(directory, 0); // futimens()
    return refuse_to_change(directory.number, path, !(flags.value & at_no_follow));
}

constexpr std::string_view read_only = "the boot archive cannot be written: EROFS";

constexpr entry entries[] = {
    call<sys_open>(2, "open", ends, "nothing can be made or written but devices"),
    call<sys_stat>(4, "stat"),
    call<sys_fstat>(5, "fstat"),
    call<sys_lstat>(6, "lstat"),
    call<sys_access>(21, "access"),
    call<sys_truncate>(76, "truncate", ends, read_only),
    call<sys_getcwd>(79, "getcwd"),
    call<sys_chdir>(80, "chdir"),
    call<sys_fchdir>(81, "fchdir"),
    call<sys_rename>(82, "rename", ends, read_only),
    call<sys_mkdir>(83, "mkdir", ends, read_only),
    call<sys_remove>(84, "rmdir", ends, read_only),
    call<sys_creat>(85, "creat", ends, read_only),
    call<sys_link>(86, "link", ends, read_only),
    call<sys_remove>(87, "unlink", ends, read_only),
    call<sys_symlink>(88, "symlink", ends, read_only),
    call<sys_readlink>(89, "readlink"),
    call<sys_chmod>(90, "chmod", ends, read_only),
    call<sys_fchmod>(91, "fchmod", ends, read_only),
    call<sys_chown>(92, "chown", ends, read_only),
    call<sys_fchown>(93, "fchown", ends, read_only),
    call<sys_lchown>(94, "lchown", ends, read_only),
    call<sys_umask>(95, "umask"),
    call<sys_utimes>(132, "utime", ends, read_only),
    call<sys_mknod>(133, "mknod", ends, read_only),
    call<sys_statfs>(137, "statfs"),
    call<sys_fstatfs>(138, "fstatfs"),
    call<sys_chroot>(161, "chroot", ends, "only to the root"),
    call<sys_getdents64>(217, "getdents64"),
    call<sys_utimes>(235, "utimes", ends, read_only),
    call<sys_openat>(257, "openat", ends, "see open"),
    call<sys_mkdirat>(258, "mkdirat", ends, read_only),
    call<sys_mknodat>(259, "mknodat", ends, read_only),
    call<sys_fchownat>(260, "fchownat", ends, read_only),
    call<sys_newfstatat>(262, "newfstatat"),
    call<sys_unlinkat>(263, "unlinkat", ends, read_only),
    call<sys_renameat2>(264, "renameat", ends, read_only),
    call<sys_linkat>(265, "linkat", ends, read_only),
    call<sys_symlinkat>(266, "symlinkat", ends, read_only),
    call<sys_readlinkat>(267, "readlinkat"),
    call<sys_fchmodat>(268, "fchmodat", ends, read_only),
    call<sys_faccessat>(269, "faccessat"),
    call<sys_utimensat>(280, "utimensat", ends, read_only),
    call<sys_renameat2>(316, "renameat2", ends, read_only),
    call<sys_statx>(332, "statx"),
    call<sys_faccessat2>(439, "faccessat2"),
};

} // namespace

constinit const std::span<const entry> path_calls = entries;

} // namespace syscalls
