// Every call that takes a path, with every kind of path that is none. A call stands in the table as what must go in
// front of the path and behind it; docs/syscalls.md lists those there are.
#include "tests/user/tap.h"

#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/xattr.h>

static char base[64];
static char room[4096];
static int watcher;

static char* const no_arguments[] = {"x", NULL};

// How a path is looked at in the end: not all calls see the same mistakes.
enum special {
    follows = 1,     // a link at its end
    makes = 2,       // it must not be there: a name is made
    may_be_empty = 4 // with its descriptor
};

struct path_call {
    const char* name;
    int flags;
    long (*call)(int directory, const char* path);
    long (*at_descriptor)(int directory, const char* path); // null: it takes none
};

#define CALL(name, flags, ...)                                                                                         \
    static long name##_path(int directory, const char* path) {                                                         \
        (void)directory;                                                                                               \
        return __VA_ARGS__;                                                                                            \
    }
#define CALL_AT(name, flags, ...)                                                                                      \
    static long name##_at(int directory, const char* path) {                                                           \
        return __VA_ARGS__;                                                                                            \
    }

CALL(open, follows, syscall(SYS_open, path, O_RDONLY))
CALL(open_path, follows, syscall(SYS_open, path, O_PATH))
CALL(open_make, makes, syscall(SYS_open, path, O_CREAT | O_RDWR, 0600))
CALL(open_nameless, follows, syscall(SYS_open, path, O_TMPFILE | O_RDWR, 0600))
CALL(creat, makes, syscall(SYS_creat, path, 0600))
CALL(stat, follows, syscall(SYS_stat, path, room))
CALL(lstat, 0, syscall(SYS_lstat, path, room))
CALL(access, follows, syscall(SYS_access, path, 0))
CALL(execve, follows, syscall(SYS_execve, path, no_arguments, no_arguments + 1))
CALL(truncate, follows, syscall(SYS_truncate, path, 0L))
CALL(chdir, follows, syscall(SYS_chdir, path))
CALL(rename_from, 0, syscall(SYS_rename, path, "fresh"))
CALL(rename_to, makes, syscall(SYS_rename, "old", path))
CALL(mkdir, makes, syscall(SYS_mkdir, path, 0700))
CALL(rmdir, 0, syscall(SYS_rmdir, path))
CALL(link_from, 0, syscall(SYS_link, path, "fresh"))
CALL(link_to, makes, syscall(SYS_link, "old", path))
CALL(unlink, 0, syscall(SYS_unlink, path))
CALL(symlink_text, makes, syscall(SYS_symlink, path, "fresh"))
CALL(symlink_to, makes, syscall(SYS_symlink, "text", path))
CALL(readlink, 0, syscall(SYS_readlink, path, room, sizeof room))
CALL(chmod, follows, syscall(SYS_chmod, path, 0600))
CALL(chown, follows, syscall(SYS_chown, path, 0, 0))
CALL(lchown, 0, syscall(SYS_lchown, path, 0, 0))
CALL(utime, follows, syscall(SYS_utime, path, NULL))
CALL(utimes, follows, syscall(SYS_utimes, path, NULL))
CALL(mknod, makes, syscall(SYS_mknod, path, S_IFIFO | 0600, 0))
CALL(statfs, follows, syscall(SYS_statfs, path, room))
CALL(pivot_root_fresh, follows, syscall(SYS_pivot_root, path, "dir"))
CALL(pivot_root_old, follows, syscall(SYS_pivot_root, "dir", path))
CALL(chroot, follows, syscall(SYS_chroot, path))
CALL(mount_at, follows, syscall(SYS_mount, "x", path, "tmpfs", 0L, NULL))
CALL(umount2, follows, syscall(SYS_umount2, path, 0))
CALL(inotify_add_watch, follows, syscall(SYS_inotify_add_watch, watcher, path, IN_OPEN))

