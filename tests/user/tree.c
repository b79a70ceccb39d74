// Files by name, as programs use them: paths of every kind, open(2)'s flags, listing, rights, mounts. Run as root; what
// concerns rights is done by a child that has become somebody else. Each test has a directory of its own to work in.
#include "tests/user/tap.h"

#include <dirent.h>
#include <grp.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static char base[64];

// A fresh directory, which is the working directory from here on.
static void begin(void) {
    snprintf(base, sizeof base, "/tmp/tree.%d", getpid());
    CHECK(mkdir(base, 0777) == 0);
    CHECK(chmod(base, 0777) == 0);
    CHECK(chdir(base) == 0);
}

static void become(uid_t uid) {
    CHECK(setgroups(0, NULL) == 0);
    CHECK(setresgid(uid, uid, uid) == 0);
    CHECK(setresuid(uid, uid, uid) == 0);
}

static void make_file(const char* path, const char* text, mode_t mode) {
    const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), (long)strlen(text));
    CHECK(fchmod(fd, mode) == 0);
    CHECK(close(fd) == 0);
}

static int has_text(const char* path, const char* text) {
    char got[256];
    const int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    const ssize_t bytes = read(fd, got, sizeof got);
    close(fd);
    return bytes == (ssize_t)strlen(text) && !memcmp(got, text, bytes);
}

static struct stat stat_at(const char* path) {
    struct stat s;
    CHECK(lstat(path, &s) == 0);
    return s;
}

static int count_names(const char* path) {
    DIR* d = opendir(path);
    CHECK(d);
    int names = 0;
    while (readdir(d))
        names++;
    closedir(d);
    return names;
}

// --- Paths

// Every call that takes a path, with this one.
static void all_fail_with(const char* path, int error) {
    char room[64];
    struct stat s;
    struct statfs f;
    CHECK_ERROR(open(path, O_RDONLY), error);
    CHECK_ERROR(open(path, O_RDONLY | O_PATH), error);
    CHECK_ERROR(open(path, O_CREAT | O_RDWR, 0600), error);
    CHECK_ERROR(syscall(SYS_stat, path, &s), error);
    CHECK_ERROR(syscall(SYS_lstat, path, &s), error);
    CHECK_ERROR(syscall(SYS_newfstatat, AT_FDCWD, path, &s, 0), error);
    CHECK_ERROR(statfs(path, &f), error);
    CHECK_ERROR(access(path, F_OK), error);
    CHECK_ERROR(mkdir(path, 0700), error);
    CHECK_ERROR(mknod(path, S_IFIFO | 0600, 0), error);
    CHECK_ERROR(rmdir(path), error);
    CHECK_ERROR(unlink(path), error);
    CHECK_ERROR(link(path, "fresh"), error);
    CHECK_ERROR(link("old", path), error);
    CHECK_ERROR(symlink("text", path), error);
    CHECK_ERROR(readlink(path, room, sizeof room), error);
    CHECK_ERROR(rename(path, "fresh"), error);
    CHECK_ERROR(rename("old", path), error);
    CHECK_ERROR(chmod(path, 0600), error);
    CHECK_ERROR(chown(path, 0, 0), error);
    CHECK_ERROR(lchown(path, 0, 0), error);
    CHECK_ERROR(truncate(path, 0), error);
    CHECK_ERROR(syscall(SYS_utimensat, AT_FDCWD, path ? path : (char*)16, NULL, 0), error);
    CHECK_ERROR(chdir(path), error);
    CHECK_ERROR(chroot(path), error);
    char* arguments[] = {"x", NULL};
    CHECK_ERROR(execve(path, arguments, arguments + 1), error);
}

static void bad_paths(void) {
    begin();
    make_file("old", "x", 0600);
    all_fail_with(NULL, EFAULT);
    all_fail_with((char*)0x7ffffffff000, EFAULT);
    all_fail_with((char*)-4096, EFAULT);
    all_fail_with("", ENOENT);
    // A text that runs into memory that is not there.
    char* room = anonymous(2 * page);
    CHECK(munmap(room + page, page) == 0);
    memset(room, 'a', page);
    all_fail_with(room + page - 10, EFAULT);
}

static void long_paths(void) {
    begin();
    make_file("old", "x", 0600);
    char text[5000];
    memset(text, 'n', sizeof text);
    text[256] = 0;
    all_fail_with(text, ENAMETOOLONG);
    text[255] = 0;
    CHECK(mkdir(text, 0700) == 0);
    CHECK(rmdir(text) == 0);
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "./", 2);
    text[4096] = 0;
    all_fail_with(text, ENAMETOOLONG);
    text[4095] = 0;
    text[4092] = 'o', text[4093] = 'l', text[4094] = 'd'; // the longest that is allowed
    CHECK(access(text, F_OK) == 0);
    const int fd = open(text, O_RDONLY);
    CHECK(fd >= 0);
}

