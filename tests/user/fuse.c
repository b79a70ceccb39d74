// /dev/fuse: a small file system, and the same with answers that make no sense, none, and a death in the midst. It runs
// as it is on Linux.
#include <sys/uio.h>

#include "tests/user/fuse_server.h"

#include <sys/resource.h>

static void files_are_seen_and_read(void) {
    begin_with(no_lie, "");
    struct stat is;
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(is.st_size, sizeof hello - 1);
    CHECK_EQ(is.st_ino, 102);
    CHECK_EQ(is.st_mtime, 1000000000);
    CHECK(S_ISREG(is.st_mode));
    CHECK(stat(".", &is) == 0 && S_ISDIR(is.st_mode));
    CHECK_EQ(is.st_mode & 0777, 0755);
    CHECK_ERROR(stat("nothing", &is), ENOENT);
    char text[100];
    int fd = open("link", O_RDONLY); // through the link
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, text, sizeof text), sizeof hello - 1);
    CHECK(!memcmp(text, hello, sizeof hello - 1) && close(fd) == 0);
    CHECK_EQ(readlink("link", text, sizeof text), 5);
    DIR* list = opendir(".");
    CHECK(list);
    int count = 0, dots = 0;
    for (struct dirent* e; (e = readdir(list)); count++)
        dots += e->d_name[0] == '.';
    CHECK_EQ(count, 7);
    CHECK_EQ(dots, 2);
    CHECK(closedir(list) == 0);
    unsigned char* bytes = (unsigned char*)anonymous(big_bytes + page);
    fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, bytes, big_bytes + page), big_bytes);
    for (size_t i = 0; i < big_bytes; i++)
        if (bytes[i] != pattern(i)) CHECK_EQ(i, -1);
    const int asked = seen->asked[READ];
    CHECK_EQ(pread(fd, bytes, 5000, mib - 7), 5000); // from the cache
    CHECK(bytes[4999] == pattern(mib - 7 + 4999));
    CHECK_EQ(seen->asked[READ], asked);
    unsigned char* map = mmap(NULL, big_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(map != MAP_FAILED && map[2 * mib + 5] == pattern(2 * mib + 5));
    CHECK(munmap(map, big_bytes) == 0 && close(fd) == 0);
    struct statfs fs;
    CHECK(statfs(".", &fs) == 0);
    CHECK_EQ(fs.f_type, 0x65735546);
    CHECK_EQ(fs.f_blocks, 1000);
    CHECK_EQ(seen->uid, 0);
    end();
    CHECK(seen->asked[INIT] == 1 && seen->asked[OPEN] >= 2);
    CHECK_EQ(seen->asked[OPEN], seen->asked[RELEASE]);
    CHECK_EQ(seen->asked[OPENDIR], seen->asked[RELEASEDIR]);
}

static void the_device_keeps_its_rules(void) {
    static char room[mib];
    prepare();
    CHECK_ERROR(read(line, room, sizeof room), EPERM);
    CHECK_ERROR(write(line, room, 16), EPERM);
    struct pollfd p = {line, POLLIN | POLLOUT, 0};
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLERR);
    static const char* const wrong[] = {"", "fd=100,rootmode=40000,user_id=0,group_id=0",
                                        "fd=0,rootmode=40000,user_id=0,group_id=0",
                                        "rootmode=40000,user_id=0,group_id=0"};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_ERROR(mount("test", base, "fuse", 0, wrong[i]), EINVAL);
    CHECK_ERROR(mount_it(",nonsense=1"), EINVAL);
    CHECK(mount_it("") == 0);
    CHECK_ERROR(mount_it(""), EINVAL); // it has one
    CHECK_ERROR(read(line, room, 100), EINVAL);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLIN | POLLOUT);
    CHECK_ERROR(read(line, (char*)16, sizeof room), EFAULT); // that one is lost, as in Linux
    CHECK(fcntl(line, F_SETFL, O_NONBLOCK) == 0);
    CHECK_ERROR(read(line, room, sizeof room), EAGAIN);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLOUT);
    CHECK(umount(base) == 0);
    for (int i = 0; i < 5000 && read(line, room, sizeof room) < 0 && errno == EAGAIN; i++)
        sleep_ms(10);
    CHECK_ERROR(read(line, room, sizeof room), ENODEV);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK(p.revents & POLLERR);
    CHECK(close(line) == 0 && rmdir(base) == 0);
}