CALL_AT(openat, follows, syscall(SYS_openat, directory, path, O_RDONLY))
CALL_AT(openat_make, makes, syscall(SYS_openat, directory, path, O_CREAT | O_RDWR, 0600))
CALL_AT(mkdirat, makes, syscall(SYS_mkdirat, directory, path, 0700))
CALL_AT(mknodat, makes, syscall(SYS_mknodat, directory, path, S_IFIFO | 0600, 0))
CALL_AT(fchownat, 0, syscall(SYS_fchownat, directory, path, 0, 0, AT_SYMLINK_NOFOLLOW))
CALL_AT(futimesat, follows, syscall(SYS_futimesat, directory, path, NULL))
CALL_AT(newfstatat, follows, syscall(SYS_newfstatat, directory, path, room, 0))
CALL_AT(unlinkat, 0, syscall(SYS_unlinkat, directory, path, 0))
CALL_AT(unlinkat_directory, 0, syscall(SYS_unlinkat, directory, path, AT_REMOVEDIR))
CALL_AT(renameat_from, 0, syscall(SYS_renameat, directory, path, AT_FDCWD, "fresh"))
CALL_AT(renameat_to, makes, syscall(SYS_renameat, AT_FDCWD, "old", directory, path))
CALL_AT(renameat2_from, 0, syscall(SYS_renameat2, directory, path, AT_FDCWD, "fresh", 1))
CALL_AT(renameat2_to, makes, syscall(SYS_renameat2, AT_FDCWD, "old", directory, path, 1))
CALL_AT(linkat_from, 0, syscall(SYS_linkat, directory, path, AT_FDCWD, "fresh", 0))
CALL_AT(linkat_follow, follows, syscall(SYS_linkat, directory, path, AT_FDCWD, "fresh", AT_SYMLINK_FOLLOW))
CALL_AT(linkat_to, makes, syscall(SYS_linkat, AT_FDCWD, "old", directory, path, 0))
CALL_AT(symlinkat, makes, syscall(SYS_symlinkat, "text", directory, path))
CALL_AT(readlinkat, may_be_empty, syscall(SYS_readlinkat, directory, path, room, sizeof room))
CALL_AT(fchmodat, follows, syscall(SYS_fchmodat, directory, path, 0600))
CALL_AT(faccessat, follows, syscall(SYS_faccessat, directory, path, 0))
CALL_AT(faccessat2, follows, syscall(SYS_faccessat2, directory, path, 0, 0))
CALL_AT(utimensat, follows, syscall(SYS_utimensat, directory, path, NULL, 0))
CALL_AT(execveat, follows, syscall(SYS_execveat, directory, path, no_arguments, no_arguments + 1, 0))
CALL_AT(statx, follows, syscall(SYS_statx, directory, path, 0, 0x7ff, room))
CALL_AT(statx_nofollow, 0, syscall(SYS_statx, directory, path, AT_SYMLINK_NOFOLLOW, 0x7ff, room))