static void descriptors_as_directories(void) {
    begin();
    struct stat s;
    make_file("file", "x", 0600);
    CHECK(mkdir("dir", 0700) == 0);
    const int file = open("file", O_RDONLY), dir = open("dir", O_RDONLY | O_DIRECTORY);
    CHECK(file >= 0 && dir >= 0);
    CHECK_ERROR(openat(99, "x", O_RDONLY), EBADF);
    CHECK_ERROR(openat(-1, "x", O_RDONLY), EBADF);
    CHECK_ERROR(openat(file, "x", O_RDONLY), ENOTDIR);
    CHECK_ERROR(mkdirat(file, "x", 0700), ENOTDIR);
    CHECK_ERROR(unlinkat(99, "x", 0), EBADF);
    CHECK_ERROR(renameat(file, "x", dir, "y"), ENOTDIR);
    CHECK_ERROR(linkat(99, "x", dir, "y", 0), EBADF);
    CHECK_ERROR(fchmodat(file, "x", 0, 0), ENOTDIR);
    CHECK_ERROR(fstatat(99, "", &s, AT_EMPTY_PATH), EBADF);
    CHECK(fstatat(file, "", &s, AT_EMPTY_PATH) == 0 && S_ISREG(s.st_mode));
    CHECK(fstatat(99, "/", &s, 0) == 0); // is not looked at
    const int in = openat(dir, "x", O_CREAT | O_RDWR, 0600);
    CHECK(in >= 0);
    CHECK(access("dir/x", F_OK) == 0);
    CHECK_ERROR(unlinkat(AT_FDCWD, "dir/x", AT_REMOVEDIR), ENOTDIR);
    CHECK(unlinkat(dir, "x", 0) == 0);
    CHECK_ERROR(unlinkat(dir, "x", 0x10000), EINVAL);
    CHECK(fchdir(dir) == 0);
    CHECK_ERROR(fchdir(file), ENOTDIR);
    CHECK_ERROR(fchdir(99), EBADF);
    char path[200], want[200];
    snprintf(want, sizeof want, "%s/dir", base);
    CHECK(getcwd(path, sizeof path) && !strcmp(path, want));
    CHECK_ERROR(syscall(SYS_getcwd, path, 3), ERANGE);
    CHECK(rmdir("../dir") == 0);
    CHECK_ERROR(syscall(SYS_getcwd, path, sizeof path), ENOENT);
    CHECK_ERROR(open("x", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK(chdir("/") == 0);
}

// --- open(2)

static void open_flags(void) {
    begin();
    make_file("file", "hello", 0600);
    CHECK(mkdir("dir", 0700) == 0);
    CHECK(symlink("file", "link") == 0 && symlink("dir", "dlink") == 0 && symlink("fresh", "dangling") == 0);
    CHECK_ERROR(open("none", O_RDONLY), ENOENT);
    CHECK_ERROR(open("file", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
    CHECK_ERROR(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
    CHECK_ERROR(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    CHECK_ERROR(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
    CHECK_ERROR(open("dlink", O_RDONLY | O_DIRECTORY | O_NOFOLLOW), ENOTDIR);
    CHECK_ERROR(open("dir", O_RDWR), EISDIR);
    CHECK_ERROR(open("dir", O_RDONLY | O_CREAT, 0600), EISDIR);
    CHECK_ERROR(open("fresh/", O_RDWR | O_CREAT, 0600), EISDIR);
    CHECK_ERROR(open("file/", O_RDONLY), ENOTDIR);
    int fd = open("dangling", O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0 && access("fresh", F_OK) == 0);
    close(fd);
    fd = open("file", O_RDONLY);
    CHECK_ERROR(write(fd, "x", 1), EBADF);
    CHECK_ERROR(ftruncate(fd, 0), EINVAL);
    close(fd);
    fd = open("file", O_WRONLY);
    char byte;
    CHECK_ERROR(read(fd, &byte, 1), EBADF);
    close(fd);
    CHECK_EQ(stat_at("file").st_size, 5);
    fd = open("file", O_WRONLY | O_TRUNC);
    CHECK_EQ(stat_at("file").st_size, 0);
    close(fd);
    fd = open("dir", O_RDONLY);
    CHECK_ERROR(read(fd, &byte, 1), EISDIR);
    CHECK_ERROR(write(fd, &byte, 1), EBADF);
    close(fd);
    fd = open("once", O_CREAT | O_EXCL | O_WRONLY, 0400); // who makes it may write
    CHECK(fd >= 0 && write(fd, "x", 1) == 1);
}

static void open_by_path_only(void) {
    begin();
    make_file("file", "hello", 0600);
    CHECK(symlink("file", "link") == 0);
    char byte, room[16];
    struct stat s;
    const int fd = open("file", O_PATH | O_RDWR | O_TRUNC);
    CHECK(fd >= 0);
    CHECK_EQ(stat_at("file").st_size, 5);
    CHECK_ERROR(read(fd, &byte, 1), EBADF);
    CHECK_ERROR(write(fd, &byte, 1), EBADF);
    CHECK_ERROR(ftruncate(fd, 0), EBADF);
    CHECK_ERROR(syscall(SYS_fchmod, fd, 0), EBADF);
    CHECK_ERROR(lseek(fd, 0, SEEK_SET), EBADF);
    CHECK(mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EBADF);
    CHECK(fstat(fd, &s) == 0 && s.st_size == 5);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
    const int link = open("link", O_PATH | O_NOFOLLOW);
    CHECK(link >= 0);
    CHECK(fstat(link, &s) == 0 && S_ISLNK(s.st_mode));
    CHECK_EQ(readlinkat(link, "", room, sizeof room), 4);
}

static void a_nameless_file_can_be_given_a_name(void) {
    begin();
    CHECK_ERROR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    const int fd = open(".", O_TMPFILE | O_RDWR, 0640);
    CHECK(fd >= 0);
    CHECK_EQ(count_names("."), 2);
    CHECK_EQ(write(fd, "text", 4), 4);
    struct stat s;
    CHECK(fstat(fd, &s) == 0 && s.st_nlink == 0);
    CHECK(linkat(fd, "", AT_FDCWD, "named", AT_EMPTY_PATH) == 0);
    CHECK(fstat(fd, &s) == 0 && s.st_nlink == 1);
    CHECK(has_text("named", "text"));
    CHECK(unlink("named") == 0);
    CHECK_ERROR(linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH), ENOENT);
    const int kept = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    CHECK(kept >= 0);
    CHECK_ERROR(linkat(kept, "", AT_FDCWD, "named", AT_EMPTY_PATH), ENOENT);
}

static void what_was_unlinked_lives_while_it_is_open(void) {
    begin();
    make_file("file", "hello", 0600);
    const int fd = open("file", O_RDWR);
    CHECK(unlink("file") == 0);
    make_file("file", "other", 0600);
    char got[8] = {0};
    struct stat s;
    CHECK_EQ(pread(fd, got, sizeof got, 0), 5);
    CHECK(!memcmp(got, "hello", 5));
    CHECK_EQ(pwrite(fd, "more", 4, 5), 4);
    CHECK(fstat(fd, &s) == 0 && s.st_nlink == 0 && s.st_size == 9);
    CHECK(has_text("file", "other"));
    char* mapped = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(mapped != MAP_FAILED && !memcmp(mapped, "hellomore", 9));
    close(fd);
    mapped[0] = 'J';
    CHECK(!memcmp(mapped, "Jello", 5));
}

enum { appenders = 4, records = 200, record_bytes = 37 };

static void appends_are_never_mixed(void) {
    begin();
    make_file("log", "", 0600);
    pid_t children[appenders];
    for (int who = 0; who < appenders; who++) {
        IN_CHILD(child) {
            const int fd = open("log", O_WRONLY | O_APPEND);
            char record[record_bytes];
            memset(record, 'a' + who, sizeof record);
            for (int i = 0; i < records; i++)
                CHECK_EQ(write(fd, record, sizeof record), record_bytes);
        }
        children[who] = child;
    }
    for (int who = 0; who < appenders; who++)
        CHECK_EQ(EXIT_STATUS(children[who]), 0);
    CHECK_EQ(stat_at("log").st_size, appenders * records * record_bytes);
    const int fd = open("log", O_RDONLY);
    int of_each[appenders] = {0};
    char record[record_bytes];
    while (read(fd, record, sizeof record) == record_bytes) {
        for (int i = 1; i < record_bytes; i++)
            CHECK_EQ(record[i], record[0]);
        of_each[record[0] - 'a']++;
    }
    for (int who = 0; who < appenders; who++)
        CHECK_EQ(of_each[who], records);
}

// --- Directories

static void listing(void) {
    begin();
    CHECK(mkdir("d", 0700) == 0);
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "d/%d", i);
        make_file(name, "", 0600);
    }
    int seen[100] = {0}, dots = 0, fd = open("d", O_RDONLY | O_DIRECTORY);
    char room[300];
    long bytes, middle = 0;
    for (int part = 0; (bytes = syscall(SYS_getdents64, fd, room, sizeof room)) > 0; part++) {
        for (long at = 0; at < bytes;) {
            struct dirent* e = (struct dirent*)(room + at);
            CHECK(e->d_reclen % 8 == 0 && e->d_reclen <= bytes - at);
            if (e->d_name[0] == '.') {
                dots++;
                CHECK_EQ(e->d_type, DT_DIR);
            } else if (e->d_name[0] != 'n') {
                CHECK_EQ(e->d_type, DT_REG);
                seen[atoi(e->d_name)]++;
                if (atoi(e->d_name) == 50) middle = e->d_off;
            }
            at += e->d_reclen;
        }
        if (part >= 30) continue; // others come and go meanwhile, but not for ever
        snprintf(name, sizeof name, "d/n%d", part);
        make_file(name, "", 0600);
        snprintf(name, sizeof name, "d/%d", 99 - 2 * part);
        unlink(name);
    }
    CHECK_EQ(bytes, 0);
    CHECK_EQ(dots, 2);
    for (int i = 0; i < 100; i += 2)
        CHECK_EQ(seen[i], 1);
    for (int i = 1; i < 100; i += 2)
        CHECK(seen[i] <= 1);
    // Back to a place that it told.
    CHECK_EQ(lseek(fd, middle, SEEK_SET), middle);
    CHECK(syscall(SYS_getdents64, fd, room, sizeof room) > 0);
    CHECK(strcmp(((struct dirent*)room)->d_name, "50"));
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK(syscall(SYS_getdents64, fd, room, sizeof room) > 0);
    CHECK_ERROR(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_ERROR(syscall(SYS_getdents64, fd, room, 10), EINVAL);
    CHECK_ERROR(syscall(SYS_getdents64, fd, (void*)16, sizeof room), EFAULT);
    CHECK_ERROR(syscall(SYS_getdents64, 0, room, sizeof room), ENOTDIR);
    CHECK_ERROR(syscall(SYS_getdents64, 99, room, sizeof room), EBADF);
}

static void a_removed_directory_lists_nothing(void) {
    begin();
    char room[300];
    CHECK(mkdir("d", 0700) == 0);
    const int fd = open("d", O_RDONLY);
    CHECK(rmdir("d") == 0);
    CHECK_ERROR(syscall(SYS_getdents64, fd, room, sizeof room), ENOENT);
    CHECK_ERROR(openat(fd, "x", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK_ERROR(mkdirat(fd, "x", 0700), ENOENT);
}

static void too_many_files(void) {
    begin();
    make_file("file", "x", 0600);
    struct rlimit limit = {20, 20};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (open("file", O_RDONLY) >= 0)
        ;
    CHECK_EQ(errno, EMFILE);
    CHECK_ERROR(open("fresh", O_CREAT | O_RDWR, 0600), EMFILE);
    CHECK(close(19) == 0);
    CHECK_EQ(open("file", O_RDONLY), 19);
}

// --- Attributes

static void times_are_set(void) {
    begin();
    make_file("f", "x", 0600);
    const struct timespec given[2] = {{1000, 5}, {2000, 7}};
    CHECK(utimensat(AT_FDCWD, "f", given, 0) == 0);
    struct stat s = stat_at("f");
    CHECK(s.st_atim.tv_sec == 1000 && s.st_atim.tv_nsec == 5 && s.st_mtim.tv_sec == 2000 && s.st_mtim.tv_nsec == 7);
    CHECK(s.st_ctim.tv_sec > 2000);
    const struct timespec part[2] = {{1, UTIME_OMIT}, {3000, 0}};
    CHECK(utimensat(AT_FDCWD, "f", part, 0) == 0);
    s = stat_at("f");
    CHECK(s.st_atim.tv_sec == 1000 && s.st_mtim.tv_sec == 3000);
    const struct timespec bad[2] = {{1, 1000000000}, {1, 0}};
    CHECK_ERROR(utimensat(AT_FDCWD, "f", bad, 0), EINVAL);
    CHECK(utimensat(AT_FDCWD, "f", NULL, 0) == 0);
    CHECK(stat_at("f").st_mtim.tv_sec > 3000);
    CHECK(symlink("f", "l") == 0);
    CHECK(utimensat(AT_FDCWD, "l", given, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK(stat_at("l").st_mtim.tv_sec == 2000 && stat_at("f").st_mtim.tv_sec > 3000);
    CHECK(chmod("f", 0666) == 0);
    IN_CHILD(child) {
        become(1000);
        CHECK_ERROR(utimensat(AT_FDCWD, "f", given, 0), EPERM);
        CHECK(utimensat(AT_FDCWD, "f", NULL, 0) == 0); // who may write may
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void umask_takes_bits_away(void) {
    begin();
    CHECK_EQ(umask(027), 022);
    CHECK(close(open("f", O_CREAT | O_RDWR, 0666)) == 0);
    CHECK(mkdir("d", 0777) == 0 && mknod("p", S_IFIFO | 0666, 0) == 0 && symlink("x", "l") == 0);
    CHECK_EQ(stat_at("f").st_mode, S_IFREG | 0640);
    CHECK_EQ(stat_at("d").st_mode, S_IFDIR | 0750);
    CHECK_EQ(stat_at("p").st_mode, S_IFIFO | 0640);
    CHECK_EQ(stat_at("l").st_mode, S_IFLNK | 0777);
    CHECK(chmod("f", 0666) == 0);
    CHECK_EQ(stat_at("f").st_mode, S_IFREG | 0666);
    CHECK_EQ(umask(07777), 027);
    CHECK_EQ(umask(0), 0777);
}

static void rights_of_somebody(void) {
    begin();
    make_file("secret", "x", 0600);
    make_file("public", "x", 0644);
    CHECK(mkdir("closed", 0700) == 0 && mkdir("sticky", 0777) == 0 && chmod("sticky", 01777) == 0);
    make_file("sticky/roots", "x", 0666);
    make_file("closed/in", "x", 0666);
    IN_CHILD(child) {
        become(1000);
        CHECK_ERROR(open("secret", O_RDONLY), EACCES);
        CHECK_ERROR(open("public", O_RDWR), EACCES);
        CHECK_ERROR(open("public", O_RDONLY | O_TRUNC), EACCES);
        CHECK(open("public", O_RDONLY) >= 0);
        CHECK_ERROR(open("public", O_RDONLY | O_NOATIME), EPERM);
        CHECK_ERROR(open("closed/in", O_RDONLY), EACCES);
        CHECK_ERROR(opendir("closed") ? 0 : -1, EACCES);
        CHECK_ERROR(access("secret", R_OK), EACCES);
        CHECK(access("secret", F_OK) == 0);
        CHECK_ERROR(unlink("sticky/roots"), EPERM);
        CHECK_ERROR(rename("sticky/roots", "sticky/mine"), EPERM);
        CHECK_ERROR(chmod("public", 0666), EPERM);
        CHECK_ERROR(chown("public", 1000, 1000), EPERM);
        CHECK_ERROR(mknod("device", S_IFCHR | 0600, 0x103), EPERM);
        CHECK_ERROR(chroot("."), EPERM);
        CHECK_ERROR(mount("x", "sticky", "tmpfs", 0, NULL), EPERM);
        CHECK_ERROR(umount2("/", 0), EPERM);
        CHECK(mknod("mine", S_IFREG | 0644, 0) == 0);
        CHECK(chmod("mine", 04755) == 0);
        CHECK_ERROR(chown("mine", 0, -1), EPERM);
        CHECK_EQ(stat_at("mine").st_uid, 1000);
        char* arguments[] = {"public", NULL};
        CHECK_ERROR(execve("public", arguments, arguments + 1), EACCES);
        CHECK_ERROR(execve("sticky", arguments, arguments + 1), EACCES);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void writing_takes_set_id_away(void) {
    begin();
    make_file("f", "x", 0666);
    CHECK(chmod("f", 06777) == 0);
    CHECK_EQ(stat_at("f").st_mode & 07777, 06777);
    IN_CHILD(child) {
        become(1000);
        const int fd = open("f", O_WRONLY);
        CHECK(fd >= 0 && write(fd, "y", 1) == 1);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(stat_at("f").st_mode & 07777, 0777);
}

// --- Programs

// This program with an argument looks at what it has become.
static int be_set_user(void) {
    return !(geteuid() == 2000 && getuid() == 1000 && getauxval(AT_SECURE) == 1 && getauxval(AT_EUID) == 2000 &&
             getauxval(AT_UID) == 1000);
}

static void copy_self(const char* path) {
    const int from = open(tap_arguments[0], O_RDONLY), to = open(path, O_CREAT | O_WRONLY, 0700);
    CHECK(from >= 0 && to >= 0);
    char* room = anonymous(64 * page);
    ssize_t bytes;
    while ((bytes = read(from, room, 64 * page)) > 0)
        CHECK_EQ(write(to, room, bytes), bytes);
    CHECK(bytes == 0 && close(to) == 0);
}

static void a_set_user_program_runs_as_its_owner(void) {
    begin();
    copy_self("program");
    CHECK(chown("program", 2000, 2000) == 0);
    CHECK(chmod("program", 04755) == 0);
    IN_CHILD(child) {
        become(1000);
        char* arguments[] = {"program", "--be-set-user", NULL};
        execve("program", arguments, arguments + 2);
        CHECK(!"exec");
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(chmod("program", 04644) == 0); // not even root runs what nobody may run
    char* arguments[] = {"program", NULL};
    CHECK_ERROR(execve("program", arguments, arguments + 1), EACCES);
}

static int be_program(void) {
    return 42;
}

static void programs_by_descriptor(void) {
    begin();
    copy_self("program");
    const int fd = open("program", O_RDONLY | O_CLOEXEC), dir = open(".", O_RDONLY);
    CHECK(symlink("program", "link") == 0);
    char* arguments[] = {"x", "--be-program", NULL};
    {
        IN_CHILD(child) {
            syscall(SYS_execveat, fd, "", arguments, arguments + 2, AT_EMPTY_PATH);
            CHECK(!"exec");
        }
        CHECK_EQ(EXIT_STATUS(child), 42);
    }
    {
        IN_CHILD(child) {
            syscall(SYS_execveat, dir, "link", arguments, arguments + 2, 0);
            CHECK(!"exec");
        }
        CHECK_EQ(EXIT_STATUS(child), 42);
    }
    CHECK_ERROR(syscall(SYS_execveat, dir, "link", arguments, arguments + 2, AT_SYMLINK_NOFOLLOW), ELOOP);
    CHECK_ERROR(syscall(SYS_execveat, 99, "x", arguments, arguments + 2, 0), EBADF);
    CHECK_ERROR(syscall(SYS_execveat, dir, "", arguments, arguments + 2, 0), ENOENT);
}

static void scripts_name_their_interpreter(void) {
    begin();
    copy_self("program");
    char text[200];
    snprintf(text, sizeof text, "#! %s/program --be-program\nwhatever\n", base);
    make_file("script", text, 0755);
    IN_CHILD(child) {
        char* arguments[] = {"script", NULL};
        execve("script", arguments, arguments + 1);
        CHECK(!"exec");
    }
    CHECK_EQ(EXIT_STATUS(child), 42);
    make_file("lost", "#!/no/such/program\n", 0755);
    make_file("noise", "no program at all", 0755);
    char* arguments[] = {"x", NULL};
    CHECK_ERROR(execve("lost", arguments, arguments + 1), ENOENT);
    CHECK_ERROR(execve("noise", arguments, arguments + 1), ENOEXEC);
}

static void a_changed_root_cannot_be_left(void) {
    begin();
    CHECK(mkdir("jail", 0755) == 0);
    make_file("jail/in", "inside", 0644);
    IN_CHILD(child) {
        CHECK(chdir("jail") == 0 && chroot(".") == 0);
        CHECK(has_text("/in", "inside") && has_text("../../../in", "inside"));
        CHECK_ERROR(open("/tmp", O_RDONLY), ENOENT);
        CHECK(symlink("/in", "link") == 0 && has_text("link", "inside"));
        char path[64];
        CHECK(getcwd(path, sizeof path) && !strcmp(path, "/"));
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

// --- Mounts

// What is mounted, and the root that is exchanged, must be nobody else's: where there are namespaces of mounts this
// process gets one of its own first, or the test is left out. A kernel that knows none (ENOSYS, EINVAL) is one that was
// booted for these tests.
static void keep_mounts_private(void) {
    if (unshare(CLONE_NEWNS) == 0) {
        if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) tap_skip("mounts would be seen by others");
        return;
    }
    if (errno != ENOSYS && errno != EINVAL) tap_skip("nobody may mount here");
}

static void mount_or_skip(const char* at, const char* options) {
    keep_mounts_private();
    CHECK(mount("none", at, "tmpfs", 0, options) == 0);
}

static void a_full_file_system_loses_nothing(void) {
    begin();
    CHECK(mkdir("m", 0700) == 0);
    mount_or_skip("m", "size=64k");
    char* block = anonymous(page);
    memset(block, 'x', page);
    int fd = open("m/f", O_CREAT | O_RDWR, 0600), blocks = 0;
    CHECK(fd >= 0);
    ssize_t wrote;
    while ((wrote = write(fd, block, page)) == page)
        blocks++;
    CHECK(wrote < 0 && errno == ENOSPC);
    CHECK_EQ(blocks, 16);
    CHECK_EQ(stat_at("m/f").st_size, 64 << 10);
    struct statfs s;
    CHECK(statfs("m", &s) == 0);
    CHECK_EQ(s.f_bfree, 0);
    CHECK_EQ(s.f_blocks * s.f_bsize, 64 << 10);
    for (int i = 0; i < blocks; i++) {
        char* got = block;
        memset(got, 0, page);
        CHECK_EQ(pread(fd, got, page, i * page), page);
        CHECK(got[0] == 'x' && got[page - 1] == 'x');
    }
    // A mapping of a hole has no room either: the program hears of it as of a bad page.
    const int hole = open("m/hole", O_CREAT | O_RDWR, 0600);
    CHECK(ftruncate(hole, page) == 0);
    volatile char* mapped = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, hole, 0);
    CHECK(mapped != MAP_FAILED);
    catch_faults();
    CHECK_EQ(TRY_FAULT(mapped[0] = 1), SIGBUS);
    CHECK(munmap((void*)mapped, page) == 0 && close(hole) == 0 && unlink("m/hole") == 0);
    CHECK(unlink("m/f") == 0);
    CHECK(statfs("m", &s) == 0 && s.f_bfree == 0); // it is open
    CHECK_ERROR(umount2("m", 0), EBUSY);
    close(fd);
    CHECK(statfs("m", &s) == 0 && s.f_bfree == 16);
    make_file("m/g", "again", 0600);
    CHECK(umount2("m", 0) == 0);
    CHECK_ERROR(open("m/g", O_RDONLY), ENOENT);
    CHECK_ERROR(umount2("m", 0), EINVAL);
}

static void bind_and_read_only(void) {
    begin();
    CHECK(mkdir("a", 0755) == 0 && mkdir("b", 0755) == 0 && mkdir("a/in", 0755) == 0);
    keep_mounts_private();
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    make_file("b/file", "both", 0600);
    CHECK(has_text("a/file", "both"));
    CHECK_EQ(stat_at("a/file").st_ino, stat_at("b/file").st_ino);
    CHECK_ERROR(rename("a/file", "b/other"), EXDEV);
    CHECK_ERROR(link("a/file", "b/other"), EXDEV);
    CHECK_ERROR(rmdir("b"), EBUSY);
    CHECK(mount("none", "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
    CHECK_ERROR(open("b/file", O_RDWR), EROFS);
    CHECK_ERROR(open("b/new", O_CREAT | O_RDWR, 0600), EROFS);
    CHECK_ERROR(open("b/file", O_RDONLY | O_TRUNC), EROFS);
    CHECK_ERROR(mkdir("b/new", 0700), EROFS);
    CHECK_ERROR(mkdir("b/in", 0700), EEXIST);
    CHECK_ERROR(unlink("b/file"), EROFS);
    CHECK_ERROR(chmod("b/file", 0), EROFS);
    CHECK_ERROR(utimensat(AT_FDCWD, "b/file", NULL, 0), EROFS);
    CHECK_ERROR(truncate("b/file", 0), EROFS);
    CHECK_ERROR(access("b/file", W_OK), EROFS);
    CHECK(open("b/file", O_RDONLY) >= 0);
    CHECK_ERROR(mount("none", "a", NULL, MS_REMOUNT, NULL), EINVAL);
    CHECK_ERROR(mount("none", "a/file", "tmpfs", 0, NULL), ENOTDIR);
    CHECK_ERROR(mount("none", "a", "nosuchfs", 0, NULL), ENODEV);
    CHECK_ERROR(mount("none", "nowhere", "tmpfs", 0, NULL), ENOENT);
    CHECK_ERROR(umount2("b", 0), EBUSY); // a file is open
    CHECK(umount2("b", MNT_DETACH) == 0);
    CHECK_EQ(count_names("b"), 2);
}

static void the_root_is_exchanged(void) {
    begin();
    CHECK(mkdir("fresh", 0755) == 0 && mkdir("back", 0755) == 0);
    mount_or_skip("fresh", NULL);
    CHECK(mkdir("fresh/old", 0755) == 0);
    make_file("fresh/here", "new root", 0644);
    CHECK_ERROR(syscall(SYS_pivot_root, "fresh/old", "fresh"), EINVAL);
    if (syscall(SYS_pivot_root, "fresh", "fresh/old") < 0) {
        CHECK(umount2("fresh", MNT_DETACH) == 0);
        tap_skip("this root cannot be exchanged"); // Linux's first one
    }
    CHECK(has_text("/here", "new root"));
    char path[200];
    snprintf(path, sizeof path, "/old%s/fresh", base);
    CHECK_EQ(count_names(path), 2); // nothing is mounted there any more
    CHECK(chdir("/") == 0);
    snprintf(path, sizeof path, "/old%s/back", base);
    CHECK(syscall(SYS_pivot_root, "/old", path) == 0);
    CHECK_ERROR(open("/here", O_RDONLY), ENOENT);
    CHECK(chdir(base) == 0);
    CHECK(has_text("back/here", "new root"));
    CHECK(umount2("back", MNT_DETACH) == 0);
    CHECK_EQ(count_names("back"), 2);
}

// --- Many at once

enum { workers = 6, turns = 400, shared_names = 8 };

static void hammer(int seed) {
    char a[32], b[32];
    unsigned random = seed * 7919 + 1;
    for (int i = 0; i < turns; i++) {
        random = random * 1103515245 + 12345;
        snprintf(a, sizeof a, "%c/%u", 'a' + (random >> 16) % 2, (random >> 20) % shared_names);
        snprintf(b, sizeof b, "%c/%u", 'a' + (random >> 24) % 2, (random >> 26) % shared_names);
        int done, fd = -1;
        switch ((random >> 8) % 6) {
        case 0: done = fd = open(a, O_CREAT | O_RDWR, 0600); break;
        case 1: done = mkdir(a, 0700); break;
        case 2: done = unlink(a); break;
        case 3: done = rmdir(a); break;
        case 4: done = rename(a, b); break;
        default: done = link(a, b); break;
        }
        if (fd >= 0) {
            CHECK_EQ(write(fd, "x", 1), 1);
            close(fd);
        }
        CHECK(done >= 0 || errno == ENOENT || errno == EEXIST || errno == EISDIR || errno == ENOTDIR ||
              errno == ENOTEMPTY || errno == EPERM);
        if (i % 64 == 0) count_names("a");
    }
}

static void many_processes_in_one_directory(void) {
    begin();
    CHECK(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0);
    pid_t children[workers];
    for (int who = 0; who < workers; who++) {
        IN_CHILD(child) hammer(who);
        children[who] = child;
    }
    for (int who = 0; who < workers; who++)
        CHECK_EQ(EXIT_STATUS(children[who]), 0);
    char name[32];
    for (int d = 0; d < 2; d++) {
        int directories = 0;
        for (int i = 0; i < shared_names; i++) {
            snprintf(name, sizeof name, "%c/%d", 'a' + d, i);
            struct stat s;
            if (lstat(name, &s) < 0) continue;
            if (S_ISDIR(s.st_mode)) directories++;
        }
        snprintf(name, sizeof name, "%c", 'a' + d);
        CHECK_EQ(stat_at(name).st_nlink, 2 + directories);
        for (int i = 0; i < shared_names; i++) {
            snprintf(name, sizeof name, "%c/%d", 'a' + d, i);
            if (unlink(name) < 0 && errno != ENOENT) CHECK(rmdir(name) == 0);
        }
        snprintf(name, sizeof name, "%c", 'a' + d);
        CHECK_EQ(count_names(name), 2);
        CHECK(rmdir(name) == 0);
    }
}

// Whether or not a file system keeps extended attributes, what it is given is looked at first.
static void extended_attributes(void) {
    begin();
    make_file("f", "", 0644);
    CHECK(symlink("nowhere", "l") == 0);
    const int fd = open("f", O_RDWR), by_path = open("f", O_PATH);
    char name[300], value[16];
    memset(name, 'n', sizeof name);
    memcpy(name, "user.", 5);
    name[sizeof name - 1] = 0;
    CHECK(setxattr("f", "user.x", "v", 1, 0) == 0 || errno == EOPNOTSUPP);
    CHECK(getxattr("f", "user.y", value, sizeof value) == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
    CHECK(fremovexattr(fd, "user.y") == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
    CHECK(listxattr("f", NULL, 0) >= 0 && llistxattr("l", NULL, 0) >= 0 && flistxattr(fd, NULL, 0) >= 0);
    CHECK_ERROR(setxattr("f", "user.x", "v", 1, 8), EINVAL);
    CHECK_ERROR(setxattr("f", "", "v", 1, 0), ERANGE);
    CHECK_ERROR(setxattr("f", name, "v", 1, 0), ERANGE);
    CHECK_ERROR(setxattr("f", "user.x", "v", 65537, 0), E2BIG);
    CHECK_ERROR(setxattr("f", (char*)1, "v", 1, 0), EFAULT);
    CHECK_ERROR(setxattr((char*)1, "user.x", "v", 1, 0), EFAULT);
    CHECK_ERROR(getxattr("missing", "user.x", value, sizeof value), ENOENT);
    CHECK_ERROR(getxattr("l", "user.x", value, sizeof value), ENOENT);
    CHECK_ERROR(getxattr("f", name, value, sizeof value), ERANGE);
    CHECK_ERROR(removexattr("f/g", "user.x"), ENOTDIR);
    CHECK_ERROR(fgetxattr(by_path, "user.x", value, sizeof value), EBADF);
    CHECK_ERROR(flistxattr(-1, NULL, 0), EBADF);
    CHECK(chmod(base, 0700) == 0);
    IN_CHILD(somebody) {
        become(1000);
        CHECK_ERROR(listxattr("f", NULL, 0), EACCES);
    }
    CHECK_EQ(EXIT_STATUS(somebody), 0);
}

// Where bytes are, whether they are in memory or not; what is written later counts at once.
static void holes_are_found(void) {
    enum { middle = 1 << 20, end = 4 << 20 };
    begin();
    const int fd = open("f", O_CREAT | O_RDWR, 0644);
    static char bytes[2 * page] = "bytes";
    CHECK(pwrite(fd, bytes, page, 0) == page && pwrite(fd, bytes, 2 * page, middle) == 2 * page);
    CHECK(ftruncate(fd, end) == 0);
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(lseek(fd, 0, SEEK_DATA), 0);
        CHECK_EQ(lseek(fd, 0, SEEK_HOLE), page);
        CHECK_EQ(lseek(fd, page, SEEK_DATA), middle);
        CHECK_EQ(lseek(fd, middle + 1, SEEK_DATA), middle + 1);
        CHECK_EQ(lseek(fd, middle, SEEK_HOLE), middle + 2 * page);
        CHECK_EQ(lseek(fd, middle + 2 * page + 5, SEEK_HOLE), middle + 2 * page + 5);
        CHECK_ERROR(lseek(fd, middle + 2 * page, SEEK_DATA), ENXIO);
        CHECK_ERROR(lseek(fd, end, SEEK_HOLE), ENXIO);
        CHECK(fsync(fd) == 0);
    }
    CHECK(pwrite(fd, "x", 1, end - 1) == 1);
    CHECK_EQ(lseek(fd, middle + 2 * page, SEEK_DATA), end - page);
    CHECK_EQ(lseek(fd, end - 1, SEEK_HOLE), end);
}

static void a_range_is_kept(void) {
    begin();
    make_file("f", "text", 0644);
    const int fd = open("f", O_RDWR);
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(sync_file_range(fd, 0, 0, 7) == 0 && sync_file_range(fd, 1 << 20, 100, SYNC_FILE_RANGE_WRITE) == 0);
    CHECK_ERROR(sync_file_range(fd, 0, 0, 8), EINVAL);
    CHECK_ERROR(sync_file_range(fd, -1, 0, 0), EINVAL);
    CHECK_ERROR(sync_file_range(fd, 1, INT64_MAX, 0), EINVAL);
    CHECK_ERROR(sync_file_range(ends[0], 0, 0, 0), ESPIPE);
    CHECK_ERROR(sync_file_range(open("f", O_PATH), 0, 0, 0), EBADF);
    CHECK_ERROR(sync_file_range(-1, 0, 0, 0), EBADF);
}

int main(int count, char** arguments) {
    static const struct tap_test tests[] = {
        T(bad_paths),
        T(long_paths),
        T(descriptors_as_directories),
        T(open_flags),
        T(open_by_path_only),
        T(a_nameless_file_can_be_given_a_name),
        T(what_was_unlinked_lives_while_it_is_open),
        T(appends_are_never_mixed),
        T(listing),
        T(a_removed_directory_lists_nothing),
        T(too_many_files),
        T(times_are_set),
        T(umask_takes_bits_away),
        T(rights_of_somebody),
        T(writing_takes_set_id_away),
        T(a_set_user_program_runs_as_its_owner),
        T(programs_by_descriptor),
        T(scripts_name_their_interpreter),
        T(a_changed_root_cannot_be_left),
        T(a_full_file_system_loses_nothing),
        T(bind_and_read_only),
        T(the_root_is_exchanged),
        T(many_processes_in_one_directory),
        T(extended_attributes),
        T(holes_are_found),
        T(a_range_is_kept),
    };
    if (count > 1 && !strcmp(arguments[1], "--be-set-user")) return be_set_user();
    if (count > 1 && !strcmp(arguments[1], "--be-program")) return be_program();
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
