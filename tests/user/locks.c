// Advisory locks: of ranges, by process and by open file, and of whole files.
#include "tests/user/tap.h"

#include <sys/file.h>
#include <sys/stat.h>

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#define F_OFD_SETLKW 38
#endif

static int file;

static void begin(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/locks.%d", getpid());
    CHECK(mkdir(path, 0777) == 0 && chdir(path) == 0);
    file = open("f", O_CREAT | O_RDWR, 0600);
    CHECK(file >= 0);
}

static int lock(int fd, int command, short type, off_t start, off_t length) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &l);
}

// What is in the way of a lock of another process: its type, and the range as start and length.
struct seen {
    long type, start, length, pid;
};
static struct seen seen_by_another(short type, off_t start, off_t length) {
    struct seen* out = shared(page);
    IN_CHILD(child) {
        struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
        CHECK(fcntl(file, F_GETLK, &l) == 0);
        *out = (struct seen){l.l_type, l.l_start, l.l_len, l.l_pid};
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    return *out;
}
#define CHECK_SEEN(start_, length_, type_, from_, bytes_)                                                              \
    do {                                                                                                               \
        const struct seen s_ = seen_by_another(F_WRLCK, start_, length_);                                              \
        CHECK_EQ(s_.type, type_);                                                                                      \
        if ((type_) != F_UNLCK) {                                                                                      \
            CHECK_EQ(s_.start, from_);                                                                                 \
            CHECK_EQ(s_.length, bytes_);                                                                               \
            CHECK_EQ(s_.pid, getpid());                                                                                \
        }                                                                                                              \
    } while (0)

static void ranges_are_split_and_merged(void) {
    begin();
    CHECK(lock(file, F_SETLK, F_WRLCK, 10, 10) == 0);
    CHECK_SEEN(0, 10, F_UNLCK, 0, 0);
    CHECK_SEEN(0, 11, F_WRLCK, 10, 10);
    CHECK_SEEN(20, 0, F_UNLCK, 0, 0);
    CHECK(lock(file, F_SETLK, F_WRLCK, 20, 10) == 0); // touches it
    CHECK_SEEN(0, 0, F_WRLCK, 10, 20);
    CHECK(lock(file, F_SETLK, F_RDLCK, 15, 5) == 0);
    CHECK_SEEN(10, 1, F_WRLCK, 10, 5);
    CHECK_SEEN(15, 1, F_RDLCK, 15, 5);
    CHECK_SEEN(20, 1, F_WRLCK, 20, 10);
    CHECK_EQ(seen_by_another(F_RDLCK, 15, 5).type, F_UNLCK); // readers do not mind readers
    CHECK(lock(file, F_SETLK, F_WRLCK, 12, 10) == 0);
    CHECK_SEEN(0, 0, F_WRLCK, 10, 20);
    CHECK(lock(file, F_SETLK, F_UNLCK, 14, 2) == 0);
    CHECK_SEEN(0, 0, F_WRLCK, 10, 4);
    CHECK_SEEN(14, 2, F_UNLCK, 0, 0);
    CHECK_SEEN(14, 0, F_WRLCK, 16, 14);
    CHECK(lock(file, F_SETLK, F_UNLCK, 0, 0) == 0);
    CHECK_SEEN(0, 0, F_UNLCK, 0, 0);
    CHECK(lock(file, F_SETLK, F_WRLCK, 5, 0) == 0);
    CHECK_SEEN(1000000, 1, F_WRLCK, 5, 0);
}

static void ranges_are_named_in_three_ways(void) {
    begin();
    CHECK(ftruncate(file, 100) == 0 && lseek(file, 50, SEEK_SET) == 50);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = -10, .l_len = 5};
    CHECK(fcntl(file, F_SETLK, &l) == 0);
    CHECK_SEEN(0, 60, F_WRLCK, 40, 5);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = 0, .l_len = -10};
    CHECK(fcntl(file, F_SETLK, &l) == 0);
    CHECK_SEEN(60, 0, F_WRLCK, 90, 10);
    l.l_len = -101;
    CHECK_ERROR(fcntl(file, F_SETLK, &l), EINVAL);
    CHECK_ERROR(lock(file, F_SETLK, F_WRLCK, -1, 1), EINVAL);
    CHECK_ERROR(lock(file, F_SETLK, F_WRLCK, INT64_MAX, 2), EOVERFLOW);
    CHECK(lock(file, F_SETLK, F_WRLCK, INT64_MAX, 1) == 0);
    CHECK_ERROR(lock(file, F_SETLK, 77, 0, 1), EINVAL);
    CHECK_ERROR(lock(file, F_GETLK, F_UNLCK, 0, 1), EINVAL);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = 9};
    CHECK_ERROR(fcntl(file, F_SETLK, &l), EINVAL);
    CHECK_ERROR(fcntl(file, F_SETLK, (void*)16), EFAULT);
    CHECK_ERROR(lock(99, F_SETLK, F_WRLCK, 0, 1), EBADF);
    const int reader = open("f", O_RDONLY), writer = open("f", O_WRONLY);
    CHECK_ERROR(lock(reader, F_SETLK, F_WRLCK, 0, 1), EBADF);
    CHECK_ERROR(lock(writer, F_SETLK, F_RDLCK, 0, 1), EBADF);
    CHECK(lock(reader, F_SETLK, F_RDLCK, 0, 1) == 0 && lock(writer, F_SETLK, F_WRLCK, 0, 1) == 0);
}

