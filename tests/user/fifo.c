// Pipes with a name: who waits for whom when they are opened, and what becomes of the bytes.
#include "tests/user/tap.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static void begin(void) {
    char base[64];
    snprintf(base, sizeof base, "/tmp/fifo.%d", getpid());
    CHECK(mkdir(base, 0777) == 0 && chdir(base) == 0);
    CHECK(mkfifo("f", 0666) == 0);
}

static int open_now(int flags) {
    const int fd = open("f", flags | O_NONBLOCK);
    CHECK(fd >= 0);
    return fd;
}

static int ready(int fd, short events) {
    struct pollfd p = {.fd = fd, .events = events};
    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static void each_side_waits_for_the_other(void) {
    begin();
    char got[8];
    IN_CHILD(writer) {
        const int fd = open("f", O_WRONLY);
        CHECK(fd >= 0);
        CHECK_EQ(write(fd, "hello", 5), 5);
    }
    int fd = open("f", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, got, sizeof got), 5);
    CHECK_EQ(read(fd, got, sizeof got), 0);
    CHECK_EQ(EXIT_STATUS(writer), 0);
    close(fd);
    volatile int* opens = shared(page);
    IN_CHILD(reader) {
        sleep_ms(30);
        *opens = 1;
        const int in = open("f", O_RDONLY);
        CHECK_EQ(read(in, got, sizeof got), 3);
    }
    fd = open("f", O_WRONLY);
    CHECK(fd >= 0 && *opens);
    CHECK_EQ(write(fd, "abc", 3), 3);
    CHECK_EQ(EXIT_STATUS(reader), 0);
}

static void a_partner_that_has_left_again_was_there(void) {
    begin();
    IN_CHILD(writer) {
        const int fd = open("f", O_WRONLY);
        CHECK(fd >= 0);
    }
    int status = -1;
    while (waitpid(writer, &status, WNOHANG) == 0) {
        close(open_now(O_RDONLY)); // comes and goes: a writer that waits is through
        sleep_ms(5);
    }
    CHECK_EQ(status, 0);
}

static void nobody_waits_who_will_not(void) {
    begin();
    char byte;
    CHECK_ERROR(open("f", O_WRONLY | O_NONBLOCK), ENXIO);
    const int in = open_now(O_RDONLY);
    CHECK_EQ(ready(in, POLLIN), 0); // no writer yet is no hang-up
    CHECK_EQ(read(in, &byte, 1), 0);
    const int out = open_now(O_WRONLY);
    CHECK_ERROR(read(in, &byte, 1), EAGAIN);
    CHECK_EQ(ready(in, POLLIN), 0);
    CHECK_EQ(ready(out, POLLOUT), POLLOUT);
    CHECK_EQ(write(out, "x", 1), 1);
    int waiting = 0;
    CHECK(ioctl(in, FIONREAD, &waiting) == 0 && waiting == 1);
    CHECK_EQ(ready(in, POLLIN), POLLIN);
    close(out);
    CHECK_EQ(ready(in, POLLIN), POLLIN | POLLHUP);
    CHECK_EQ(read(in, &byte, 1), 1);
    CHECK_EQ(ready(in, POLLIN), POLLHUP);
    CHECK_EQ(read(in, &byte, 1), 0);
    const int again = open_now(O_WRONLY);
    CHECK_EQ(ready(in, POLLIN), 0);
    CHECK_ERROR(read(in, &byte, 1), EAGAIN);
    close(in);
    signal(SIGPIPE, SIG_IGN);
    CHECK_ERROR(write(again, "x", 1), EPIPE);
    CHECK(ready(again, POLLOUT) & POLLERR);
}

static void who_opens_both_is_alone_enough(void) {
    begin();
    const int fd = open("f", O_RDWR);
    CHECK(fd >= 0);
    char got[8];
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
    const int poller = epoll_create1(0);
    CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(epoll_wait(poller, &event, 1, 0) == 1 && event.events == EPOLLOUT);
    CHECK_EQ(write(fd, "both", 4), 4);
    CHECK(epoll_wait(poller, &event, 1, 0) == 1 && event.events == (EPOLLIN | EPOLLOUT));
    CHECK_EQ(read(fd, got, sizeof got), 4);
    const int out = open_now(O_WRONLY), in = open_now(O_RDONLY);
    CHECK_EQ(write(out, "x", 1), 1);
    close(out);
    CHECK_EQ(ready(in, POLLIN), POLLIN); // one more can write
    CHECK_EQ(read(in, got, sizeof got), 1);
}

