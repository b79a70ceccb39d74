// What is stored into mappings of a file in a program reaches it, or somebody is told: a server that says no, that
// dies, that is silent.
#include "tests/user/tap.h"
#include "user/caps.h"
#include "user/userfs.h"

#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

enum { pages = 8 };

// One file, "f", whose bytes the test sees, too.
static struct there {
    _Atomic int writes, syncs, error, silent, first_waits, forgets, removed, looks, look_waits;
    _Atomic int uses_itself;
    _Atomic uint64_t size;
    size_t room;
    char base[64], name[64];
    unsigned char bytes[];
} * there;

static pid_t server;
static int server_threads = 1;

static int is_root(void* fs, userfs_question q, struct userfs_attributes* out) {
    *out = (struct userfs_attributes){.node = 1, .mode = S_IFDIR | 0755, .links = 2};
    return 0;
}

static int look_up(void* fs, userfs_question q, const char* name, struct userfs_attributes* out) {
    if (q->node != 1 || strcmp(name, "f") || there->removed) return ENOENT;
    for (there->looks++; there->look_waits;)
        sleep_ms(5);
    *out = (struct userfs_attributes){.node = 2, .mode = S_IFREG | 0644, .links = 1, .size = there->size};
    return 0;
}

static int read_bytes(void* fs, userfs_question q, struct userfs_bytes* out) {
    const uint64_t left = q->offset < there->size ? there->size - q->offset : 0;
    *out = (struct userfs_bytes){-1, (uint64_t)there->bytes + q->offset, q->bytes < left ? q->bytes : left};
    return 0;
}

static int write_bytes(void* fs, userfs_question q, int fd) {
    const int before = there->writes++;
    while (there->silent || (there->first_waits && !before))
        sleep_ms(5);
    if (there->error) return there->error;
    if (q->offset + q->bytes > there->room) return EFBIG;
    if (pread(fd, there->bytes + q->offset, q->bytes, 0) != (ssize_t)q->bytes) return EIO;
    if (q->offset + q->bytes > there->size) there->size = q->offset + q->bytes;
    return 0;
}

static int change(void* fs, userfs_question q) {
    if (!(q->what & USERFS_SET_SIZE)) return 0;
    if (q->bytes > there->room) return EFBIG;
    if (q->bytes < there->size) memset(there->bytes + q->bytes, 0, there->size - q->bytes);
    there->size = q->bytes;
    return 0;
}

// It may be so silly as to use its own file.
static int synced(void* fs, userfs_question q) {
    there->syncs++;
    if (!there->uses_itself) return 0;
    char path[80];
    snprintf(path, sizeof path, "%s/f", there->base);
    const int fd = open(path, O_RDWR);
    char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page);
    at[0] = 1;
    there->uses_itself = 2;
    return msync(at, page, MS_SYNC) ? errno : 0;
}

static int remove_f(void* fs, userfs_question q, const char* name) {
    there->removed = 1;
    return 0;
}

static int forget(void* fs, userfs_question q) {
    if (q->node == 2) there->forgets++;
    return 0;
}

static void* serve(void* at) {
    static const struct userfs_functions functions = {.mount = is_root,
                                                      .look_up = look_up,
                                                      .read = read_bytes,
                                                      .write = write_bytes,
                                                      .change = change,
                                                      .remove = remove_f,
                                                      .forget = forget,
                                                      .sync = synced};
    _exit(userfs_serve(*(int*)at, &functions, NULL) < 0);
}