static void what_is_written_arrives(void) {
    begin_with(no_lie, "");
    unsigned char* bytes = (unsigned char*)anonymous(mib);
    for (size_t i = 0; i < mib; i++)
        bytes[i] = pattern(i + 3);
    int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, bytes, 700000, 0), 700000);
    CHECK_EQ(seen->size, 700000);
    CHECK(!memcmp((void*)seen->written, bytes, 700000));
    CHECK_EQ(pwrite(fd, "xyz", 3, 699999), 3);
    CHECK_EQ(seen->size, 700002);
    CHECK(!memcmp((void*)(seen->written + 699999), "xyz", 3));
    CHECK(ftruncate(fd, 100) == 0);
    CHECK_EQ(seen->size, 100);
    const ssize_t part = pwrite(fd, bytes, mib, 100); // more than it takes
    CHECK(part == -1 ? errno == ENOSPC : part < mib);
    struct stat is;
    CHECK(fstat(fd, &is) == 0);
    CHECK(close(fd) == 0); // FLUSH is not done there, and that is no error
    fd = open("out", O_RDWR | O_TRUNC);
    CHECK(fd >= 0);
    CHECK_EQ(seen->size, 0);
    CHECK(fsync(fd) == 0 && close(fd) == 0);
    CHECK_ERROR(mkdir("new", 0755), ENOSYS);
    CHECK_ERROR(unlink("hello"), ENOSYS);
    CHECK_EQ(seen->asked[FLUSH], 1);
    CHECK_EQ(seen->asked[FSYNC], 1);
    end();
}

// Into the cache and out of it by the program's calls, and nowhere else.
static void bytes_are_copied_once(void) {
    if (copied() < 0) tap_skip("this kernel keeps no books");
    begin_with(no_lie, "");
    unsigned char* bytes = (unsigned char*)anonymous(mib);
    memset(bytes, 7, mib);
    int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    long long before = copied();
    CHECK_EQ(read(fd, bytes, mib), mib);
    const long long by_reading = copied() - before;
    for (size_t i = 0; i < mib; i += 997)
        CHECK(bytes[i] == pattern(i));
    CHECK(close(fd) == 0);
    fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    before = copied();
    CHECK_EQ(write(fd, bytes, mib), mib);
    const long long by_writing = copied() - before;
    note("copied by reading a MiB: %lld, by writing it: %lld", by_reading, by_writing);
    CHECK(by_reading >= mib && by_reading < mib + 16 * page);
    CHECK(by_writing >= mib && by_writing < mib + 16 * page);
    CHECK(close(fd) == 0);
    end();
}

static void answers_that_make_no_sense_are_refused(void) {
    static const struct {
        enum lie lie;
        int refused, error;
    } cases[] = {
        {entry_too_short, 1, EIO}, {entry_too_long, 1, EIO},   {of_no_type, 0, EIO},   {too_large, 0, EIO},
        {node_is_root, 0, EIO},    {bad_error, 2, 0},          {unknown_number, 3, 0}, {twice, 1, 0},
        {length_is_wrong, 1, 0},   {error_with_bytes, 1, EIO},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin_with(cases[i].lie, "");
        struct stat is;
        errno = 0;
        const int got = stat("hello", &is);
        if (got != (cases[i].error ? -1 : 0) || errno != cases[i].error)
            note("lie %d: %d, errno %d", cases[i].lie, got, errno);
        CHECK(got == (cases[i].error ? -1 : 0) && (!got || errno == cases[i].error));
        end();
        CHECK_EQ(seen->refused, cases[i].refused);
    }
}