static void they_are_a_process_s_own(void) {
    begin();
    CHECK(lock(file, F_SETLK, F_WRLCK, 0, 0) == 0);
    const int other = open("f", O_RDWR);
    CHECK(lock(other, F_SETLK, F_WRLCK, 0, 10) == 0); // one's own are never in the way
    IN_CHILD(child) {
        CHECK_ERROR(lock(file, F_SETLK, F_WRLCK, 0, 1), EAGAIN); // not inherited
        close(file);                                             // the parent's stay
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_SEEN(0, 0, F_WRLCK, 0, 0);
    close(other); // any descriptor of the file
    CHECK_SEEN(0, 0, F_UNLCK, 0, 0);
    CHECK(lock(file, F_SETLK, F_WRLCK, 0, 0) == 0);
    const int copy = dup(file);
    CHECK(dup2(0, copy) == copy);
    CHECK_SEEN(0, 0, F_UNLCK, 0, 0);
}

static void they_end_with_the_process(void) {
    begin();
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    IN_CHILD(child) {
        CHECK(lock(file, F_SETLK, F_WRLCK, 0, 0) == 0);
        CHECK(write(ends[1], "x", 1) == 1);
        sleep_ms(20000);
    }
    CHECK(read(ends[0], &byte, 1) == 1);
    CHECK_ERROR(lock(file, F_SETLK, F_RDLCK, 5, 1), EAGAIN);
    kill(child, SIGKILL);
    CHECK(lock(file, F_SETLKW, F_WRLCK, 5, 1) == 0);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

static void who_waits_gets_it(void) {
    begin();
    CHECK(lock(file, F_SETLK, F_WRLCK, 0, 10) == 0);
    IN_CHILD(child) {
        CHECK(lock(file, F_SETLKW, F_RDLCK, 5, 1) == 0);
    }
    sleep_ms(20);
    CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);
    CHECK(lock(file, F_SETLK, F_UNLCK, 0, 5) == 0); // not yet
    sleep_ms(20);
    CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);
    CHECK(lock(file, F_SETLK, F_RDLCK, 5, 5) == 0); // both read
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void on_alarm(int number) {}

static void a_signal_ends_the_waiting(void) {
    begin();
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    IN_CHILD(child) {
        CHECK(lock(file, F_SETLK, F_WRLCK, 0, 0) == 0 && flock(open("f", O_RDONLY), LOCK_EX) == 0);
        CHECK(write(ends[1], "x", 1) == 1);
        sleep_ms(20000);
    }
    CHECK(read(ends[0], &byte, 1) == 1);
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    ualarm(20000, 20000); // again and again, in case that the first one comes too early
    CHECK_ERROR(lock(file, F_SETLKW, F_WRLCK, 0, 1), EINTR);
    CHECK_ERROR(flock(file, LOCK_EX), EINTR);
    ualarm(0, 0);
    kill(child, SIGKILL);
}

// Each of three has one and wants the next one's: the last one is told.
static void a_circle_is_not_waited_for(void) {
    begin();
    enum { members = 3 };
    pid_t children[members];
    int* refused = shared(page);
    for (int who = 0; who < members; who++) {
        IN_CHILD(child) {
            CHECK(lock(file, F_SETLK, F_WRLCK, who, 1) == 0);
            __atomic_fetch_add(&refused[1], 1, __ATOMIC_RELAXED);
            while (__atomic_load_n(&refused[1], __ATOMIC_RELAXED) < members)
                sleep_ms(1);
            if (lock(file, F_SETLKW, F_WRLCK, (who + 1) % members, 1) < 0) {
                CHECK_EQ(errno, EDEADLK);
                __atomic_fetch_add(refused, 1, __ATOMIC_RELAXED);
            }
        }
        children[who] = child;
    }
    for (int who = 0; who < members; who++)
        CHECK_EQ(EXIT_STATUS(children[who]), 0);
    CHECK_EQ(*refused, 1);
}

static void locks_of_open_files(void) {
    begin();
    const int other = open("f", O_RDWR), copy = dup(file);
    CHECK(lock(file, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
    CHECK_ERROR(lock(other, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
    CHECK_ERROR(lock(file, F_SETLK, F_RDLCK, 5, 1), EAGAIN); // a process is somebody else
    CHECK(lock(copy, F_OFD_SETLK, F_WRLCK, 5, 1) == 0);
    struct flock l = {.l_type = F_WRLCK, .l_len = 1};
    CHECK(fcntl(other, F_OFD_GETLK, &l) == 0 && l.l_type == F_WRLCK && l.l_pid == -1 && l.l_len == 10);
    l = (struct flock){.l_type = F_WRLCK, .l_pid = 5};
    CHECK_ERROR(fcntl(other, F_OFD_SETLK, &l), EINVAL);
    close(file);
    CHECK_ERROR(lock(other, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
    IN_CHILD(child) {
        CHECK(lock(copy, F_OFD_SETLK, F_WRLCK, 2, 1) == 0); // inherited with the file
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    close(copy);
    CHECK(lock(other, F_OFD_SETLKW, F_RDLCK, 5, 1) == 0);
}

static void whole_files(void) {
    begin();
    const int other = open("f", O_RDONLY), copy = dup(file);
    CHECK(flock(file, LOCK_SH) == 0 && flock(other, LOCK_SH) == 0);
    CHECK_ERROR(flock(file, LOCK_EX | LOCK_NB), EAGAIN);
    CHECK(flock(other, LOCK_EX | LOCK_NB) == 0); // the attempt has cost the other one its own
    CHECK_ERROR(flock(file, LOCK_SH | LOCK_NB), EAGAIN);
    CHECK(flock(other, LOCK_UN) == 0);
    CHECK(flock(copy, LOCK_EX) == 0 && flock(file, LOCK_EX) == 0);
    CHECK(lock(other, F_SETLK, F_RDLCK, 0, 0) == 0); // the other kind
    close(file);
    CHECK_ERROR(flock(other, LOCK_SH | LOCK_NB), EAGAIN);
    IN_CHILD(child) {
        CHECK(flock(copy, LOCK_UN) == 0);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(flock(other, LOCK_EX | LOCK_NB) == 0);
    CHECK_ERROR(flock(other, 0), EINVAL);
    CHECK_ERROR(flock(other, LOCK_SH | LOCK_EX), EINVAL);
    CHECK_ERROR(flock(99, LOCK_SH), EBADF);
    CHECK_ERROR(flock(open("f", O_PATH), LOCK_SH), EBADF);
}

enum { workers = 4, turns = 200 };

static void a_counter_is_kept(void) {
    begin();
    CHECK(write(file, "\0\0\0\0\0\0\0\0", 8) == 8);
    pid_t children[workers];
    for (int who = 0; who < workers; who++) {
        IN_CHILD(child) {
            const int mine = open("f", O_RDWR);
            for (int i = 0; i < turns; i++) {
                long count;
                if (who % 2)
                    CHECK(lock(mine, F_SETLKW, F_WRLCK, 0, 8) == 0);
                else
                    CHECK(lock(mine, F_OFD_SETLKW, F_WRLCK, 0, 8) == 0);
                CHECK_EQ(pread(mine, &count, 8, 0), 8);
                if (i % 16 == 0) sched_yield();
                count++;
                CHECK_EQ(pwrite(mine, &count, 8, 0), 8);
                CHECK(lock(mine, who % 2 ? F_SETLK : F_OFD_SETLK, F_UNLCK, 0, 8) == 0);
            }
        }
        children[who] = child;
    }
    for (int who = 0; who < workers; who++)
        CHECK_EQ(EXIT_STATUS(children[who]), 0);
    long count;
    CHECK_EQ(pread(file, &count, 8, 0), 8);
    CHECK_EQ(count, workers * turns);
}

TAP_MAIN(T(ranges_are_split_and_merged), T(ranges_are_named_in_three_ways), T(they_are_a_process_s_own),
         T(they_end_with_the_process), T(who_waits_gets_it), T(a_signal_ends_the_waiting),
         T(a_circle_is_not_waited_for), T(locks_of_open_files), T(whole_files), T(a_counter_is_kept))