#define ROW(name, flags)                                                                                               \
    { #name, flags, name##_path, NULL }
#define ROW_AT(name, flags)                                                                                            \
    { #name, flags, NULL, name##_at }
static const struct path_call calls[] = {
    ROW(open, follows),
    ROW(open_path, follows),
    ROW(open_make, makes),
    ROW(open_nameless, follows),
    ROW(creat, makes),
    ROW(stat, follows),
    ROW(lstat, 0),
    ROW(access, follows),
    ROW(execve, follows),
    ROW(truncate, follows),
    ROW(chdir, follows),
    ROW(rename_from, 0),
    ROW(rename_to, makes),
    ROW(mkdir, makes),
    ROW(rmdir, 0),
    ROW(link_from, 0),
    ROW(link_to, makes),
    ROW(unlink, 0),
    ROW(symlink_to, makes),
    ROW(readlink, 0),
    ROW(chmod, follows),
    ROW(chown, follows),
    ROW(lchown, 0),
    ROW(utime, follows),
    ROW(utimes, follows),
    ROW(mknod, makes),
    ROW(statfs, follows),
    ROW(pivot_root_fresh, follows),
    ROW(pivot_root_old, follows),
    ROW(chroot, follows),
    ROW(mount_at, follows),
    ROW(umount2, follows),
    ROW(inotify_add_watch, follows),
    ROW_AT(openat, follows),
    ROW_AT(openat_make, makes),
    ROW_AT(mkdirat, makes),
    ROW_AT(mknodat, makes),
    ROW_AT(fchownat, 0),
    ROW_AT(futimesat, follows),
    ROW_AT(newfstatat, follows),
    ROW_AT(unlinkat, 0),
    ROW_AT(unlinkat_directory, 0),
    ROW_AT(renameat_from, 0),
    ROW_AT(renameat_to, makes),
    ROW_AT(renameat2_from, 0),
    ROW_AT(renameat2_to, makes),
    ROW_AT(linkat_from, 0),
    ROW_AT(linkat_follow, follows),
    ROW_AT(linkat_to, makes),
    ROW_AT(symlinkat, makes),
    ROW_AT(readlinkat, may_be_empty),
    ROW_AT(fchmodat, follows),
    ROW_AT(faccessat, follows),
    ROW_AT(faccessat2, follows),
    ROW_AT(utimensat, follows),
    ROW_AT(execveat, follows),
    ROW_AT(statx, follows),
    ROW_AT(statx_nofollow, 0),
};
enum { call_count = sizeof calls / sizeof calls[0] };

static long make_call(const struct path_call* c, int directory, const char* path) {
    errno = 0;
    return c->call ? c->call(directory, path) : c->at_descriptor(directory, path);
}

static void must_fail(const struct path_call* c, int directory, const char* path, int error, const char* what) {
    const long got = make_call(c, directory, path);
    if (got == -1 && errno == error) return;
    note("%s of %s gives %ld, errno %d (%s), not %d", c->name, what, got, errno, strerror(errno), error);
    CHECK(0);
}

static void begin(void) {
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        tap_skip("mounts would be seen by others");
    snprintf(base, sizeof base, "/tmp/paths.%d", getpid());
    CHECK(mkdir(base, 0777) == 0 && chdir(base) == 0);
    CHECK(mkdir("dir", 0777) == 0 && close(open("old", O_CREAT | O_RDWR, 0600)) == 0);
    watcher = inotify_init();
    CHECK(watcher >= 0);
}

static void nothing_was_made(void) {
    CHECK(access("fresh", F_OK) < 0 && access("old", F_OK) == 0);
}

static void addresses_that_are_no_memory(void) {
    begin();
    char* edge = anonymous(2 * page);
    CHECK(munmap(edge + page, page) == 0);
    memset(edge, 'a', page);
    char* closed = anonymous(page);
    CHECK(mprotect(closed, page, PROT_NONE) == 0);
    const struct {
        const char* path;
        const char* what;
    } bad[] = {
        {(char*)1, "page zero"},
        {(char*)0xfff, "the end of page zero"},
        {edge + page - 1, "a text that runs out of memory"},
        {edge + page - 300, "a long one that does"},
        {edge + page, "memory that is gone"},
        {closed, "memory that cannot be read"},
        {(char*)0x7fffffffffff, "the end of user memory"},
        {(char*)0x800000000000, "no canonical address"},
        {(char*)0xffff800000000000, "the kernel"},
        {(char*)-1, "the last byte of all"},
    };
    for (int at = 0; at < call_count; at++) {
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
            must_fail(&calls[at], AT_FDCWD, bad[i].path, EFAULT, bad[i].what);
        must_fail(&calls[at], AT_FDCWD, NULL, EFAULT, "no address");
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_ERROR(symlink_text_path(0, bad[i].path), EFAULT);
    nothing_was_made();
}

static void empty_ones(void) {
    begin();
    for (int at = 0; at < call_count; at++)
        must_fail(&calls[at], AT_FDCWD, "", ENOENT, "an empty path");
    CHECK_ERROR(symlink_text_path(0, ""), ENOENT);
    nothing_was_made();
    // With a descriptor, where that is asked for.
    const int dir = open("dir", O_PATH), file = open("old", O_PATH);
    struct stat s;
    CHECK(fstatat(dir, "", &s, AT_EMPTY_PATH) == 0 && S_ISDIR(s.st_mode));
    CHECK_ERROR(syscall(SYS_execveat, dir, "", no_arguments, no_arguments + 1, AT_EMPTY_PATH), EACCES);
    CHECK_ERROR(syscall(SYS_execveat, file, "", no_arguments, no_arguments + 1, AT_EMPTY_PATH), EACCES);
    CHECK(syscall(SYS_fchownat, file, "", 0, 0, AT_EMPTY_PATH) == 0);
    CHECK(syscall(SYS_linkat, file, "", AT_FDCWD, "second", AT_EMPTY_PATH) == 0 && access("second", F_OK) == 0);
    CHECK_ERROR(syscall(SYS_readlinkat, file, "", room, sizeof room), ENOENT);
}

static void names_that_are_too_long(void) {
    begin();
    char* text = anonymous(4 * page);
    for (int at = 0; at < call_count; at++) {
        memset(text, 'n', 4 * page - 1);
        text[256] = 0;
        must_fail(&calls[at], AT_FDCWD, text, ENAMETOOLONG, "a name of 256");
        memcpy(text + 256, "/x", 3);
        must_fail(&calls[at], AT_FDCWD, text, ENAMETOOLONG, "one in the middle");
        text[255] = 0;
        if (!(calls[at].flags & makes)) must_fail(&calls[at], AT_FDCWD, text, ENOENT, "a name of 255");
        for (int i = 0; i < 2 * page; i += 2)
            memcpy(text + i, "./", 2);
        text[page] = 0;
        must_fail(&calls[at], AT_FDCWD, text, ENAMETOOLONG, "a path of 4096");
        memset(text, '/', 4 * page - 1);
        must_fail(&calls[at], AT_FDCWD, text, ENAMETOOLONG, "slashes without end");
        for (int i = 0; i < page; i += 2)
            memcpy(text + i, "./", 2);
        memcpy(text + page - 5, "none", 5); // the longest that is allowed
        if (!(calls[at].flags & makes)) must_fail(&calls[at], AT_FDCWD, text, ENOENT, "a path of 4095");
    }
    memset(text, 't', page);
    text[page] = 0;
    CHECK_ERROR(symlink_text_path(0, text), ENAMETOOLONG);
    nothing_was_made();
    // The longest of all can be made, and be found.
    memset(text, 'n', 255);
    text[255] = 0;
    CHECK(mkdir(text, 0700) == 0 && access(text, F_OK) == 0 && rmdir(text) == 0);
    memset(text, 't', page - 1);
    text[page - 1] = 0;
    CHECK(symlink(text, "link") == 0 && readlink("link", room, sizeof room) == page - 1);
    for (int at = 0; at < call_count; at++)
        if (calls[at].flags & follows) must_fail(&calls[at], AT_FDCWD, "link", ENAMETOOLONG, "a link to a long name");
}

static void what_is_no_directory(void) {
    begin();
    for (int at = 0; at < call_count; at++) {
        must_fail(&calls[at], AT_FDCWD, "old/x", ENOTDIR, "a file in a file");
        must_fail(&calls[at], AT_FDCWD, "old/.", ENOTDIR, "a file's dot");
        must_fail(&calls[at], AT_FDCWD, "none/x", ENOENT, "a file in nothing");
        if (!(calls[at].flags & makes)) must_fail(&calls[at], AT_FDCWD, "none", ENOENT, "nothing");
    }
    CHECK(symlink("loop", "loop") == 0);
    for (int at = 0; at < call_count; at++) {
        if (calls[at].flags & follows) must_fail(&calls[at], AT_FDCWD, "loop", ELOOP, "a link to itself");
        must_fail(&calls[at], AT_FDCWD, "loop/x", ELOOP, "below a link to itself");
    }
    nothing_was_made();
}

static void descriptors_that_are_none(void) {
    begin();
    const int file = open("old", O_RDONLY);
    int ends[2];
    CHECK(file >= 0 && pipe(ends) == 0);
    const int bad[] = {-1, -2, 999999, 500, 0x7fffffff, (int)0x80000000};
    for (int at = 0; at < call_count; at++) {
        const struct path_call* c = &calls[at];
        if (!c->at_descriptor) continue;
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
            must_fail(c, bad[i], "x", EBADF, "a descriptor that is not open");
        must_fail(c, file, "x", ENOTDIR, "a descriptor of a file");
        must_fail(c, ends[0], "x", ENOTDIR, "a descriptor of a pipe");
        must_fail(c, watcher, "x", ENOTDIR, "a descriptor of an inotify");
        // It is not looked at where the path needs none, or where the path is bad.
        must_fail(c, 999999, "/none/x", ENOENT, "a path from the root");
        must_fail(c, 999999, (char*)16, EFAULT, "page zero");
        if (!(c->flags & may_be_empty)) must_fail(c, 999999, "", ENOENT, "an empty path");
    }
    CHECK_ERROR(syscall(SYS_utimensat, 999999, NULL, NULL, 0), EBADF);
    CHECK_ERROR(syscall(SYS_inotify_add_watch, 999999, "old", IN_OPEN), EBADF);
    CHECK_ERROR(syscall(SYS_inotify_add_watch, file, "old", IN_OPEN), EINVAL);
    nothing_was_made();
}

// Names of unix sockets are paths too.
static void names_of_sockets(void) {
    begin();
    const int s = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    CHECK_ERROR(syscall(SYS_bind, s, (void*)16, sizeof name), EFAULT);
    CHECK_ERROR(syscall(SYS_connect, s, (void*)16, sizeof name), EFAULT);
    CHECK_ERROR(syscall(SYS_bind, s, &name, 1), EINVAL);
    CHECK_ERROR(syscall(SYS_bind, s, &name, sizeof name + 1), EINVAL);
    CHECK_ERROR(syscall(SYS_connect, s, &name, -1), EINVAL);
    strcpy(name.sun_path, "none/x");
    CHECK_ERROR(syscall(SYS_bind, s, &name, sizeof name), ENOENT);
    CHECK_ERROR(syscall(SYS_connect, s, &name, sizeof name), ENOENT);
    strcpy(name.sun_path, "old/x");
    CHECK_ERROR(syscall(SYS_bind, s, &name, sizeof name), ENOTDIR);
    CHECK_ERROR(syscall(SYS_connect, s, &name, sizeof name), ENOTDIR);
    strcpy(name.sun_path, "old");
    CHECK_ERROR(syscall(SYS_bind, s, &name, sizeof name), EADDRINUSE);
    CHECK_ERROR(syscall(SYS_connect, s, &name, sizeof name), ECONNREFUSED);
    memset(name.sun_path, 'n', sizeof name.sun_path); // without a zero at the end
    CHECK(syscall(SYS_bind, s, &name, sizeof name) == 0);
}

// A file that no directory has ever named, by its link in /proc: it is in no mount.
static void files_without_names(void) {
    begin();
    const int fd = memfd_create("nameless", 0);
    CHECK(fd >= 0 && fchmod(fd, 0700) == 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct stat s;
    CHECK(open(path, O_RDWR) >= 0 && open(path, O_RDONLY | O_PATH) >= 0);
    CHECK(stat(path, &s) == 0 && s.st_nlink == 0 && truncate(path, 100) == 0);
    CHECK(stat(path, &s) == 0 && s.st_size == 100);
    CHECK(chmod(path, 0600) == 0 && chown(path, 0, 0) == 0 && utimensat(AT_FDCWD, path, NULL, 0) == 0);
    CHECK(access(path, R_OK | W_OK) == 0);
    struct statfs f;
    CHECK(statfs(path, &f) == 0);
    CHECK_ERROR(umount2(path, 0), EINVAL);
    CHECK(mount("none", path, "tmpfs", 0, NULL) < 0);
    CHECK_ERROR(mount("none", path, NULL, MS_REMOUNT, NULL), EINVAL);
    CHECK_ERROR(chdir(path), ENOTDIR);
    CHECK(linkat(AT_FDCWD, path, AT_FDCWD, "fresh", AT_SYMLINK_FOLLOW) < 0);
    CHECK(inotify_add_watch(watcher, path, IN_OPEN) > 0);
    CHECK_ERROR(execve(path, no_arguments, no_arguments + 1), EACCES);
    nothing_was_made();
}

TAP_MAIN(T(addresses_that_are_no_memory), T(empty_ones), T(names_that_are_too_long), T(what_is_no_directory),
         T(descriptors_that_are_none), T(names_of_sockets), T(files_without_names))
