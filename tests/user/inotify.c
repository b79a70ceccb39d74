// Watching files and directories.
#include "tests/user/tap.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static int watcher;

static void begin(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/inotify.%d", getpid());
    CHECK(mkdir(path, 0777) == 0 && chdir(path) == 0);
    CHECK(mkdir("d", 0777) == 0 && mkdir("e", 0777) == 0);
    watcher = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    CHECK(watcher >= 0);
}

static void make_file(const char* path) {
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
}

// The next event, which must be this one; its cookie.
static unsigned expect_at(int line, int number, unsigned mask, const char* name) {
    static char room[8192] __attribute__((aligned(8)));
    static long have, at;
    if (at == have) {
        at = 0;
        have = read(watcher, room, sizeof room);
        if (have <= 0) {
            note("line %d: no event where %#x %s was expected", line, mask, name);
            exit(1);
        }
    }
    const struct inotify_event* e = (const struct inotify_event*)(room + at);
    at += sizeof *e + e->len;
    CHECK(e->len % 16 == 0);
    if (e->wd != number || e->mask != mask || strcmp(e->len ? e->name : "", name)) {
        note("line %d: %d %#x '%s', not %d %#x '%s'", line, e->wd, e->mask, e->len ? e->name : "", number, mask, name);
        exit(1);
    }
    return e->cookie;
}
#define EXPECT(...) expect_at(__LINE__, __VA_ARGS__)
#define EXPECT_NONE                                                                                                    \
    do {                                                                                                               \
        char more_[300];                                                                                               \
        CHECK_ERROR(read(watcher, more_, sizeof more_), EAGAIN);                                                       \
    } while (0)

static void a_directory_tells_of_its_names(void) {
    begin();
    const int d = inotify_add_watch(watcher, "d", IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF),
              e = inotify_add_watch(watcher, "e", IN_MOVE);
    CHECK(d == 1 && e == 2);
    make_file("d/f");
    EXPECT(d, IN_CREATE, "f");
    CHECK(mkdir("d/sub", 0700) == 0);
    EXPECT(d, IN_CREATE | IN_ISDIR, "sub");
    CHECK(link("d/f", "d/g") == 0 && symlink("x", "d/l") == 0);
    EXPECT(d, IN_CREATE, "g");
    EXPECT(d, IN_CREATE, "l");
    CHECK(rename("d/f", "e/h") == 0);
    const unsigned cookie = EXPECT(d, IN_MOVED_FROM, "f");
    CHECK(cookie != 0);
    CHECK_EQ(EXPECT(e, IN_MOVED_TO, "h"), cookie);
    CHECK(rename("d/sub", "d/bus") == 0);
    const unsigned next = EXPECT(d, IN_MOVED_FROM | IN_ISDIR, "sub");
    CHECK(next != cookie);
    CHECK_EQ(EXPECT(d, IN_MOVED_TO | IN_ISDIR, "bus"), next);
    CHECK(unlink("d/g") == 0 && rmdir("d/bus") == 0 && unlink("d/l") == 0);
    EXPECT(d, IN_DELETE, "g");
    EXPECT(d, IN_DELETE | IN_ISDIR, "bus");
    EXPECT(d, IN_DELETE, "l");
    CHECK(rename("d", "dd") == 0);
    EXPECT(d, IN_MOVE_SELF, "");
    CHECK(rmdir("dd") == 0);
    EXPECT(d, IN_DELETE_SELF, "");
    EXPECT(d, IN_IGNORED, "");
    EXPECT_NONE;
    CHECK_ERROR(inotify_rm_watch(watcher, d), EINVAL);
}

