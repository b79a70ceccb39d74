// Mounts: moved, passed on, made read-only, taken away at once with all that they carry, and expiring. Each test has a
// file system of its own to work in.
#include "tests/user/tap.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

static char base[64];

// What is mounted must be nobody else's: see tests/user/tree.c.
static void begin(void) {
    if (unshare(CLONE_NEWNS) == 0) {
        if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) tap_skip("mounts would be seen by others");
    } else if (errno != ENOSYS && errno != EINVAL) {
        tap_skip("nobody may mount here");
    }
    snprintf(base, sizeof base, "/tmp/mounts.%d", getpid());
    CHECK(mkdir(base, 0777) == 0);
    CHECK(mount("base", base, "tmpfs", 0, NULL) == 0);
    CHECK(mount("none", base, NULL, MS_PRIVATE, NULL) == 0);
    CHECK(chdir(base) == 0);
    CHECK(mkdir("a", 0777) == 0 && mkdir("b", 0777) == 0 && mkdir("c", 0777) == 0);
}

// All that begin() and the test have mounted goes.
static void end(void) {
    CHECK(chdir("/") == 0);
    CHECK(umount2(base, MNT_DETACH) == 0);
    CHECK(rmdir(base) == 0);
}

static void make_file(const char* path) {
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
}

static int is_there(const char* path) {
    return access(path, F_OK) == 0;
}

static void fresh(const char* at) {
    CHECK(mount("fresh", at, "tmpfs", 0, NULL) == 0);
}

// The line of a mount in mountinfo, by where it is seen from here; empty: none.
static const char* line_of(const char* path) {
    static char text[1 << 16];
    char wanted[200];
    snprintf(wanted, sizeof wanted, " %s%s%s ", base, *path ? "/" : "", path);
    const int fd = open("/proc/self/mountinfo", O_RDONLY);
    CHECK(fd >= 0);
    size_t have = 0;
    ssize_t got;
    while ((got = read(fd, text + have, sizeof text - 1 - have)) > 0)
        have += got;
    close(fd);
    text[have] = 0;
    for (char* line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, wanted)) return line;
    return "";
}

// --- Moving

static void one_is_moved_with_all_that_it_carries(void) {
    begin();
    fresh("a");
    CHECK(mkdir("a/in", 0777) == 0);
    fresh("a/in");
    make_file("a/file");
    make_file("a/in/deep");
    const int fd = open("a/file", O_RDWR);
    CHECK(chdir("a/in") == 0);
    CHECK(mount("../../a", "../../b", NULL, MS_MOVE, NULL) == 0);
    // Whoever was in it has moved along.
    char path[200], want[200];
    snprintf(want, sizeof want, "%s/b/in", base);
    CHECK(getcwd(path, sizeof path) && !strcmp(path, want));
    CHECK(is_there("deep") && is_there("../file") && is_there("../../a"));
    CHECK(chdir("../..") == 0);
    CHECK(is_there("b/file") && is_there("b/in/deep") && !is_there("a/file"));
    CHECK(write(fd, "x", 1) == 1 && close(fd) == 0);
    CHECK(rmdir("a") == 0);
    CHECK_ERROR(rmdir("b"), EBUSY);
    CHECK(umount2("b/in", 0) == 0 && umount2("b", 0) == 0 && rmdir("b") == 0);
    end();
}

