// Directories that were removed while somebody was in them.
#include "tests/user/tap.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char base[64];

// Stands in base/a/b, which is gone.
static void begin(void) {
    snprintf(base, sizeof base, "/tmp/removed.%d", getpid());
    CHECK(mkdir(base, 0777) == 0 && chdir(base) == 0);
    CHECK(mkdir("a", 0777) == 0 && mkdir("a/b", 0777) == 0 && chdir("a/b") == 0);
    CHECK(rmdir("../b") == 0);
}

static int is_same(const char* one, const char* other) {
    struct stat a, b;
    CHECK(stat(one, &a) == 0 && stat(other, &b) == 0);
    return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static void dots_lead_where_they_led(void) {
    begin();
    char text[200], want[200];
    struct stat s;
    CHECK_ERROR(syscall(SYS_getcwd, text, sizeof text), ENOENT);
    CHECK(stat(".", &s) == 0 && S_ISDIR(s.st_mode) && s.st_nlink == 0);
    snprintf(want, sizeof want, "%s/a", base);
    CHECK(is_same("..", want));
    CHECK(is_same("../..", base) && is_same("./../", want) && is_same(".././../a/.", want));
    snprintf(want, sizeof want, "%s/a/b (deleted)", base);
    const ssize_t length = readlink("/proc/self/cwd", text, sizeof text);
    CHECK(length == (ssize_t)strlen(want) && !memcmp(text, want, length));
    CHECK(chdir(".") == 0 && access(".", F_OK) == 0 && access("..", W_OK) == 0);
    CHECK_ERROR(stat("x", &s), ENOENT);
    CHECK_ERROR(stat("../b", &s), ENOENT);
    // Another one of that name is another one.
    CHECK(mkdir("../b", 0777) == 0);
    CHECK(!is_same(".", "../b"));
    CHECK(rmdir("../b") == 0);
    CHECK(chdir("..") == 0);
    snprintf(want, sizeof want, "%s/a", base);
    CHECK(getcwd(text, sizeof text) && !strcmp(text, want));
}

static void up_through_several_that_are_gone(void) {
    begin();
    char text[200], want[200];
    CHECK(rmdir("../../a") == 0);
    struct stat s;
    CHECK(stat("..", &s) == 0 && s.st_nlink == 0);
    CHECK(is_same("../..", base));
    CHECK_ERROR(open("../x", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK_ERROR(mkdir("../x", 0700), ENOENT);
    snprintf(want, sizeof want, "%s/a/b (deleted)", base);
    const ssize_t length = readlink("/proc/self/cwd", text, sizeof text);
    CHECK(length == (ssize_t)strlen(want) && !memcmp(text, want, length));
    CHECK(chdir("..") == 0);
    CHECK_ERROR(syscall(SYS_getcwd, text, sizeof text), ENOENT);
    CHECK(chdir("..") == 0);
    CHECK(getcwd(text, sizeof text) && !strcmp(text, base));
}

static void nothing_can_be_made_there(void) {
    begin();
    CHECK(mknod("../file", S_IFREG | 0600, 0) == 0 && mkdir("../dir", 0700) == 0);
    CHECK_ERROR(open("x", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK_ERROR(open("x", O_CREAT | O_EXCL | O_RDWR, 0600), ENOENT);
    CHECK_ERROR(open("./x", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK_ERROR(creat("x", 0600), ENOENT);
    CHECK_ERROR(mkdir("x", 0700), ENOENT);
    CHECK_ERROR(mknod("x", S_IFREG | 0600, 0), ENOENT);
    CHECK_ERROR(mkfifo("x", 0600), ENOENT);
    CHECK_ERROR(symlink("text", "x"), ENOENT);
    CHECK_ERROR(link("../file", "x"), ENOENT);
    CHECK_ERROR(rename("../file", "x"), ENOENT);
    CHECK_ERROR(rename("../dir", "x"), ENOENT);
    CHECK_ERROR(rmdir("."), EINVAL);
    CHECK_ERROR(unlink("x"), ENOENT);
    const struct sockaddr_un name = {AF_UNIX, "x"};
    const int s = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_ERROR(bind(s, (const struct sockaddr*)&name, sizeof name), ENOENT);
    if (geteuid() == 0) CHECK_ERROR(mount("none", ".", "tmpfs", 0, NULL), ENOENT);
    CHECK(access("../file", F_OK) == 0 && access("../dir", F_OK) == 0);
}

static void it_lists_nothing_and_keeps_its_attributes(void) {
    begin();
    DIR* d = opendir(".");
    CHECK(d);
    errno = 0;
    CHECK(!readdir(d));
    closedir(d);
    struct stat s;
    CHECK(chmod(".", 0711) == 0 && stat(".", &s) == 0 && (s.st_mode & 07777) == 0711);
    const int fd = open(".", O_RDONLY | O_DIRECTORY);
    CHECK(fd >= 0 && fchdir(fd) == 0);
    CHECK_ERROR(openat(fd, "x", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK_ERROR(mkdirat(fd, "x", 0700), ENOENT);
    CHECK(fstatat(fd, "..", &s, 0) == 0 && s.st_nlink >= 2);
}

// One that another took the place of is removed as well.
static void replaced_by_renaming(void) {
    begin();
    CHECK(mkdir("../old", 0700) == 0 && mkdir("../fresh", 0700) == 0 && chdir("../old") == 0);
    CHECK(rename("../fresh", "../old") == 0);
    char text[200];
    CHECK_ERROR(syscall(SYS_getcwd, text, sizeof text), ENOENT);
    CHECK_ERROR(mkdir("x", 0700), ENOENT);
    CHECK(!is_same(".", "../old"));
    CHECK(chdir("../old") == 0 && mkdir("x", 0700) == 0 && rmdir("x") == 0);
}

// Each of them is held by nothing but the one below. They all go when the last is left, on whatever stack that is.
static void a_deep_chain_of_them_goes_at_once(void) {
    begin();
    enum { depth = 3000 };
    CHECK(chdir(base) == 0);
    for (int at = 0; at < depth; at++)
        CHECK(mkdir("d", 0700) == 0 && chdir("d") == 0);
    for (int at = 0; at < depth; at++) {
        const int down = open(".", O_PATH | O_DIRECTORY);
        CHECK(down >= 0 && chdir("..") == 0 && rmdir("d") == 0 && fchdir(down) == 0);
        // Up again by so many dead ones: the path stays short.
        for (int up = 0; up < 1; up++)
            CHECK(chdir("..") == 0);
        close(down);
    }
    char text[200];
    CHECK(getcwd(text, sizeof text) && !strcmp(text, base));
    for (int at = 0; at < depth; at++)
        CHECK(mkdir("d", 0700) == 0 && chdir("d") == 0);
    // This time the working directory stays at the bottom.
    int up = open(".", O_PATH | O_DIRECTORY);
    for (int at = 0; at < depth; at++) {
        const int above = openat(up, "..", O_PATH | O_DIRECTORY);
        CHECK(above >= 0 && unlinkat(above, "d", AT_REMOVEDIR) == 0);
        close(up);
        up = above;
    }
    close(up);
    struct stat s;
    CHECK(stat("../../../..", &s) == 0 && s.st_nlink == 0);
    CHECK(chdir(base) == 0);
}

static void files_of_removed_directories_are_called_as_they_were(void) {
    begin();
    CHECK(chdir(base) == 0 && mkdir("a/c", 0700) == 0);
    const int fd = open("a/c/file", O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0 && unlink("a/c/file") == 0 && rmdir("a/c") == 0 && rmdir("a") == 0);
    char link[64], text[200], want[200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    snprintf(want, sizeof want, "%s/a/c/file (deleted)", base);
    const ssize_t length = readlink(link, text, sizeof text);
    CHECK(length == (ssize_t)strlen(want) && !memcmp(text, want, length));
    CHECK(write(fd, "x", 1) == 1);
}

// Somebody stands in directories that others remove, and looks up from there.
static void looking_up_while_they_go(void) {
    begin();
    CHECK(chdir(base) == 0);
    volatile int* rounds = shared(page);
    IN_CHILD(maker) {
        for (; rounds[0] < 2000; rounds[0]++) {
            CHECK(mkdir("a/one", 0777) == 0 && mkdir("a/one/two", 0777) == 0);
            CHECK(rmdir("a/one/two") == 0 && rmdir("a/one") == 0);
            if (rounds[0] % 16 == 0) sched_yield();
        }
    }
    int stood = 0, missed = 0;
    while (rounds[0] < 2000) {
        if (chdir("a/one/two") < 0 && chdir("a/one") < 0) {
            CHECK(errno == ENOENT);
            missed++;
            sched_yield();
            continue;
        }
        stood++;
        struct stat s;
        CHECK(stat("..", &s) == 0 && S_ISDIR(s.st_mode));
        CHECK(stat("../..", &s) == 0 && S_ISDIR(s.st_mode));
        CHECK(chdir(base) == 0);
    }
    CHECK_EQ(EXIT_STATUS(maker), 0);
    note("stood in %d, came too late for %d", stood, missed);
}

TAP_MAIN(T(dots_lead_where_they_led), T(up_through_several_that_are_gone), T(nothing_can_be_made_there),
         T(it_lists_nothing_and_keeps_its_attributes), T(replaced_by_renaming), T(a_deep_chain_of_them_goes_at_once),
         T(files_of_removed_directories_are_called_as_they_were), T(looking_up_while_they_go))