static void bytes_stay_as_long_as_anybody(void) {
    begin();
    char got[8];
    int in = open_now(O_RDONLY), out = open_now(O_WRONLY);
    CHECK_EQ(write(out, "kept", 4), 4);
    close(in);
    in = open_now(O_RDONLY);
    CHECK_EQ(read(in, got, sizeof got), 4);
    CHECK_EQ(write(out, "lost", 4), 4);
    close(in);
    close(out);
    in = open_now(O_RDONLY);
    CHECK_EQ(read(in, got, sizeof got), 0);
    out = open_now(O_WRONLY);
    CHECK_ERROR(read(in, got, sizeof got), EAGAIN);
    CHECK_EQ(unlink("f"), 0);
    CHECK_EQ(write(out, "still", 5), 5);
    CHECK_EQ(read(in, got, sizeof got), 5);
}

enum { writers = 4, readers = 2, records = 300 };

static void many_writers_and_readers(void) {
    begin();
    long* sums = shared(page);
    pid_t children[writers + readers];
    for (int who = 0; who < writers + readers; who++) {
        IN_CHILD(child) {
            int record[16];
            const int fd = open("f", who < writers ? O_WRONLY : O_RDONLY);
            CHECK(fd >= 0);
            __atomic_fetch_add(&sums[2], 1, __ATOMIC_RELAXED);
            while (__atomic_load_n(&sums[2], __ATOMIC_RELAXED) < writers + readers)
                sleep_ms(1); // all are there before the first one leaves
            for (int i = 0; who < writers && i < records; i++) {
                for (int at = 0; at < 16; at++)
                    record[at] = who * records + i;
                CHECK_EQ(write(fd, record, sizeof record), (long)sizeof record);
            }
            if (who < writers) continue;
            while (read(fd, record, sizeof record) == sizeof record) {
                for (int at = 1; at < 16; at++)
                    CHECK_EQ(record[at], record[0]);
                __atomic_fetch_add(&sums[0], record[0], __ATOMIC_RELAXED);
                __atomic_fetch_add(&sums[1], 1, __ATOMIC_RELAXED);
            }
        }
        children[who] = child;
    }
    for (int who = 0; who < writers + readers; who++)
        CHECK_EQ(EXIT_STATUS(children[who]), 0);
    const long all = writers * records;
    CHECK_EQ(sums[1], all);
    CHECK_EQ(sums[0], all * (all - 1) / 2);
}

static void on_alarm(int number) {}

static void a_signal_ends_the_waiting(void) {
    begin();
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    for (int flags = O_RDONLY; flags <= O_WRONLY; flags++) {
        ualarm(20000, 20000); // again and again, in case that the first one comes too early
        CHECK_ERROR(open("f", flags), EINTR);
    }
    ualarm(0, 0);
    CHECK_ERROR(open("f", O_WRONLY | O_NONBLOCK), ENXIO); // who gave up is no reader
}

static void it_is_a_file_like_others(void) {
    begin();
    struct stat named, opened;
    const int fd = open("f", O_RDWR);
    CHECK(stat("f", &named) == 0 && fstat(fd, &opened) == 0);
    CHECK(S_ISFIFO(opened.st_mode) && named.st_ino == opened.st_ino);
    CHECK_ERROR(lseek(fd, 0, SEEK_SET), ESPIPE);
    CHECK_ERROR(ftruncate(fd, 0), EINVAL);
    CHECK(open("f", O_PATH) >= 0);
    CHECK(chmod("f", 0400) == 0);
    IN_CHILD(child) {
        CHECK(setresuid(1000, 1000, 1000) == 0);
        CHECK_ERROR(open("f", O_RDONLY | O_NONBLOCK), EACCES);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

TAP_MAIN(T(each_side_waits_for_the_other), T(a_partner_that_has_left_again_was_there), T(nobody_waits_who_will_not),
         T(who_opens_both_is_alone_enough), T(bytes_stay_as_long_as_anybody), T(many_writers_and_readers),
         T(a_signal_ends_the_waiting), T(it_is_a_file_like_others))