static void what_cannot_be_moved(void) {
    begin();
    fresh("a");
    CHECK(mkdir("a/in", 0777) == 0 && mkdir("a/plain", 0777) == 0);
    make_file("a/file");
    CHECK_ERROR(mount("a/plain", "b", NULL, MS_MOVE, NULL), EINVAL); // nothing is mounted there
    CHECK_ERROR(mount("a", "a/in", NULL, MS_MOVE, NULL), ELOOP);
    CHECK_ERROR(mount(".", "a/in", NULL, MS_MOVE, NULL), ELOOP);
    CHECK_ERROR(mount("none", "b", NULL, MS_MOVE, NULL), ENOENT);
    CHECK_ERROR(mount("", "b", NULL, MS_MOVE, NULL), EINVAL);
    CHECK_ERROR(mount(NULL, "b", NULL, MS_MOVE, NULL), EINVAL);
    CHECK_ERROR(mount("a", "nowhere", NULL, MS_MOVE, NULL), ENOENT);
    CHECK_ERROR(mount("a", "a/file", NULL, MS_MOVE, NULL), EINVAL);
    CHECK(mount("none", base, NULL, MS_SHARED, NULL) == 0);
    CHECK_ERROR(mount("a", "b", NULL, MS_MOVE, NULL), EINVAL); // it is on a shared one
    CHECK(mount("none", base, NULL, MS_PRIVATE, NULL) == 0);
    CHECK(mount("a", "b", NULL, MS_MOVE, NULL) == 0);
    end();
}

// Who looks while one goes to and fro finds it in one of the two places, or is just between looking at both.
static void it_is_never_nowhere(void) {
    begin();
    fresh("a");
    make_file("a/file");
    volatile int* done = shared(page);
    IN_CHILD(mover) {
        for (int at = 0; at < 300; at++)
            CHECK(mount(at % 2 ? "b" : "a", at % 2 ? "a" : "b", NULL, MS_MOVE, NULL) == 0);
        done[0] = 1;
    }
    const int inside = open("a/file", O_RDONLY) >= 0 ? open("a", O_PATH) : open("b", O_PATH);
    while (!done[0]) {
        struct stat s;
        (void)stat("a/file", &s);
        (void)stat("b/file", &s);
        if (inside >= 0) CHECK(fstatat(inside, "..", &s, 0) == 0);
    }
    CHECK_EQ(EXIT_STATUS(mover), 0);
    CHECK(is_there("a/file"));
    close(inside);
    end();
}

// --- Taking away

static void a_lazy_unmount_takes_all_that_is_below(void) {
    begin();
    fresh("a");
    CHECK(mkdir("a/in", 0777) == 0 && mkdir("a/other", 0777) == 0);
    fresh("a/in");
    CHECK(mkdir("a/in/more", 0777) == 0);
    fresh("a/in/more");
    make_file("a/in/more/file");
    const int fd = open("a/in/more/file", O_RDWR), dir = open("a", O_PATH | O_DIRECTORY);
    CHECK(fd >= 0 && dir >= 0);
    CHECK_ERROR(umount2("a", 0), EBUSY);
    CHECK_ERROR(umount2("a/in", MNT_FORCE), EBUSY);
    CHECK(umount2("a", MNT_DETACH) == 0);
    CHECK(!is_there("a/in") && rmdir("a") == 0);
    // What is open goes on working, apart from everything.
    char text[5] = "";
    CHECK(write(fd, "hello", 5) == 5 && pread(fd, text, 5, 0) == 5 && !memcmp(text, "hello", 5));
    CHECK(ftruncate(fd, 100 * page) == 0);
    struct stat s;
    CHECK(fstatat(dir, "in", &s, 0) == 0 && S_ISDIR(s.st_mode));
    CHECK(faccessat(dir, "in/more", F_OK, 0) < 0); // the mounts that it carried stand there no more
    CHECK(mkdirat(dir, "fresh", 0700) == 0 && fstatat(dir, "fresh", &s, 0) == 0);
    CHECK(fchdir(dir) == 0);
    char path[200];
    CHECK(syscall(SYS_getcwd, path, sizeof path) > 0 && path[0] != '/'); // (unreachable)
    CHECK_ERROR(umount2(".", MNT_DETACH), EINVAL);
    CHECK(mount("none", "fresh", "tmpfs", 0, NULL) < 0 && (errno == EINVAL || errno == ENOENT)); // Linuxes differ
    CHECK_ERROR(mount(".", base, NULL, MS_BIND, NULL), EINVAL);
    close(fd);
    close(dir);
    end();
}