static void a_file_tells_what_is_done_to_it(void) {
    begin();
    make_file("d/f");
    const int f = inotify_add_watch(watcher, "d/f", IN_ALL_EVENTS), d = inotify_add_watch(watcher, "d", IN_ALL_EVENTS);
    char byte;
    int fd = open("d/f", O_RDWR);
    EXPECT(d, IN_OPEN, "f");
    EXPECT(f, IN_OPEN, "");
    CHECK(write(fd, "xy", 2) == 2 && pread(fd, &byte, 1, 0) == 1);
    EXPECT(d, IN_MODIFY, "f");
    EXPECT(f, IN_MODIFY, "");
    EXPECT(d, IN_ACCESS, "f");
    EXPECT(f, IN_ACCESS, "");
    CHECK(ftruncate(fd, 0) == 0 && close(fd) == 0);
    EXPECT(d, IN_MODIFY, "f");
    EXPECT(f, IN_MODIFY, "");
    EXPECT(d, IN_CLOSE_WRITE, "f");
    EXPECT(f, IN_CLOSE_WRITE, "");
    CHECK(chmod("d/f", 0644) == 0);
    EXPECT(d, IN_ATTRIB, "f");
    EXPECT(f, IN_ATTRIB, "");
    fd = open("d/f", O_RDONLY);
    EXPECT(d, IN_OPEN, "f");
    EXPECT(f, IN_OPEN, "");
    CHECK_EQ(inotify_rm_watch(watcher, d), 0);
    EXPECT(d, IN_IGNORED, "");
    CHECK(unlink("d/f") == 0);
    EXPECT(f, IN_ATTRIB, ""); // its number of links
    EXPECT_NONE;              // it is open still
    CHECK(close(fd) == 0);
    EXPECT(f, IN_CLOSE_NOWRITE, "");
    EXPECT(f, IN_DELETE_SELF, "");
    EXPECT(f, IN_IGNORED, "");
    EXPECT_NONE;
}