static void begin_with(size_t bytes, const char* options) {
    if (caps_room(0, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no file systems in programs");
    there = shared(sizeof *there + bytes);
    there->size = there->room = bytes;
    snprintf(there->base, sizeof there->base, "/tmp/there.%d", getpid());
    snprintf(there->name, sizeof there->name, "there.%d", getpid());
    CHECK(mkdir(there->base, 0755) == 0);
    server = fork();
    CHECK(server >= 0);
    if (!server) {
        int service = caps_service(there->name, CAPS_USER);
        pthread_t another;
        for (int i = 1; i < server_threads; i++)
            CHECK(pthread_create(&another, NULL, serve, &service) == 0);
        serve(&service);
    }
    const int client = caps_connect(there->name, CAPS_WAIT, 10000000000);
    CHECK(client >= 0 && close(client) == 0);
    CHECK(mount(there->name, there->base, "user", 0, options) == 0);
    CHECK(chdir(there->base) == 0);
}

static void end(void) {
    CHECK(chdir("/") == 0 && umount(there->base) == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(rmdir(there->base) == 0);
}

static void end_without_server(void) {
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK(chdir("/") == 0);
    if (umount(there->base) != 0) CHECK(errno == EINVAL); // it was forced off
    CHECK(rmdir(there->base) == 0);
}

static char* filled(size_t bytes) {
    return memset(anonymous(bytes), 'f', bytes);
}

static volatile unsigned char* map_f(int* fd, size_t bytes) {
    *fd = open("f", O_RDWR);
    CHECK(*fd >= 0);
    unsigned char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static int keep(volatile unsigned char* at) {
    return msync((void*)at, page, MS_SYNC);
}

static int arrives(size_t place, unsigned char value) {
    for (int i = 0; i < 3000 && there->bytes[place] != value; i++)
        sleep_ms(10);
    return there->bytes[place] == value;
}

// What carries bytes takes a descriptor. The server has none: the question is refused, and the server goes on.
static void a_server_without_descriptors_refuses_what_it_cannot_receive(void) {
    begin_with(pages * page, NULL);
    int fd = open("f", O_RDWR);
    CHECK(fd >= 0);
    struct rlimit none = {3, 3}, usual;
    CHECK(prlimit(server, RLIMIT_NOFILE, &none, &usual) == 0);
    for (int i = 0; i < 3; i++)
        CHECK_ERROR(pwrite(fd, filled(2 * page), 2 * page, 0), ENOMEM);
    CHECK(there->writes == 0 && access("f", F_OK) == 0);
    CHECK(prlimit(server, RLIMIT_NOFILE, &usual, NULL) == 0);
    CHECK_EQ(pwrite(fd, filled(2 * page), 2 * page, 0), 2 * page);
    CHECK(there->bytes[page] == 'f' && close(fd) == 0);
    end();
}

static void stores_arrive_by_every_way(void) {
    int fd;
    begin_with(pages * page - 96, NULL);
    volatile unsigned char* at = map_f(&fd, pages * page);
    at[5] = 1, at[2 * page] = 2;
    CHECK(keep(at) == 0); // all of the file, as in Linux
    CHECK(there->bytes[5] == 1 && there->bytes[2 * page] == 2);
    CHECK_EQ(there->syncs, 1);
    const int writes = there->writes;
    CHECK(keep(at) == 0 && fsync(fd) == 0);
    CHECK_EQ(there->writes, writes); // nothing is written twice
    at[5] = 3;
    CHECK(fsync(fd) == 0 && there->bytes[5] == 3);
    at[5] = 4;
    sync();
    CHECK_EQ(there->bytes[5], 4);
    at[5] = 5;
    CHECK(arrives(5, 5)); // some time
    at[(pages - 1) * page] = 6;
    at[pages * page - 1] = 77; // behind the end
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    CHECK(arrives((pages - 1) * page, 6));
    CHECK_EQ(there->size, pages * page - 96);
    at = map_f(&fd, pages * page);
    at[7] = 7;
    IN_CHILD(another) at[page] = 8;
    CHECK_EQ(EXIT_STATUS(another), 0);
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    const struct there* seen = there;
    end(); // at the latest
    CHECK(seen->bytes[7] == 7 && seen->bytes[page] == 8);
}

static void written_and_stored_bytes_share_pages(void) {
    int fd;
    begin_with(pages * page, NULL);
    volatile unsigned char* at = map_f(&fd, pages * page);
    at[10] = 1;
    CHECK_EQ(pwrite(fd, "\2", 1, 20), 1);
    CHECK_EQ(there->bytes[20], 2); // at once
    CHECK(keep(at) == 0);
    CHECK(there->bytes[10] == 1 && there->bytes[20] == 2);
    // A write that is refused takes no store with it.
    at[11] = 3;
    there->error = ENOSPC;
    CHECK_ERROR(pwrite(fd, "\4", 1, 21), ENOSPC);
    there->error = 0;
    CHECK(at[11] == 3 && keep(at) == 0);
    CHECK_EQ(there->bytes[11], 3);
    // Cut off: what was stored behind it is nowhere.
    for (int i = 0; i < pages; i++)
        at[i * page] = 9;
    CHECK(ftruncate(fd, 2 * page + 1) == 0);
    CHECK(keep(at) == 0);
    CHECK_EQ(there->size, 2 * page + 1);
    CHECK(there->bytes[0] == 9 && there->bytes[2 * page] == 9 && there->bytes[3 * page] == 0);
    catch_faults();
    CHECK_EQ(TRY_FAULT(at[3 * page] = 1), SIGBUS);
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    end();
}

// Somebody stores into a page again and again; what msync says is kept is there.
static void stores_go_on_while_they_are_written(void) {
    int fd;
    begin_with(pages * page, NULL);
    volatile unsigned char* at = map_f(&fd, pages * page);
    volatile unsigned* count = (volatile unsigned*)at;
    IN_CHILD(counts) {
        while (!at[page])
            ++*count;
    }
    for (int i = 0; i < 50; i++) {
        const unsigned before = *count;
        CHECK(keep(at) == 0);
        CHECK(*(volatile unsigned*)there->bytes >= before);
        char one = 1;
        CHECK_EQ(pwrite(fd, &one, 1, 100 + i), 1);
    }
    at[page] = 1;
    CHECK_EQ(EXIT_STATUS(counts), 0);
    CHECK(keep(at) == 0);
    CHECK_EQ(*(volatile unsigned*)there->bytes, *count);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(there->bytes[100 + i], 1);
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    end();
}

static void a_refusal_is_told_once_a_descriptor(void) {
    int fd;
    begin_with(pages * page, NULL);
    volatile unsigned char* at = map_f(&fd, pages * page);
    const int other = open("f", O_RDONLY);
    CHECK(other >= 0);
    at[0] = 1;
    there->error = EIO;
    CHECK_ERROR(keep(at), EIO);
    there->error = 0;
    CHECK(keep(at) == 0 && fsync(fd) == 0);
    CHECK_EQ(there->bytes[0], 0); // it is lost there
    CHECK_ERROR(fsync(other), EIO);
    CHECK(fsync(other) == 0);
    const int later = open("f", O_RDONLY);
    CHECK(later >= 0 && fsync(later) == 0 && close(later) == 0);
    at[0] = 2; // and the next one is not
    CHECK(keep(at) == 0);
    CHECK_EQ(there->bytes[0], 2);
    at[page] = 3;
    there->error = ENOSPC; // by the kernel itself
    const int writes = there->writes;
    for (int i = 0; i < 1000 && there->writes == writes; i++)
        sleep_ms(10);
    sleep_ms(100);
    there->error = 0;
    CHECK_ERROR(fsync(other), ENOSPC);
    CHECK_ERROR(keep(at), ENOSPC);
    CHECK(fsync(other) == 0 && keep(at) == 0);
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0 && close(other) == 0);
    end();
}

static void a_death_loses_what_is_stored_and_says_so(void) {
    int fd;
    begin_with(pages * page, NULL);
    volatile unsigned char* at = map_f(&fd, pages * page);
    at[0] = 1, at[page] = 1;
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_ERROR(keep(at), ENOTCONN);
    CHECK(at[0] == 1);
    catch_faults();
    CHECK_EQ(TRY_FAULT(at[2 * page] = 1), SIGBUS); // there is nobody to keep it
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    CHECK(chdir("/") == 0 && umount(there->base) == 0 && rmdir(there->base) == 0);
}

static void a_silent_server_is_given_up(void) {
    int fd;
    begin_with(pages * page, "timeout=2");
    volatile unsigned char* at = map_f(&fd, pages * page);
    at[0] = 1;
    there->silent = 1;
    const long long begun = now_ns();
    CHECK(keep(at) == -1 && (errno == ETIMEDOUT || errno == ENOTCONN)); // the kernel may have asked before
    CHECK(now_ns() - begun < 30000000000);
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    end_without_server();
}

// Who asked for the first one is killed; another thread of the server's would do the second one before it.
static volatile unsigned char* leave_a_write(const char* options, int* fd) {
    server_threads = 2;
    begin_with(pages * page, options);
    there->first_waits = 1;
    volatile unsigned char* at = map_f(fd, page);
    at[0] = 1;
    IN_CHILD(left) keep(at);
    while (!there->writes)
        sleep_ms(5);
    CHECK(kill(left, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(left), SIGKILL);
    at[0] = 2;
    return at;
}

static void a_write_that_was_left_is_not_overtaken(void) {
    int fd;
    volatile unsigned char* at = leave_a_write(NULL, &fd);
    IN_CHILD(second) CHECK(keep(at) == 0);
    sleep_ms(300);
    CHECK_EQ(there->writes, 1);
    there->first_waits = 0;
    CHECK_EQ(EXIT_STATUS(second), 0);
    CHECK(there->writes == 2 && there->bytes[0] == 2);
    for (int i = 0; i < 200; i++) { // nothing of it stays behind
        at[1] = (unsigned char)i;
        CHECK(keep(at) == 0 && there->bytes[1] == i);
    }
    CHECK(munmap((void*)at, page) == 0 && close(fd) == 0);
    end();
}

static void a_write_that_was_left_ends_in_time(void) {
    int fd;
    volatile unsigned char* at = leave_a_write("timeout=3", &fd); // a server may be late on a busy machine
    const long long begun = now_ns();
    CHECK_EQ(keep(at), -1);
    CHECK(errno == ENOTCONN || errno == ETIMEDOUT);
    CHECK(now_ns() - begun < 20000000000 && there->writes == 1);
    CHECK(munmap((void*)at, page) == 0 && close(fd) == 0);
    end_without_server();
}

// Nor by what others write or cut off, and its node is not forgotten before.
static void what_was_left_is_done_before_what_comes_after(void) {
    for (int turn = 0; turn < 3; turn++) {
        server_threads = 2;
        begin_with(pages * page, NULL);
        there->first_waits = 1;
        const int fd = open("f", O_RDWR);
        CHECK(fd >= 0);
        IN_CHILD(left)(void) !pwrite(fd, "\1", 1, 0);
        while (!there->writes)
            sleep_ms(5);
        CHECK(kill(left, SIGKILL) == 0);
        CHECK_EQ(KILLED_BY(left), SIGKILL);
        if (turn == 2) {
            struct stat is;
            CHECK(close(fd) == 0 && unlink("f") == 0);
            for (int i = 0; i < 10; i++) { // questions, with which it would be told
                CHECK_ERROR(stat(i % 2 ? "g" : "h", &is), ENOENT);
                CHECK_ERROR(mkdir("g", 0700), ENOSYS);
            }
            CHECK_EQ(there->forgets, 0);
            there->first_waits = 0;
            for (int i = 0; i < 3000 && !there->forgets; i++) {
                CHECK_ERROR(mkdir("g", 0700), ENOSYS);
                sleep_ms(10);
            }
            CHECK_EQ(there->forgets, 1);
            end();
            continue;
        }
        IN_CHILD(second) CHECK(turn ? ftruncate(fd, 0) == 0 : pwrite(fd, "\2", 1, 0) == 1);
        sleep_ms(200);
        CHECK(there->writes == 1 && there->size == pages * page);
        there->first_waits = 0;
        CHECK_EQ(EXIT_STATUS(second), 0);
        CHECK(turn ? there->size == 0 : there->bytes[0] == 2);
        CHECK(close(fd) == 0);
        end();
    }
}

static void what_an_answer_told_nobody_of_is_forgotten(void) {
    server_threads = 2;
    begin_with(page, NULL);
    there->look_waits = 1;
    IN_CHILD(left) {
        struct stat is;
        (void)!stat("f", &is);
    }
    while (!there->looks)
        sleep_ms(5);
    CHECK(kill(left, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(left), SIGKILL);
    there->look_waits = 0;
    for (int i = 0; i < 3000 && !there->forgets; i++) {
        CHECK_ERROR(mkdir("g", 0700), ENOSYS);
        sleep_ms(10);
    }
    CHECK_EQ(there->forgets, 1);
    const int fd = open("f", O_RDWR);
    CHECK(fd >= 0 && close(fd) == 0);
    end();
}

static void a_forced_unmount_waits_for_nothing_that_is_stored(void) {
    int fd;
    begin_with(pages * page, "timeout=60");
    volatile unsigned char* at = map_f(&fd, pages * page);
    at[0] = 1;
    there->silent = 1;
    IN_CHILD(waits) CHECK_ERROR(keep(at), ENOTCONN);
    while (!there->writes)
        sleep_ms(5);
    at[page] = 2;
    const long long begun = now_ns();
    CHECK(umount2(there->base, MNT_FORCE) == 0);
    CHECK_EQ(EXIT_STATUS(waits), 0);
    CHECK(now_ns() - begun < 30000000000); // half of its time
    CHECK(fsync(fd) == -1);
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    end_without_server();
}

static void who_waits_for_room_can_be_killed(void) {
    struct sysinfo machine;
    CHECK(sysinfo(&machine) == 0);
    const size_t most = machine.totalram / page / 32 + 256, bytes = most * page;
    int fd;
    begin_with(bytes, "timeout=60");
    volatile unsigned char* at = map_f(&fd, bytes);
    volatile size_t* stored = shared(page);
    unsigned sum = 0;
    for (size_t i = 0; i < most; i++)
        sum += at[i * page]; // it is all there
    CHECK_EQ(sum, 0);
    there->silent = 1;
    IN_CHILD(fills) {
        for (size_t i = 0; i < most; i++) {
            at[i * page] = 1;
            *stored = i + 1;
        }
    }
    for (size_t before = 0; !*stored || *stored != before || !there->writes;) {
        before = *stored;
        sleep_ms(300);
    }
    note("%zu of %zu pages", *stored, most);
    CHECK(*stored < most);
    CHECK(kill(fills, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(fills), SIGKILL);
    there->silent = 0; // then there is room again
    for (size_t i = 0; i < most; i++)
        at[i * page] = 2;
    CHECK(keep(at) == 0);
    for (size_t i = 0; i < most; i++)
        CHECK_EQ(there->bytes[i * page], 2);
    CHECK(munmap((void*)at, bytes) == 0 && close(fd) == 0);
    end();
}

static void a_silent_server_does_not_fill_the_memory(void) {
    struct sysinfo machine;
    CHECK(sysinfo(&machine) == 0);
    const size_t most = machine.totalram / page / 32 + 256, bytes = most * page;
    int fd;
    begin_with(bytes, "timeout=2");
    volatile unsigned char* at = map_f(&fd, bytes);
    unsigned sum = 0;
    for (size_t i = 0; i < most; i++)
        sum += at[i * page];
    CHECK_EQ(sum, 0);
    there->silent = 1;
    catch_faults();
    volatile size_t stored = 0;
    CHECK_EQ(TRY_FAULT(for (; stored < most; stored++) at[stored * page] = 1), SIGBUS);
    note("%zu of %zu pages", (size_t)stored, most);
    CHECK(fsync(fd) == -1);
    CHECK(munmap((void*)at, bytes) == 0 && close(fd) == 0);
    end_without_server();
}

static void a_server_that_waits_for_itself_can_be_killed(void) {
    int fd;
    begin_with(pages * page, "timeout=60");
    volatile unsigned char* at = map_f(&fd, pages * page);
    at[page] = 0; // it is there
    CHECK(keep(at) == 0);
    there->uses_itself = 1;
    IN_CHILD(waits) CHECK_ERROR(fsync(fd), ENOTCONN);
    for (int i = 0; i < 1000 && there->uses_itself != 2; i++)
        sleep_ms(5);
    CHECK_EQ(there->uses_itself, 2);
    sleep_ms(100);
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_EQ(EXIT_STATUS(waits), 0);
    CHECK(munmap((void*)at, pages * page) == 0 && close(fd) == 0);
    CHECK(chdir("/") == 0 && umount(there->base) == 0 && rmdir(there->base) == 0);
}

TAP_MAIN(T(a_server_without_descriptors_refuses_what_it_cannot_receive), T(stores_arrive_by_every_way),
         T(written_and_stored_bytes_share_pages), T(stores_go_on_while_they_are_written),
         T(a_refusal_is_told_once_a_descriptor), T(a_death_loses_what_is_stored_and_says_so),
         T(a_silent_server_is_given_up), T(a_write_that_was_left_is_not_overtaken),
         T(a_write_that_was_left_ends_in_time), T(what_was_left_is_done_before_what_comes_after),
         T(what_an_answer_told_nobody_of_is_forgotten), T(a_forced_unmount_waits_for_nothing_that_is_stored),
         T(who_waits_for_room_can_be_killed), T(a_silent_server_does_not_fill_the_memory),
         T(a_server_that_waits_for_itself_can_be_killed))