static void the_memory_of_one_that_was_detached_comes_back(void) {
    begin();
    struct sysinfo info;
    CHECK(sysinfo(&info) == 0);
    const size_t bytes = memory_for(8 << 20);
    char* block = anonymous(page);
    memset(block, 1, page);
    for (int turn = 0; turn < 20; turn++) {
        fresh("a");
        const int fd = open("a/file", O_CREAT | O_RDWR, 0600);
        for (size_t at = 0; at < bytes; at += page)
            CHECK(pwrite(fd, block, page, at) == page);
        CHECK(umount2("a", MNT_DETACH) == 0);
        CHECK(pread(fd, block, page, bytes - page) == page && block[page - 1] == 1);
        close(fd);
    }
    end();
}

static void an_unused_one_expires_when_asked_twice(void) {
    begin();
    fresh("a");
    make_file("a/file");
    CHECK_ERROR(umount2("a", MNT_EXPIRE | MNT_DETACH), EINVAL);
    CHECK_ERROR(umount2("a", MNT_EXPIRE | MNT_FORCE), EINVAL);
    CHECK_ERROR(umount2("/", MNT_EXPIRE), EINVAL);
    const int fd = open("a/file", O_RDONLY);
    CHECK_ERROR(umount2("a", MNT_EXPIRE), EBUSY);
    close(fd);
    CHECK_ERROR(umount2("a", MNT_EXPIRE), EAGAIN);
    CHECK(is_there("a/file")); // somebody has used it
    CHECK_ERROR(umount2("a", MNT_EXPIRE), EAGAIN);
    CHECK(umount2("a", MNT_EXPIRE) == 0);
    CHECK(!is_there("a/file"));
    CHECK_ERROR(umount2("a", MNT_EXPIRE), EINVAL);
    end();
}

