// File descriptors, and what becomes of bad pointers: EFAULT, with every byte accounted for, at every position around a
// page's edge.
#include "tests/user/tap.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>

static void duplicates_share(void) {
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    const int copy = dup(ends[1]);
    CHECK(copy > ends[1]);
    CHECK_EQ(dup2(ends[1], 50), 50);
    CHECK_EQ(dup3(ends[1], 51, O_CLOEXEC), 51);
    CHECK_EQ(fcntl(51, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(50, F_GETFD), 0);
    for (int file = 0; file < 4; file++)
        CHECK(write((int[]){ends[1], copy, 50, 51}[file], "x", 1) == 1);
    CHECK(close(ends[1]) == 0 && close(copy) == 0 && close(50) == 0);
    for (int turn = 0; turn < 4; turn++)
        CHECK_EQ(read(ends[0], &byte, 1), 1);
    CHECK(write(51, "y", 1) == 1);
    CHECK(close(51) == 0);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    CHECK_EQ(read(ends[0], &byte, 1), 0);
    CHECK_ERROR(dup(51), EBADF);
    CHECK_ERROR(dup2(51, 52), EBADF);
    CHECK_ERROR(dup2(ends[0], -1), EBADF);
    CHECK_ERROR(dup2(ends[0], 1 << 30), EBADF);
    CHECK_ERROR(dup3(ends[0], ends[0], 0), EINVAL);
    CHECK_ERROR(syscall(SYS_dup3, ends[0], 60, 77), EINVAL);
    CHECK_EQ(dup2(ends[0], ends[0]), ends[0]);
}

static void numbers_are_the_lowest_free(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    const int first = dup(0), second = dup(0), third = dup(0);
    CHECK(second == first + 1 && third == first + 2);
    CHECK(close(second) == 0);
    CHECK_EQ(dup(0), second);
    CHECK_EQ(fcntl(0, F_DUPFD, 100), 100);
    CHECK_EQ(fcntl(0, F_DUPFD_CLOEXEC, 100), 101);
    CHECK_EQ(fcntl(101, F_GETFD), FD_CLOEXEC);
    CHECK_ERROR(fcntl(0, F_DUPFD, 1 << 30), EINVAL);
    CHECK_ERROR(fcntl(0, F_DUPFD, -1), EINVAL);
}

static void flags_are_kept(void) {
    int ends[2];
    CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
    CHECK_EQ(fcntl(ends[0], F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_RDONLY);
    CHECK_EQ(fcntl(ends[1], F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_WRONLY);
    CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(ends[0], F_SETFD, 0) == 0);
    CHECK_EQ(fcntl(ends[0], F_GETFD), 0);
    const int copy = dup(ends[0]);
    CHECK(fcntl(copy, F_SETFL, 0) == 0);
    CHECK_EQ(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0); // of the open file, not of the number
    CHECK_EQ(fcntl(ends[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_ERROR(fcntl(ends[0], 9999), EINVAL);
    CHECK_ERROR(fcntl(99, F_GETFD), EBADF);
    int on = 1;
    CHECK(ioctl(ends[0], FIONBIO, &on) == 0);
    CHECK_EQ(fcntl(ends[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_ERROR(ioctl(ends[0], 0x5401 /* TCGETS */, &on), ENOTTY);
}

static void some_files_do_not_survive_exec(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK_EQ(dup2(ends[1], 40), 40);
    CHECK_EQ(dup3(ends[1], 41, O_CLOEXEC), 41);
    IN_CHILD(child) execl(tap_arguments[0], tap_arguments[0], "--files", (char*)NULL);
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(fcntl(41, F_GETFD), FD_CLOEXEC); // the parent's are as they were
}

static void children_have_their_own_table(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    IN_CHILD(child) {
        CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
        CHECK_ERROR(close(ends[1]), EBADF);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(write(ends[1], "x", 1) == 1);
}

static void bad_descriptors_are_refused(void) {
    static const int bad[] = {-1, 99, 1 << 20, 0x7fffffff, -0x7fffffff};
    char byte;
    struct iovec vector = {&byte, 1};
    for (int at = 0; at < 5; at++) {
        CHECK_ERROR(read(bad[at], &byte, 1), EBADF);
        CHECK_ERROR(write(bad[at], &byte, 1), EBADF);
        CHECK_ERROR(readv(bad[at], &vector, 1), EBADF);
        CHECK_ERROR(writev(bad[at], &vector, 1), EBADF);
        CHECK_ERROR(close(bad[at]), EBADF);
        CHECK_ERROR(dup(bad[at]), EBADF);
        CHECK_ERROR(fcntl(bad[at], F_GETFL), EBADF);
        CHECK_ERROR(ioctl(bad[at], FIONREAD, &byte), EBADF);
        CHECK_ERROR(lseek(bad[at], 0, SEEK_CUR), EBADF);
        CHECK_ERROR(ftruncate(bad[at], 0), EBADF);
        CHECK_ERROR(fsync(bad[at]), EBADF);
    }
    // Only 32 bits of a descriptor count.
    CHECK_ERROR(syscall(SYS_write, 0x100000063, "x", 1), EBADF);
}

static void vectors_have_limits(void) {
    int ends[2];
    char bytes[16] = "0123456789abcdef";
    static struct iovec vector[1025];
    CHECK(pipe(ends) == 0);
    for (int at = 0; at < 1025; at++)
        vector[at] = (struct iovec){bytes, 1};
    CHECK_ERROR(writev(ends[1], vector, 1025), EINVAL);
    CHECK_ERROR(syscall(SYS_writev, ends[1], vector, -1), EINVAL);
    CHECK_EQ(writev(ends[1], vector, 1024), 1024);
    CHECK_EQ(readv(ends[0], vector, 1024), 1024);
    CHECK_EQ(writev(ends[1], vector, 0), 0);
    CHECK_ERROR(writev(ends[1], (struct iovec*)8, 1), EFAULT);
    vector[0].iov_len = (size_t)-1;
    CHECK_ERROR(writev(ends[1], vector, 1), EINVAL);
    // Over 2 GiB in one go is cut, not refused; the bytes are not there, so it ends with EFAULT or with what was.
    vector[0].iov_len = SIZE_MAX / 2 - 4096;
    errno = 0;
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    const ssize_t count = writev(ends[1], vector, 1);
    CHECK(count < 0 ? errno == EFAULT || errno == EINVAL : count <= 65536);
}

// A page that may be used, between two that may not.
static char* island(void) {
    char* at = anonymous(3 * page);
    CHECK(mprotect(at, page, PROT_NONE) == 0 && mprotect(at + 2 * page, page, PROT_NONE) == 0);
    return at + page;
}

static void writes_from_the_edge_of_memory(void) {
    char* good = island();
    char got[200];
    for (int at = 0; at < page; at++)
        good[at] = at;
    for (int valid = 0; valid <= 64; valid++) {
        for (int side = 0; side < 2; side++) {
            int ends[2];
            CHECK(pipe2(ends, O_NONBLOCK) == 0);
            // 64 bytes of which so many are there, at the end of the page or (none of the first) before it.
            const char* from = side ? good - 64 + valid : good + page - valid;
            const int usable = side ? (valid == 64 ? 64 : 0) : valid;
            errno = 0;
            const ssize_t count = write(ends[1], from, 64);
            CHECK(count < 0 ? errno == EFAULT && usable < 64 : count <= usable && count > 0);
            const ssize_t have = read(ends[0], got, sizeof got);
            CHECK(count < 0 ? have < 0 && errno == EAGAIN : have == count);
            if (count > 0) CHECK(!memcmp(got, from, count));
            CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
        }
    }
}

static void reads_to_the_edge_of_memory(void) {
    char* good = island();
    char sent[64], rest[64];
    for (int at = 0; at < 64; at++)
        sent[at] = at + 1;
    for (int valid = 0; valid <= 64; valid++) {
        for (int side = 0; side < 2; side++) {
            int ends[2];
            CHECK(pipe2(ends, O_NONBLOCK) == 0);
            CHECK(write(ends[1], sent, 64) == 64);
            memset(good, 0, page);
            char* to = side ? good - 64 + valid : good + page - valid;
            const int usable = side ? (valid == 64 ? 64 : 0) : valid;
            errno = 0;
            const ssize_t count = read(ends[0], to, 64);
            CHECK(count < 0 ? errno == EFAULT && usable < 64 : count <= usable && count > 0);
            if (count > 0) CHECK(!memcmp(to, sent, count));
            // What was not delivered is still there: nothing is lost.
            const ssize_t taken = count > 0 ? count : 0, left = read(ends[0], rest, 64);
            CHECK(left == 64 - taken || (taken == 64 && left < 0));
            if (left > 0) CHECK(!memcmp(rest, sent + taken, left));
            CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
        }
    }
}

static void large_transfers_into_holes(void) {
    char* memory = anonymous(64 * page);
    memset(memory, 7, 64 * page);
    for (int hole = 0; hole < 8; hole++) {
        int ends[2];
        CHECK(pipe2(ends, O_NONBLOCK) == 0);
        CHECK(mprotect(memory + hole * page, page, PROT_NONE) == 0);
        errno = 0;
        const ssize_t count = write(ends[1], memory, 8 * page); // would be lent
        CHECK(count < 0 ? errno == EFAULT : count <= hole * page);
        char* got = anonymous(8 * page);
        const ssize_t have = read(ends[0], got, 8 * page);
        CHECK(count < 0 ? have < 0 && errno == EAGAIN : have == count);
        CHECK(mprotect(memory + hole * page, page, PROT_READ | PROT_WRITE) == 0);
        CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
        CHECK(munmap(got, 8 * page) == 0);
    }
}

static void vectors_with_bad_parts(void) {
    char* good = island();
    int ends[2];
    char got[100];
    memset(good, 'a', page);
    CHECK(pipe2(ends, O_NONBLOCK) == 0);
    struct iovec vector[] = {{good, 10}, {(void*)8, 10}, {good, 10}};
    errno = 0;
    ssize_t count = writev(ends[1], vector, 3);
    CHECK(count < 0 ? errno == EFAULT : count == 10);
    const ssize_t have = read(ends[0], got, sizeof got);
    CHECK(count < 0 ? have < 0 : have == count);
    CHECK(write(ends[1], "0123456789abcdefghijklmnopqrst", 30) == 30);
    count = readv(ends[0], vector, 3);
    CHECK(count < 0 ? errno == EFAULT : count == 10);
    CHECK_EQ(read(ends[0], got, sizeof got), 30 - (count > 0 ? 10 : 0));
    // The vector itself lies across the edge.
    struct iovec* edge = (struct iovec*)(good + page - 24);
    edge[0] = (struct iovec){got, 1};
    CHECK_EQ(writev(ends[1], edge, 1), 1);
    CHECK_ERROR(writev(ends[1], edge, 2), EFAULT);
    CHECK_EQ(read(ends[0], got, sizeof got), 1);
}

// A call whose pointer is bad in `at` of its `size` bytes.
struct probe {
    const char* name;
    long number;
    int position; // of the pointer among the arguments
    long size;
    long arguments[6];
    int accepts; // another error that is fine, too
};

static void every_pointer_at_the_edge(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    struct timespec none = {0};
    const int set = epoll_create1(0), events = eventfd(0, 0);
    const struct probe probes[] = {
        {"pipe2", SYS_pipe2, 0, 8, {0, 0}, 0},
        {"clock_gettime", SYS_clock_gettime, 1, 16, {CLOCK_MONOTONIC}, 0},
        {"clock_getres", SYS_clock_getres, 1, 16, {CLOCK_MONOTONIC}, 0},
        {"gettimeofday", SYS_gettimeofday, 0, 16, {0, 0}, 0},
        {"nanosleep", SYS_nanosleep, 0, 16, {0, 0}, EINVAL},
        {"uname", SYS_uname, 0, sizeof(struct utsname), {0}, 0},
        {"sysinfo", SYS_sysinfo, 0, 112 /* of them the kernel knows */, {0}, 0},
        {"times", SYS_times, 0, sizeof(struct tms), {0}, 0},
        {"getrusage", SYS_getrusage, 1, 144, {RUSAGE_SELF}, 0},
        {"getrlimit", SYS_getrlimit, 1, 16, {RLIMIT_NOFILE}, 0},
        {"prlimit64", SYS_prlimit64, 3, 16, {0, RLIMIT_NOFILE, 0}, 0},
        {"setrlimit", SYS_setrlimit, 1, 16, {RLIMIT_CORE}, 0},
        {"rt_sigaction", SYS_rt_sigaction, 1, 32, {SIGUSR1, 0, 0, 8}, 0},
        {"rt_sigaction old", SYS_rt_sigaction, 2, 32, {SIGUSR1, 0, 0, 8}, 0},
        {"rt_sigprocmask", SYS_rt_sigprocmask, 1, 8, {SIG_BLOCK, 0, 0, 8}, 0},
        {"rt_sigprocmask old", SYS_rt_sigprocmask, 2, 8, {SIG_BLOCK, 0, 0, 8}, 0},
        {"rt_sigpending", SYS_rt_sigpending, 0, 8, {0, 8}, 0},
        {"rt_sigtimedwait", SYS_rt_sigtimedwait, 0, 8, {0, 0, (long)&none, 8}, EAGAIN},
        {"sigaltstack old", SYS_sigaltstack, 1, 24, {0}, 0},
        {"getitimer", SYS_getitimer, 1, 32, {0}, 0},
        {"setitimer", SYS_setitimer, 1, 32, {0}, EINVAL},
        {"poll", SYS_poll, 0, 16, {0, 2, 0}, 0},
        {"select", SYS_select, 1, 8, {1, 0, 0, 0, (long)&none}, EBADF},
        {"epoll_ctl", SYS_epoll_ctl, 3, 12, {set, EPOLL_CTL_ADD, ends[0]}, EEXIST},
        {"writev", SYS_writev, 1, 32, {ends[1], 0, 2}, 0},
        {"futex timeout", SYS_futex, 3, 16, {(long)&none, 0, 1}, EAGAIN},
        {"set_robust_list length", SYS_get_robust_list, 2, 8, {0, (long)&none}, 0},
        {"sched_getaffinity", SYS_sched_getaffinity, 2, 8, {0, 8}, 0},
        {"getcpu", SYS_getcpu, 0, 4, {0, 0, 0}, 0},
        {"eventfd write", SYS_write, 1, 8, {events, 0, 8}, 0},
        {"getresuid", SYS_getresuid, 1, 4, {(long)&none, 0, (long)&none}, 0},
        {"arch_prctl get", SYS_arch_prctl, 1, 8, {0x1003 /* ARCH_GET_FS */}, 0},
    };
    char* good = island();
    for (unsigned probe = 0; probe < sizeof probes / sizeof probes[0]; probe++) {
        const struct probe* it = &probes[probe];
        for (long valid = 0; valid <= it->size; valid++) {
            long arguments[6];
            memcpy(arguments, it->arguments, sizeof arguments);
            memset(good, 0, page);
            arguments[it->position] = (long)good + page - valid;
            const long result =
                syscall(it->number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
            if (valid == it->size) {
                if (result < 0 && errno != it->accepts) note("%s: errno %d with a good pointer", it->name, errno);
                CHECK(result >= 0 || errno == it->accepts);
            } else {
                if (result != -1 || (errno != EFAULT && errno != it->accepts))
                    note("%s with %ld of %ld bytes: %ld, errno %d", it->name, valid, it->size, result, errno);
                CHECK(result == -1 && (errno == EFAULT || errno == it->accepts));
            }
        }
        // Nowhere, before all memory, the kernel's, no address, and one whose end overflows.
        static const long bad[] = {1, 4096, 0x7ffffffff000, (long)0xffffffff80000000, (long)0x8000000000000000, -1};
        for (int at = 0; at < 6; at++) {
            long arguments[6];
            memcpy(arguments, it->arguments, sizeof arguments);
            arguments[it->position] = bad[at];
            const long result =
                syscall(it->number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
            if (result != -1 || (errno != EFAULT && errno != it->accepts))
                note("%s with %#lx: %ld, errno %d", it->name, bad[at], result, errno);
            CHECK(result == -1 && (errno == EFAULT || errno == it->accepts));
        }
    }
}

static void a_failed_pipe_leaves_no_descriptors(void) {
    const int before = dup(0);
    close(before);
    for (int turn = 0; turn < 100; turn++)
        CHECK_ERROR(syscall(SYS_pipe2, 8, 0), EFAULT);
    CHECK_EQ(dup(0), before);
}

static void a_child_is_reaped_once_with_a_bad_pointer(void) {
    IN_CHILD(child) _exit(5);
    CHECK_ERROR(syscall(SYS_wait4, child, 8, 0, 0), EFAULT);
    errno = 0;
    const pid_t again = waitpid(child, NULL, 0);
    CHECK(again == child || errno == ECHILD);
    siginfo_t* nowhere = (siginfo_t*)8;
    IN_CHILD(other) _exit(5);
    CHECK_ERROR(syscall(SYS_waitid, P_PID, other, nowhere, WEXITED, 0), EFAULT);
}

static void read_only_memory_is_not_written(void) {
    char* memory = anonymous(page);
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(mprotect(memory, page, PROT_READ) == 0);
    CHECK_ERROR(read(ends[0], memory, 1), EFAULT);
    CHECK_ERROR(read(ends[0], (void*)(uintptr_t)island, 1), EFAULT); // the program's own code
    CHECK_EQ(memory[0], 0);
    char byte;
    CHECK_EQ(read(ends[0], &byte, 1), 1);
}

static void random_bytes_differ(void) {
    unsigned char bytes[256] = {0}, other[256] = {0};
    CHECK_EQ(syscall(SYS_getrandom, bytes, 256, 0), 256);
    CHECK_EQ(syscall(SYS_getrandom, other, 256, 1 /* GRND_NONBLOCK */), 256);
    CHECK(memcmp(bytes, other, 256) != 0);
    int counts = 0;
    for (int at = 0; at < 256; at++)
        counts += __builtin_popcount(bytes[at]);
    CHECK(counts > 800 && counts < 1250);
    CHECK_ERROR(syscall(SYS_getrandom, 8, 256, 0), EFAULT);
    CHECK_ERROR(syscall(SYS_getrandom, bytes, 256, 0x77), EINVAL);
}

static void unknown_calls_are_refused(void) {
    static const long numbers[] = {345, 400, 423, 461 + 1000, 9999, -1, -1000};
    for (unsigned at = 0; at < sizeof numbers / sizeof numbers[0]; at++)
        CHECK_ERROR(syscall(numbers[at], 0, 0, 0, 0, 0, 0), ENOSYS);
}

static const struct tap_test tests[] = {
    T(duplicates_share),
    T(numbers_are_the_lowest_free),
    T(flags_are_kept),
    T(some_files_do_not_survive_exec),
    T(children_have_their_own_table),
    T(bad_descriptors_are_refused),
    T(vectors_have_limits),
    T(writes_from_the_edge_of_memory),
    T(reads_to_the_edge_of_memory),
    T(large_transfers_into_holes),
    T(vectors_with_bad_parts),
    T(every_pointer_at_the_edge),
    T(a_failed_pipe_leaves_no_descriptors),
    T(a_child_is_reaped_once_with_a_bad_pointer),
    T(read_only_memory_is_not_written),
    T(random_bytes_differ),
    T(unknown_calls_are_refused),
};

int main(int count, char** arguments) {
    if (count > 1 && !strcmp(arguments[1], "--files")) return fcntl(40, F_GETFD) != 0 || fcntl(41, F_GETFD) != -1;
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