static void masks_are_changed_and_added_to(void) {
    begin();
    const int d = inotify_add_watch(watcher, "d", IN_CREATE);
    CHECK_EQ(inotify_add_watch(watcher, "d", IN_DELETE), d);
    make_file("d/f");
    EXPECT_NONE;
    CHECK_EQ(inotify_add_watch(watcher, "d", IN_CREATE | IN_MASK_ADD), d);
    make_file("d/g");
    CHECK(unlink("d/f") == 0);
    EXPECT(d, IN_CREATE, "g");
    EXPECT(d, IN_DELETE, "f");
    CHECK_ERROR(inotify_add_watch(watcher, "d", IN_CREATE | IN_MASK_CREATE), EEXIST);
    CHECK_ERROR(inotify_add_watch(watcher, "d", IN_CREATE | IN_MASK_CREATE | IN_MASK_ADD), EINVAL);
    CHECK_ERROR(inotify_add_watch(watcher, "d/g", IN_OPEN | IN_ONLYDIR), ENOTDIR);
    CHECK_ERROR(inotify_add_watch(watcher, "d", 0), EINVAL);
    CHECK_ERROR(inotify_add_watch(watcher, "none", IN_OPEN), ENOENT);
    CHECK_ERROR(inotify_add_watch(watcher, (char*)16, IN_OPEN), EFAULT);
    CHECK_ERROR(inotify_add_watch(99, "d", IN_OPEN), EBADF);
    CHECK_ERROR(inotify_add_watch(0, "d", IN_OPEN), EINVAL);
    CHECK_ERROR(inotify_rm_watch(watcher, 77), EINVAL);
    CHECK_ERROR(inotify_rm_watch(0, 1), EINVAL);
    CHECK_ERROR(inotify_init1(77), EINVAL);
    CHECK(symlink("none", "link") == 0);
    CHECK_ERROR(inotify_add_watch(watcher, "link", IN_OPEN), ENOENT);
    CHECK(inotify_add_watch(watcher, "link", IN_ATTRIB | IN_DONT_FOLLOW) > 0);
    CHECK(mkdir("closed", 0300) == 0);
    IN_CHILD(child) {
        CHECK(setresuid(1000, 1000, 1000) == 0);
        CHECK_ERROR(inotify_add_watch(watcher, "closed", IN_CREATE), EACCES);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void some_are_for_one_event(void) {
    begin();
    const int other = inotify_init1(IN_NONBLOCK);
    const int once = inotify_add_watch(watcher, "d", IN_CREATE | IN_ONESHOT);
    CHECK_EQ(inotify_add_watch(other, "d", IN_CREATE), 1);
    make_file("d/f");
    make_file("d/g");
    EXPECT(once, IN_CREATE, "f");
    EXPECT(once, IN_IGNORED, "");
    EXPECT_NONE;
    CHECK_ERROR(inotify_rm_watch(watcher, once), EINVAL);
    char room[300];
    CHECK_EQ(read(other, room, sizeof room), 64); // the other one has heard of both
}

static void events_that_are_the_same_are_one(void) {
    begin();
    make_file("f");
    const int f = inotify_add_watch(watcher, "f", IN_MODIFY | IN_ATTRIB);
    const int fd = open("f", O_WRONLY);
    for (int i = 0; i < 5; i++)
        CHECK(write(fd, "x", 1) == 1);
    CHECK(fchmod(fd, 0600) == 0 && write(fd, "x", 1) == 1);
    EXPECT(f, IN_MODIFY, "");
    EXPECT(f, IN_ATTRIB, "");
    EXPECT(f, IN_MODIFY, "");
    EXPECT_NONE;
}

static void reading(void) {
    begin();
    char room[64];
    int waiting = -1;
    struct pollfd p = {.fd = watcher, .events = POLLIN | POLLOUT};
    inotify_add_watch(watcher, "d", IN_CREATE);
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK(ioctl(watcher, FIONREAD, &waiting) == 0 && waiting == 0);
    make_file("d/0123456789abcde");  // with its zero just 16
    make_file("d/0123456789abcdef"); // one more is 32
    CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLIN);
    CHECK(ioctl(watcher, FIONREAD, &waiting) == 0 && waiting == 32 + 48);
    CHECK_ERROR(read(watcher, room, 31), EINVAL);
    CHECK_EQ(read(watcher, room, 64), 32); // whole ones only
    CHECK_ERROR(read(watcher, room, 40), EINVAL);
    CHECK_EQ(read(watcher, room, 48), 48);
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_ERROR(write(watcher, "x", 1), EBADF);
    make_file("d/f");
    CHECK_ERROR(read(watcher, (void*)16, 100), EFAULT);
    IN_CHILD(child) {
        sleep_ms(30);
        make_file("d/later");
    }
    CHECK(fcntl(watcher, F_SETFL, 0) == 0);
    CHECK_EQ(read(watcher, room, 64), 32);
    CHECK(!strcmp(((struct inotify_event*)room)->name, "later"));
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void too_many_events_end_in_one(void) {
    begin();
    const int d = inotify_add_watch(watcher, "d", IN_CREATE | IN_DELETE);
    for (int i = 0; i < 8300; i++) {
        make_file("d/f");
        CHECK(unlink("d/f") == 0);
    }
    char room[4096];
    long events = 0, bytes, lost = 0;
    while ((bytes = read(watcher, room, sizeof room)) > 0)
        for (long at = 0; at < bytes; events++) {
            const struct inotify_event* e = (const struct inotify_event*)(room + at);
            CHECK(!lost); // it is the last one
            if (e->mask & IN_Q_OVERFLOW) {
                CHECK_EQ(e->wd, -1);
                lost++;
            }
            at += sizeof *e + e->len;
        }
    CHECK_EQ(lost, 1);
    CHECK(events <= 16386);
    make_file("d/g");
    EXPECT(d, IN_CREATE, "g");
}

// Watches come and go while others make events.
static void of_what_was_unlinked_it_is_silent_if_asked(void) {
    begin();
    make_file("d/f");
    make_file("d/g");
    const int told = inotify_add_watch(watcher, "d", IN_MODIFY | IN_OPEN | IN_DELETE | IN_CLOSE_WRITE);
    int fd = open("d/f", O_RDWR);
    CHECK(fd >= 0 && unlink("d/f") == 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
    EXPECT(told, IN_OPEN, "f");
    EXPECT(told, IN_DELETE, "f");
    EXPECT(told, IN_MODIFY, "f");
    EXPECT(told, IN_CLOSE_WRITE, "f");
    const int again =
        inotify_add_watch(watcher, "d", IN_MODIFY | IN_OPEN | IN_DELETE | IN_CLOSE_WRITE | IN_EXCL_UNLINK);
    CHECK_EQ(again, told);
    const int self = inotify_add_watch(watcher, "d/g", IN_MODIFY | IN_ACCESS | IN_EXCL_UNLINK);
    fd = open("d/g", O_RDWR);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1);
    EXPECT(told, IN_OPEN, "g");
    EXPECT(told, IN_MODIFY, "g");
    EXPECT(self, IN_MODIFY, "");
    CHECK(unlink("d/g") == 0 && write(fd, "x", 1) == 1);
    EXPECT(told, IN_DELETE, "g");
    EXPECT_NONE;
    CHECK(close(fd) == 0);
    EXPECT(self, IN_IGNORED, "");
    EXPECT_NONE;
    // What is there under another name is not unlinked; that it was opened by this one counts.
    make_file("d/h");
    CHECK(link("d/h", "e/h") == 0);
    fd = open("d/h", O_WRONLY);
    CHECK(fd >= 0 && unlink("d/h") == 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
    EXPECT(told, IN_OPEN, "h");
    EXPECT(told, IN_CLOSE_WRITE, "h"); // make_file()'s
    EXPECT(told, IN_OPEN, "h");
    EXPECT(told, IN_DELETE, "h");
    EXPECT_NONE;
}

static void a_watch_can_be_made_only_once(void) {
    begin();
    const int first = inotify_add_watch(watcher, "d", IN_CREATE | IN_MASK_CREATE);
    CHECK(first > 0);
    CHECK_ERROR(inotify_add_watch(watcher, "d", IN_DELETE | IN_MASK_CREATE), EEXIST);
    CHECK_ERROR(inotify_add_watch(watcher, "e", IN_CREATE | IN_MASK_CREATE | IN_MASK_ADD), EINVAL);
    CHECK_EQ(inotify_add_watch(watcher, "d", IN_DELETE | IN_MASK_ADD), first);
    make_file("d/f");
    CHECK(unlink("d/f") == 0);
    EXPECT(first, IN_CREATE, "f");
    EXPECT(first, IN_DELETE, "f");
    CHECK_ERROR(inotify_add_watch(watcher, "d", 0), EINVAL);
    CHECK_ERROR(inotify_add_watch(watcher, "d", 0x00800000), EINVAL);
}

static void on_many_cpus(void) {
    begin();
    IN_CHILD(child) {
        for (int i = 0; i < 300; i++) {
            make_file("d/f");
            CHECK(rename("d/f", "e/f") == 0 && unlink("e/f") == 0);
        }
    }
    char room[1024];
    while (waitpid(child, NULL, WNOHANG) == 0) {
        const int mine = inotify_init1(IN_NONBLOCK);
        const int d = inotify_add_watch(mine, "d", IN_ALL_EVENTS), e = inotify_add_watch(mine, "e", IN_ALL_EVENTS);
        const int f = inotify_add_watch(mine, "d/f", IN_ALL_EVENTS | IN_ONESHOT);
        CHECK(d > 0 && e > 0 && (f > 0 || errno == ENOENT));
        (void)!read(mine, room, sizeof room);
        CHECK(inotify_rm_watch(mine, d) == 0);
        close(mine);
    }
}

TAP_MAIN(T(a_directory_tells_of_its_names), T(a_file_tells_what_is_done_to_it), T(masks_are_changed_and_added_to),
         T(some_are_for_one_event), T(events_that_are_the_same_are_one), T(reading), T(too_many_events_end_in_one),
         T(of_what_was_unlinked_it_is_silent_if_asked), T(a_watch_can_be_made_only_once), T(on_many_cpus))