static void lists_and_bytes_that_make_no_sense_are_refused(void) {
    static char room[page];
    for (enum lie lie = list_with_slash; lie <= list_long_name; lie++) {
        begin_with(lie, "");
        const int fd = open(".", O_RDONLY);
        CHECK(fd >= 0);
        long got = syscall(SYS_getdents64, fd, room, sizeof room);
        while (got > 0)
            got = syscall(SYS_getdents64, fd, room, sizeof room);
        if (lie != list_cut_off || got == -1) CHECK(got == -1 && errno == EIO); // Linux takes it for the end
        CHECK(close(fd) == 0);
        end();
    }
    begin_with(read_too_much, "");
    int fd = open("hello", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_ERROR(read(fd, room, sizeof room), EIO);
    CHECK(close(fd) == 0);
    end();
    CHECK(seen->refused >= 1);
    begin_with(link_too_long, "");
    CHECK_ERROR(readlink("link", room, sizeof room), EIO);
    end();
    CHECK_EQ(seen->refused, 1);
    begin_with(wrote_more, "");
    fd = open("out", O_WRONLY);
    CHECK(fd >= 0);
    CHECK_ERROR(write(fd, "abc", 3), EIO);
    CHECK(close(fd) == 0);
    end();
}

static void an_old_version_is_refused(void) {
    if (copied() < 0) tap_skip("Linux speaks that, too");
    begin_with(old_version, "");
    char path[100];
    snprintf(path, sizeof path, "%s/hello", base);
    struct stat is;
    CHECK_ERROR(stat(path, &is), ECONNREFUSED);
    CHECK_ERROR(stat(base, &is), ECONNREFUSED);
    end();
}

static void what_is_not_done_is_asked_once(void) {
    begin_with(no_open, "");
    char text[100];
    for (int i = 0; i < 3; i++) {
        const int fd = open("hello", O_RDONLY);
        if (fd < 0 && errno == ENOSYS) tap_skip("this kernel wants an open"); // before 3.16
        CHECK(fd >= 0);
        CHECK_EQ(read(fd, text, sizeof text), sizeof hello - 1);
        CHECK(close(fd) == 0);
    }
    CHECK_EQ(seen->asked[OPEN], 1);
    CHECK_EQ(seen->asked[RELEASE], 0);
    end();
}

static void a_refusal_of_one_file_is_not_one_of_all(void) {
    begin_with(no_open_of_one, "");
    CHECK(open("hello", O_RDONLY) == -1);
    const int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK(close(fd) == 0);
    CHECK_EQ(seen->asked[OPEN], 2);
    CHECK(open("hello", O_RDONLY) == -1);
    end();
    CHECK_EQ(seen->asked[RELEASE], 1);
}

static void who_ends_without_closing_flushes(void) {
    begin_with(no_lie, "");
    IN_CHILD(writer) {
        const int fd = open("out", O_WRONLY);
        CHECK(fd >= 0);
        CHECK(write(fd, "x", 1) == 1);
        _exit(0);
    }
    CHECK_EQ(EXIT_STATUS(writer), 0);
    end();
    CHECK_EQ(seen->asked[FLUSH], 1);
    CHECK(seen->asked[RELEASE] >= 1);
}

static void a_death_ends_all_waiting(void) {
    begin_with(says_nothing, "");
    IN_CHILD(reader) {
        char text[100];
        const int fd = open("hello", O_RDONLY);
        CHECK(fd >= 0);
        errno = 0;
        if (read(fd, text, sizeof text) != -1 || (errno != ENOTCONN && errno != ECONNABORTED && errno != EIO))
            _exit(errno);
    }
    while (!seen->asked[READ])
        sleep_ms(10);
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_EQ(EXIT_STATUS(reader), 0);
    struct stat is;
    CHECK_ERROR(stat("dir/x", &is), ENOTCONN);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

static void who_waits_can_be_killed(void) {
    begin_with(says_nothing, "");
    IN_CHILD(reader) {
        char text[100];
        const int fd = open("hello", O_RDONLY);
        (void)!read(fd, text, sizeof text);
    }
    while (!seen->asked[READ])
        sleep_ms(10);
    CHECK(kill(reader, SIGKILL) == 0);
    for (int i = 0; i < 5000 && !seen->interrupted; i++) // the program is told
        sleep_ms(10);
    CHECK_EQ(seen->interrupted, 1);
    CHECK(kill(server, SIGKILL) == 0); // Linux waits for it until then
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_EQ(KILLED_BY(reader), SIGKILL);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

static void a_forced_unmount_waits_for_nobody(void) {
    begin_with(says_nothing, "");
    IN_CHILD(reader) {
        char text[100];
        const int fd = open("hello", O_RDONLY);
        CHECK(read(fd, text, sizeof text) == -1);
        _exit(0);
    }
    while (!seen->asked[READ])
        sleep_ms(10);
    CHECK(chdir("/") == 0);
    CHECK(umount2(base, MNT_FORCE | MNT_DETACH) == 0);
    CHECK_EQ(EXIT_STATUS(reader), 0);
    int status;
    for (int i = 0; i < 5000 && waitpid(server, &status, WNOHANG) == 0; i++)
        sleep_ms(10);
    kill(server, SIGKILL);
    CHECK(rmdir(base) == 0);
}

// Past the mount's time nobody waits any more, and the program is given up.
static void a_silent_program_is_given_up_in_time(void) {
    if (copied() < 0) tap_skip("Linux has no time limit here");
    begin_with(says_nothing, ",timeout=3"); // a program may be late on a busy machine
    char text[100];
    const int fd = open("hello", O_RDONLY);
    CHECK(fd >= 0);
    const long long begun = now_ns();
    CHECK_ERROR(read(fd, text, sizeof text), ETIMEDOUT);
    CHECK(now_ns() - begun >= 2900000000);
    CHECK_EQ(seen->asked[READ], 1);
    CHECK_ERROR(read(fd, text, sizeof text), ENOTCONN);
    struct stat is;
    CHECK_ERROR(stat("dir/x", &is), ENOTCONN);
    close(fd);
    end();
}

static void a_program_that_never_begins_is_given_up_in_time(void) {
    if (copied() < 0) tap_skip("Linux has no time limit here");
    prepare();
    static const char* const wrong[] = {"timeout",    "timeout=",   "timeout=0",     "timeout=0ms",
                                        "timeout=ms", "timeout=1h", "timeout=86401", "timeout=-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char more[100];
        snprintf(more, sizeof more, ",%s", wrong[i]);
        CHECK_ERROR(mount_it(more), EINVAL);
    }
    CHECK(mount_it(",timeout=200ms") == 0);
    struct stat is;
    char path[100];
    snprintf(path, sizeof path, "%s/hello", base);
    CHECK_ERROR(stat(path, &is), ETIMEDOUT);
    CHECK_ERROR(stat(path, &is), ENOTCONN);
    CHECK(umount(base) == 0 && rmdir(base) == 0);
}

// However many are killed while a program says nothing, what it holds of them is limited; the next ones wait, and can
// be killed, too.
static void killed_askers_are_limited(void) {
    if (copied() < 0) tap_skip("Linux waits for the answer");
    begin_with(says_nothing, "");
    const int fd = open("hello", O_RDONLY);
    CHECK(fd >= 0);
    int asked = 0;
    for (int killed = 0; killed < 1500 && asked == killed; killed++) {
        IN_CHILD(reader) {
            char text[100];
            (void)!read(fd, text, sizeof text);
        }
        for (int i = 0; i < 5000 && seen->asked[READ] == asked; i++)
            sleep_ms(1);
        asked = seen->asked[READ];
        CHECK(kill(reader, SIGKILL) == 0);
        CHECK_EQ(KILLED_BY(reader), SIGKILL);
    }
    CHECK_EQ(asked, 1024);
    IN_CHILD(waits) {
        char text[100];
        CHECK_ERROR(read(fd, text, sizeof text), ENOTCONN);
    }
    sleep_ms(50);
    CHECK_EQ(seen->asked[READ], asked);
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_EQ(EXIT_STATUS(waits), 0);
    close(fd); // an error, of FLUSH
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

static void what_a_killed_asker_opened_is_closed(void) {
    begin_with(opens_late, "");
    IN_CHILD(opener) open("hello", O_RDONLY);
    while (!seen->asked[OPEN])
        sleep_ms(5);
    CHECK(kill(opener, SIGKILL) == 0);
    sleep_ms(50);
    CHECK_EQ(seen->asked[RELEASE], 0);
    seen->may_go_on = 1;
    CHECK_EQ(KILLED_BY(opener), SIGKILL);
    for (int i = 0; i < 5000 && !seen->asked[RELEASE]; i++)
        sleep_ms(10);
    CHECK_EQ(seen->asked[RELEASE], 1);
    CHECK_EQ(seen->closed, 20);
    end();
}

// However many there are when the program is slow.
static void whatever_was_open_is_closed(void) {
    enum { files = 5000 };
    int ready[2];
    begin_with(no_lie, "");
    CHECK(pipe(ready) == 0);
    IN_CHILD(opener) {
        const struct rlimit many = {files + 100, files + 100};
        CHECK(setrlimit(RLIMIT_NOFILE, &many) == 0);
        for (int i = 0; i < files; i++)
            CHECK(open("hello", O_RDONLY) >= 0);
        CHECK(write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(close(open("hello", O_RDONLY)) == 0); // there is no FLUSH here, for which Linux would wait
    CHECK(kill(server, SIGSTOP) == 0);
    CHECK(kill(opener, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(opener), SIGKILL);
    CHECK(kill(server, SIGCONT) == 0);
    for (int i = 0; i < 3000 && seen->asked[RELEASE] < files + 1; i++)
        sleep_ms(10);
    CHECK_EQ(seen->asked[RELEASE], files + 1);
    end();
}

static void bytes_past_the_cache(void) {
    begin_with(bypasses_cache, "");
    static unsigned char bytes[3 * page];
    int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    for (int round = 1; round <= 3; round++) {
        const int asked = seen->asked[READ];
        CHECK_EQ(pread(fd, bytes, sizeof bytes, mib - 7), (ssize_t)sizeof bytes);
        CHECK(bytes[0] == pattern(mib - 7) && bytes[sizeof bytes - 1] == pattern(mib - 8 + sizeof bytes));
        CHECK(seen->asked[READ] > asked);
    }
    CHECK_EQ(pread(fd, bytes, sizeof bytes, big_bytes - 5), 5);
    CHECK_EQ(pread(fd, bytes, sizeof bytes, big_bytes + 5), 0);
    CHECK(close(fd) == 0);
    fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, "abcdef", 6, 3), 6);
    CHECK(!memcmp(seen->written + 3, "abcdef", 6));
    seen->written[4] = 'x'; // by itself
    CHECK_EQ(pread(fd, bytes, 100, 3), 6);
    CHECK(!memcmp(bytes, "axcdef", 6));
    CHECK(close(fd) == 0);
    end();
}

static void a_block_mount_says_farewell(void) {
    prepare();
    char options[200], disk[100];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,blksize=512", line);
    snprintf(disk, sizeof disk, "%s-disk", base);
    CHECK_ERROR(mount("/none", base, "fuseblk", 0, options), ENOENT);
    CHECK(mknod(disk, S_IFBLK | 0600, makedev(254, 0)) == 0); // virtio's first
    if (mount(disk, base, "fuseblk", 0, options) < 0) {
        unlink(disk);
        tap_skip("there is no disk");
    }
    CHECK(unlink(disk) == 0);
    server = fork();
    CHECK(server >= 0);
    if (!server) serve(no_lie);
    CHECK(close(line) == 0 && chdir(base) == 0);
    struct stat is;
    CHECK(stat("hello", &is) == 0);
    end();
    CHECK_EQ(seen->asked[DESTROY], 1);
}

static void names_change_places(void) {
    begin_with(no_lie, "");
    CHECK(syscall(SYS_renameat2, AT_FDCWD, "hello", AT_FDCWD, "big", 2) == 0);
    CHECK_EQ(seen->rename_flags, 2);
    CHECK_ERROR(syscall(SYS_renameat2, AT_FDCWD, "hello", AT_FDCWD, "big", 1), EEXIST);
    end();
    CHECK_EQ(seen->asked[RENAME2], 1);
    begin_with(no_rename2, "");
    for (int i = 0; i < 2; i++)
        CHECK_ERROR(syscall(SYS_renameat2, AT_FDCWD, "hello", AT_FDCWD, "big", 2), EINVAL);
    end();
    CHECK_EQ(seen->asked[RENAME2], 1);
}

static void extended_attributes(void) {
    char text[100];
    begin_with(no_lie, "");
    CHECK_EQ(getxattr("hello", "user.a", NULL, 0), 5);
    CHECK_EQ(getxattr("hello", "user.a", text, sizeof text), 5);
    CHECK(!memcmp(text, "value", 5));
    CHECK_ERROR(getxattr("hello", "user.a", text, 2), ERANGE);
    CHECK_ERROR(getxattr("hello", "user.b", text, sizeof text), ENODATA);
    CHECK_EQ(listxattr("hello", NULL, 0), 15);
    CHECK_EQ(listxattr("hello", text, sizeof text), 15);
    CHECK(!memcmp(text, "user.a\0user.bb", 15));
    CHECK(setxattr("hello", "user.set", "given", 5, 0) == 0);
    CHECK(!memcmp(seen->value, "given", 5));
    CHECK_ERROR(setxattr("hello", "user.other", "given", 5, 0), EPERM);
    CHECK_ERROR(removexattr("hello", "user.a"), ENODATA);
    const int fd = open(".", O_RDONLY);
    CHECK(fd >= 0 && fsync(fd) == 0 && close(fd) == 0);
    end();
    CHECK_EQ(seen->asked[FSYNCDIR], 1);
    if (copied() < 0) return;
    begin_with(wrong_extended, "");
    CHECK_ERROR(getxattr("hello", "user.a", NULL, 0), EIO);
    CHECK_ERROR(listxattr("hello", text, sizeof text), EIO);
    end();
}

static void others_are_let_in_if_they_may(void) {
    for (int allowed = 0; allowed < 2; allowed++) {
        begin_with(no_lie, allowed ? ",allow_other,default_permissions" : "");
        CHECK(chdir("/") == 0);
        IN_CHILD(other) {
            CHECK(setgid(1000) == 0 && setuid(1000) == 0);
            char path[100];
            snprintf(path, sizeof path, "%s/hello", base);
            struct stat is;
            if (!allowed) {
                CHECK_ERROR(stat(path, &is), EACCES);
                CHECK_ERROR(open(base, O_RDONLY), EACCES);
                _exit(0);
            }
            CHECK(stat(path, &is) == 0);
            CHECK_ERROR(open(path, O_RDWR), EACCES); // 0644, and root's
            const int fd = open(path, O_RDONLY);
            CHECK(fd >= 0);
            CHECK_EQ(seen->uid, 1000);
        }
        CHECK_EQ(EXIT_STATUS(other), 0);
        end();
    }
}

// A mapping of "out", two pages.
static volatile unsigned char* begin_mapping(enum lie lie, const char* more, int* fd) {
    begin_with(lie, more);
    *fd = open("out", O_RDWR);
    CHECK(*fd >= 0 && ftruncate(*fd, 2 * page) == 0);
    unsigned char* at = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void what_is_stored_arrives(void) {
    int fd;
    volatile unsigned char* at = begin_mapping(no_lie, "", &fd);
    at[1] = 1;
    CHECK(msync((void*)at, page, MS_SYNC) == 0);
    CHECK(seen->written[1] == 1 && seen->stored == 1 && seen->asked[FSYNC] == 1);
    CHECK_EQ(pwrite(fd, "x", 1, 2), 1);
    CHECK(at[2] == 'x');
    CHECK_EQ(seen->stored, 1); // the caller's own
    at[page] = 2;
    CHECK(fsync(fd) == 0 && seen->written[page] == 2);
    at[3] = 3;
    CHECK(close(fd) == 0); // before the program is told of it
    CHECK_EQ(seen->written[3], 3);
    at[4] = 4;
    CHECK_EQ(seen->asked[RELEASE], 0);
    CHECK(munmap((void*)at, 2 * page) == 0); // the last use of what was opened
    struct seen* s = seen;
    end();
    CHECK(s->written[4] == 4 && s->asked[RELEASE] == 1 && s->asked[OPEN] == 1 && s->size == 2 * page);
}

static void what_is_stored_may_be_refused(void) {
    int fd;
    volatile unsigned char* at = begin_mapping(keeps_nothing_stored, "", &fd);
    const int other = open("out", O_RDONLY);
    CHECK(other >= 0);
    at[1] = 1;
    CHECK_ERROR(msync((void*)at, page, MS_SYNC), EIO);
    CHECK(msync((void*)at, page, MS_SYNC) == 0);
    CHECK_ERROR(fsync(other), EIO);
    CHECK(fsync(other) == 0);
    CHECK(munmap((void*)at, 2 * page) == 0 && close(fd) == 0 && close(other) == 0);
    end();
}

static void a_program_is_silent_to_stores(void) {
    int fd;
    volatile unsigned char* at = begin_mapping(silent_to_stores, "", &fd);
    at[1] = 1;
    IN_CHILD(waits)(void) msync((void*)at, page, MS_SYNC);
    while (!seen->stored)
        sleep_ms(5);
    const long long begun = now_ns();
    if (copied() >= 0) { // Linux waits for the answer
        CHECK(kill(waits, SIGKILL) == 0);
        CHECK_EQ(KILLED_BY(waits), SIGKILL);
    }
    CHECK(chdir("/") == 0);
    CHECK(umount2(base, MNT_FORCE | MNT_DETACH) == 0);
    CHECK(fsync(fd) == -1);
    CHECK(munmap((void*)at, 2 * page) == 0);
    close(fd);
    CHECK(now_ns() - begun < 20000000000);
    if (copied() < 0) CHECK_EQ(EXIT_STATUS(waits), 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(rmdir(base) == 0);
}

// Also where the kernel asked by itself, and has left.
static void silence_to_stores_ends_in_time(void) {
    if (copied() < 0) tap_skip("Linux has no time limit here");
    for (int by_itself = 0; by_itself < 2; by_itself++) {
        int fd;
        volatile unsigned char* at = begin_mapping(silent_to_stores, ",timeout=3", &fd);
        at[1] = 1;
        while (by_itself && !seen->stored)
            sleep_ms(5);
        const long long begun = now_ns();
        CHECK_EQ(fsync(fd), -1);
        CHECK(errno == ETIMEDOUT || errno == ENOTCONN);
        CHECK(now_ns() - begun < 20000000000);
        CHECK(munmap((void*)at, 2 * page) == 0);
        close(fd);
        end();
    }
}

static void a_death_loses_what_is_stored(void) {
    int fd;
    volatile unsigned char* at = begin_mapping(no_lie, "", &fd);
    at[1] = 1;
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK(msync((void*)at, page, MS_SYNC) == -1);
    CHECK(munmap((void*)at, 2 * page) == 0);
    close(fd);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

TAP_MAIN(T(files_are_seen_and_read), T(the_device_keeps_its_rules), T(what_is_written_arrives),
         T(bytes_are_copied_once), T(answers_that_make_no_sense_are_refused),
         T(lists_and_bytes_that_make_no_sense_are_refused), T(an_old_version_is_refused),
         T(what_is_not_done_is_asked_once), T(a_refusal_of_one_file_is_not_one_of_all),
         T(who_ends_without_closing_flushes), T(a_death_ends_all_waiting), T(who_waits_can_be_killed),
         T(a_forced_unmount_waits_for_nobody), T(a_silent_program_is_given_up_in_time),
         T(a_program_that_never_begins_is_given_up_in_time), T(killed_askers_are_limited),
         T(what_a_killed_asker_opened_is_closed), T(whatever_was_open_is_closed), T(bytes_past_the_cache),
         T(a_block_mount_says_farewell), T(names_change_places), T(extended_attributes),
         T(others_are_let_in_if_they_may), T(what_is_stored_arrives), T(what_is_stored_may_be_refused),
         T(a_program_is_silent_to_stores), T(silence_to_stores_ends_in_time), T(a_death_loses_what_is_stored))