static void flags_are_looked_at(void) {
    begin();
    fresh("a");
    CHECK_ERROR(umount2("a", 16), EINVAL);
    CHECK_ERROR(umount2("a", 0x80000000), EINVAL);
    CHECK_ERROR(umount2("b", 0), EINVAL);
    CHECK_ERROR(umount2("nowhere", 0), ENOENT);
    CHECK_ERROR(umount2(NULL, 0), EFAULT);
    CHECK(symlink("a", "link") == 0);
    CHECK_ERROR(umount2("link", UMOUNT_NOFOLLOW), EINVAL);
    CHECK(umount2("link", 0) == 0);
    CHECK_ERROR(mount("x", "a", NULL, 0, NULL), EINVAL);
    CHECK_ERROR(mount("x", "a", "tmpfs", 0, "nonsense"), EINVAL);
    CHECK_ERROR(mount("x", "a", "tmpfs", 0, (void*)16), EFAULT);
    CHECK_ERROR(mount("x", NULL, "tmpfs", 0, NULL), EFAULT);
    CHECK_ERROR(mount("none", "a", NULL, MS_PRIVATE | MS_SHARED, NULL), EINVAL);
    CHECK_ERROR(mount("none", "a", NULL, MS_PRIVATE | MS_RDONLY, NULL), EINVAL);
    CHECK_ERROR(mount("none", "a", NULL, MS_PRIVATE, NULL), EINVAL); // no mount
    CHECK_ERROR(mount("none", "a", NULL, MS_REMOUNT, NULL), EINVAL);
    IN_CHILD(child) {
        CHECK(setresuid(1000, 1000, 1000) == 0);
        CHECK_ERROR(mount("x", "a", "tmpfs", 0, NULL), EPERM);
        CHECK_ERROR(mount("a", "b", NULL, MS_MOVE, NULL), EPERM);
        CHECK_ERROR(mount("none", base, NULL, MS_SHARED, NULL), EPERM);
        CHECK_ERROR(umount2("a", 0), EPERM);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    end();
}

// --- Read-only

static unsigned long flags_of(const char* path) {
    struct statvfs s;
    CHECK(statvfs(path, &s) == 0);
    return s.f_flag;
}

static void one_view_is_read_only(void) {
    begin();
    fresh("a");
    make_file("a/file");
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    const int fd = open("b/file", O_RDWR);
    CHECK(fd >= 0);
    CHECK_ERROR(mount("none", "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), EBUSY);
    CHECK(!(flags_of("b") & ST_RDONLY) && write(fd, "x", 1) == 1);
    CHECK(close(fd) == 0);
    CHECK(mount("none", "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
    CHECK((flags_of("b") & ST_RDONLY) && !(flags_of("a") & ST_RDONLY));
    CHECK_ERROR(open("b/file", O_RDWR), EROFS);
    CHECK_ERROR(mkdir("b/dir", 0700), EROFS);
    CHECK(mkdir("a/dir", 0700) == 0 && is_there("b/dir"));
    CHECK(strstr(line_of("b"), " ro") && strstr(line_of("b"), " - tmpfs fresh rw"));
    CHECK(mount("none", "b", NULL, MS_REMOUNT | MS_BIND | MS_NOSUID, NULL) == 0);
    CHECK(!(flags_of("b") & ST_RDONLY) && (flags_of("b") & ST_NOSUID));
    CHECK(rmdir("b/dir") == 0);
    end();
}

static void a_whole_file_system_is_read_only(void) {
    begin();
    fresh("a");
    make_file("a/file");
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    const int fd = open("b/file", O_WRONLY);
    CHECK_ERROR(mount("none", "a", NULL, MS_REMOUNT | MS_RDONLY, NULL), EBUSY);
    // A shared mapping writes, too, when the file is closed.
    CHECK(ftruncate(fd, page) == 0 && close(fd) == 0);
    const int both = open("b/file", O_RDWR);
    char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, both, 0);
    CHECK(at != MAP_FAILED && close(both) == 0);
    CHECK_ERROR(mount("none", "a", NULL, MS_REMOUNT | MS_RDONLY, NULL), EBUSY);
    CHECK(munmap(at, page) == 0);
    CHECK(mount("none", "a", NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK_ERROR(mkdir("a/x", 0700), EROFS);
    CHECK_ERROR(mkdir("b/x", 0700), EROFS); // through every mount of it
    CHECK_ERROR(unlink("b/file"), EROFS);
    CHECK_ERROR(chmod("b/file", 0), EROFS);
    CHECK(open("b/file", O_RDONLY) >= 0);
    CHECK(strstr(line_of("b"), " ro\0") || strstr(line_of("b"), "tmpfs fresh ro"));
    CHECK(mount("none", "a", NULL, MS_REMOUNT, "size=1m") == 0);
    CHECK(mkdir("b/x", 0700) == 0);
    struct statfs s;
    CHECK(statfs("b", &s) == 0 && s.f_blocks * s.f_bsize == 1 << 20);
    end();
}

// --- Binding

static void one_is_bound_with_all_that_is_below(void) {
    begin();
    CHECK(mkdir("a/one", 0777) == 0 && mkdir("a/two", 0777) == 0);
    fresh("a/one");
    fresh("a/two");
    make_file("a/one/file");
    make_file("a/two/file");
    CHECK(mount("none", "a/two", NULL, MS_UNBINDABLE, NULL) == 0);
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    CHECK(is_there("b/one") && !is_there("b/one/file"));
    CHECK(umount2("b", 0) == 0);
    CHECK(mount("a", "b", NULL, MS_BIND | MS_REC, NULL) == 0);
    CHECK(is_there("b/one/file") && !is_there("b/two/file"));
    CHECK(strstr(line_of("b/one"), "tmpfs fresh") && strstr(line_of("b"), " /a ")); // the directory that it shows
    CHECK_ERROR(umount2("b", 0), EBUSY);
    CHECK(umount2("a/one", 0) == 0 && is_there("b/one/file"));
    CHECK(umount2("b", MNT_DETACH) == 0);
    CHECK_ERROR(mount("a/two", "c", NULL, MS_BIND, NULL), EINVAL);
    CHECK(strstr(line_of("a/two"), " unbindable "));
    // Into itself it is finite.
    CHECK(mkdir("a/self", 0777) == 0 && mount(".", "a/self", NULL, MS_BIND | MS_REC, NULL) == 0);
    CHECK(is_there("a/self/a/self") && !is_there("a/self/a/self/a"));
    CHECK_ERROR(mount("", "b", NULL, MS_BIND, NULL), EINVAL);
    end();
}

// --- Passing on

static void peers_see_what_is_mounted_on_each(void) {
    begin();
    CHECK(mkdir("a/on", 0777) == 0 && mkdir("a/other", 0777) == 0);
    CHECK(mount("a", "a", NULL, MS_BIND, NULL) == 0);
    CHECK(mount("none", "a", NULL, MS_SHARED, NULL) == 0);
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0); // a peer
    CHECK(strstr(line_of("a"), " shared:") && strstr(line_of("b"), " shared:"));
    CHECK(mount("a/on", "c", NULL, MS_BIND, NULL) == 0); // one that shows a part
    fresh("a/on");
    make_file("a/on/file");
    CHECK(is_there("b/on/file") && is_there("c/file"));
    fresh("b/other");
    make_file("b/other/file");
    CHECK(is_there("a/other/file"));
    CHECK(strstr(line_of("b/on"), " shared:"));
    // And it goes everywhere, unless somebody is in it.
    const int fd = open("a/other/file", O_RDONLY);
    CHECK_ERROR(umount2("b/other", 0), EBUSY);
    close(fd);
    CHECK(umount2("b/other", 0) == 0 && !is_there("a/other/file"));
    CHECK(umount2("a/on", 0) == 0 && !is_there("b/on/file") && !is_there("c/file"));
    // One that leaves hears no more.
    CHECK(mount("none", "b", NULL, MS_PRIVATE, NULL) == 0);
    fresh("a/on");
    make_file("a/on/file");
    CHECK(!is_there("b/on/file"));
    CHECK(!strstr(line_of("b"), " shared:"));
    end();
}

static void slaves_hear_and_do_not_tell(void) {
    begin();
    CHECK(mkdir("a/on", 0777) == 0 && mkdir("a/other", 0777) == 0);
    CHECK(mount("a", "a", NULL, MS_BIND, NULL) == 0 && mount("none", "a", NULL, MS_SHARED, NULL) == 0);
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0 && mount("none", "b", NULL, MS_SLAVE, NULL) == 0);
    CHECK(strstr(line_of("b"), " master:") && !strstr(line_of("b"), " shared:"));
    fresh("a/on");
    make_file("a/on/file");
    CHECK(is_there("b/on/file") && strstr(line_of("b/on"), " master:"));
    fresh("b/other");
    make_file("b/other/file");
    CHECK(!is_there("a/other/file"));
    // A slave that is shared itself passes it on to its own peers.
    CHECK(mount("none", "b", NULL, MS_SHARED, NULL) == 0);
    CHECK(strstr(line_of("b"), " master:") && strstr(line_of("b"), " shared:"));
    CHECK(mount("b", "c", NULL, MS_BIND, NULL) == 0);
    CHECK(umount2("a/on", 0) == 0 && !is_there("b/on/file"));
    fresh("a/on");
    make_file("a/on/file");
    CHECK(is_there("b/on/file") && is_there("c/on/file"));
    CHECK(umount2("c/on", 0) == 0 && !is_there("b/on/file") && is_there("a/on/file"));
    CHECK(umount2("a/on", 0) == 0);
    // When its master's group has ended it hears of nothing.
    CHECK(umount2("a", 0) == 0);
    CHECK(!strstr(line_of("b"), " master:"));
    end();
}

static void trees_are_passed_on(void) {
    begin();
    CHECK(mkdir("a/on", 0777) == 0);
    CHECK(mount("a", "a", NULL, MS_BIND, NULL) == 0 && mount("none", "a", NULL, MS_SHARED, NULL) == 0);
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    fresh("c");
    CHECK(mkdir("c/in", 0777) == 0);
    fresh("c/in");
    make_file("c/in/file");
    CHECK(mount("c", "a/on", NULL, MS_BIND | MS_REC, NULL) == 0);
    CHECK(is_there("a/on/in/file") && is_there("b/on/in/file"));
    CHECK(umount2("a/on", MNT_DETACH) == 0);
    CHECK(!is_there("a/on/in") && !is_there("b/on/in"));
    CHECK(mount("c", "a/on", NULL, MS_MOVE, NULL) == 0);
    CHECK(is_there("a/on/in/file") && is_there("b/on/in/file") && !is_there("c/in"));
    // All of a tree at once.
    CHECK(mount("none", base, NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(!strstr(line_of("a"), "shared:") && !strstr(line_of("b/on/in"), "shared:"));
    CHECK(umount2("a/on/in", 0) == 0 && is_there("b/on/in/file"));
    CHECK(mount("none", base, NULL, MS_REC | MS_SHARED, NULL) == 0);
    CHECK(strstr(line_of("a"), "shared:") && strstr(line_of("b/on/in"), "shared:"));
    end();
}

// Nor does anything go that was passed on.
static void what_is_busy_stays_with_its_copies(void) {
    begin();
    CHECK(mkdir("a/on", 0777) == 0);
    CHECK(mount("a", "a", NULL, MS_BIND, NULL) == 0 && mount("none", "a", NULL, MS_SHARED, NULL) == 0);
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0 && mount("x", "a/on", "tmpfs", 0, NULL) == 0);
    CHECK(*line_of("a/on") && *line_of("b/on"));
    const int fd = open("b/on/file", O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    CHECK_ERROR(umount2("b/on", 0), EBUSY);
    CHECK(*line_of("a/on") && *line_of("b/on"));
    CHECK_ERROR(umount2("a/on", 0), EBUSY); // where it was passed on to, somebody uses it
    CHECK(*line_of("a/on") && *line_of("b/on"));
    CHECK(close(fd) == 0 && umount2("b/on", 0) == 0);
    CHECK(!*line_of("a/on") && !*line_of("b/on"));
    end();
}

// --- Many at once

static void mounts_come_and_go_on_all_cpus(void) {
    begin();
    CHECK(mkdir("a/on", 0777) == 0);
    CHECK(mount("a", "a", NULL, MS_BIND, NULL) == 0 && mount("none", "a", NULL, MS_SHARED, NULL) == 0);
    CHECK(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    enum { workers = 4, turns = 25 };
    pid_t children[workers];
    for (int who = 0; who < workers; who++) {
        IN_CHILD(child) {
            char mine[32];
            for (int at = 0; at < turns; at++) {
                struct stat s;
                snprintf(mine, sizeof mine, "c/%d", who);
                switch ((at + who) % 4) {
                case 0: (void)mount("x", "a/on", "tmpfs", 0, NULL); break;
                case 1: (void)umount2("b/on", at % 3 ? 0 : MNT_DETACH); break;
                case 2:
                    (void)mkdir(mine, 0700);
                    CHECK(mount("x", mine, "tmpfs", 0, NULL) == 0);
                    CHECK(umount2(mine, 0) == 0);
                    break;
                default: {
                    const int fd = open("b/on/file", O_CREAT | O_RDWR, 0600);
                    if (fd >= 0) CHECK(write(fd, "x", 1) == 1 && close(fd) == 0);
                }
                }
                (void)stat("a/on/file", &s);
                line_of("a");
            }
        }
        children[who] = child;
    }
    for (int who = 0; who < workers; who++)
        CHECK_EQ(EXIT_STATUS(children[who]), 0);
    while (umount2("a/on", MNT_DETACH) == 0)
        ;
    CHECK(!*line_of("b/on"));
    end();
}

TAP_MAIN(T(one_is_moved_with_all_that_it_carries), T(what_cannot_be_moved), T(it_is_never_nowhere),
         T(a_lazy_unmount_takes_all_that_is_below), T(the_memory_of_one_that_was_detached_comes_back),
         T(an_unused_one_expires_when_asked_twice), T(flags_are_looked_at), T(one_view_is_read_only),
         T(a_whole_file_system_is_read_only), T(one_is_bound_with_all_that_is_below),
         T(peers_see_what_is_mounted_on_each), T(slaves_hear_and_do_not_tell), T(trees_are_passed_on),
         T(what_is_busy_stays_with_its_copies), T(mounts_come_and_go_on_all_cpus))
