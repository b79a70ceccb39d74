// Waiting for several files: poll, select, epoll; and the files made to be waited for: eventfd, signalfd.
#include "tests/user/tap.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>

struct two {
    int out, in;
};

static struct two make_pipe(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    return (struct two){ends[0], ends[1]};
}

static void poll_tells_what_is_ready(void) {
    struct two ends = make_pipe();
    struct pollfd both[] = {{.fd = ends.out, .events = POLLIN},
                            {.fd = ends.in, .events = POLLOUT},
                            {.fd = -5},
                            {.fd = 99, .events = POLLIN}};
    CHECK_EQ(poll(both, 1, 0), 0);
    CHECK_EQ(poll(both, 4, 0), 2);
    CHECK_EQ(both[1].revents, POLLOUT);
    CHECK_EQ(both[2].revents, 0);
    CHECK_EQ(both[3].revents, POLLNVAL);
    CHECK(write(ends.in, "x", 1) == 1);
    CHECK_EQ(poll(both, 2, -1), 2);
    CHECK_EQ(both[0].revents, POLLIN);
    CHECK(close(ends.in) == 0);
    CHECK_EQ(poll(both, 1, -1), 1);
    CHECK_EQ(both[0].revents, POLLIN | POLLHUP);
    struct two other = make_pipe();
    CHECK(close(other.out) == 0);
    struct pollfd broken = {.fd = other.in, .events = POLLOUT};
    CHECK_EQ(poll(&broken, 1, -1), 1);
    CHECK(broken.revents & POLLERR);
}

static void poll_waits(void) {
    struct two ends = make_pipe();
    struct pollfd one = {.fd = ends.out, .events = POLLIN};
    long long begun = now_ns();
    CHECK_EQ(poll(&one, 1, 30), 0);
    CHECK(now_ns() - begun >= 29000000);
    IN_CHILD(child) {
        sleep_ms(20);
        CHECK(write(ends.in, "x", 1) == 1);
    }
    CHECK_EQ(poll(&one, 1, 20000), 1);
    CHECK_EQ(one.revents, POLLIN);
    CHECK_EQ(EXIT_STATUS(child), 0);
    begun = now_ns();
    CHECK_EQ(poll(NULL, 0, 20), 0);
    CHECK(now_ns() - begun >= 19000000);
    CHECK_ERROR(syscall(SYS_poll, 8, 1, 0), EFAULT);
    CHECK_ERROR(syscall(SYS_poll, &one, 0x7fffffff, 0), EINVAL);
}

static void poll_waits_for_room(void) {
    struct two ends = make_pipe();
    char block[4096] = {0};
    CHECK(fcntl(ends.in, F_SETFL, O_NONBLOCK) == 0);
    while (write(ends.in, block, sizeof block) > 0)
        ;
    struct pollfd one = {.fd = ends.in, .events = POLLOUT};
    CHECK_EQ(poll(&one, 1, 0), 0);
    IN_CHILD(child) {
        sleep_ms(20);
        for (int turn = 0; turn < 8; turn++)
            CHECK(read(ends.out, block, sizeof block) == sizeof block);
    }
    CHECK_EQ(poll(&one, 1, 20000), 1);
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(write(ends.in, block, sizeof block) > 0);
}

static void select_tells_the_same(void) {
    struct two ends = make_pipe();
    fd_set readable, writable;
    struct timeval soon = {0, 20000};
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(ends.out, &readable);
    CHECK_EQ(select(ends.in + 1, &readable, NULL, NULL, &soon), 0);
    CHECK(!FD_ISSET(ends.out, &readable));
    FD_SET(ends.out, &readable);
    FD_SET(ends.in, &writable);
    CHECK_EQ(select(ends.in + 1, &readable, &writable, NULL, NULL), 1);
    CHECK(!FD_ISSET(ends.out, &readable) && FD_ISSET(ends.in, &writable));
    CHECK(write(ends.in, "x", 1) == 1);
    FD_SET(ends.out, &readable);
    CHECK_EQ(select(ends.in + 1, &readable, &writable, NULL, NULL), 2);
    FD_ZERO(&readable);
    FD_SET(40, &readable); // Linux does not look at numbers that its table has no room for
    CHECK_ERROR(select(41, &readable, NULL, NULL, NULL), EBADF);
    CHECK_ERROR(select(-1, &readable, NULL, NULL, NULL), EINVAL);
    CHECK_ERROR(syscall(SYS_select, 10, 8, 0, 0, 0), EFAULT);
}

static volatile int seen;
static void count(int number) {
    seen++;
}

static void ppoll_swaps_the_mask(void) {
    struct two ends = make_pipe();
    struct pollfd one = {.fd = ends.out, .events = POLLIN};
    const struct sigaction action = {.sa_handler = count};
    const struct timespec long_time = {.tv_sec = 20};
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
    raise(SIGUSR1);
    CHECK_EQ(poll(&one, 1, 5), 0);
    CHECK_ERROR(ppoll(&one, 1, &long_time, &none), EINTR);
    CHECK_EQ(seen, 1);
    raise(SIGUSR1);
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(ends.out, &readable);
    CHECK_ERROR(pselect(ends.out + 1, &readable, NULL, NULL, &long_time, &none), EINTR);
    CHECK_EQ(seen, 2);
}

static int epoll_wait_one(int set, int timeout, uint64_t* data) {
    struct epoll_event event;
    const int ready = epoll_wait(set, &event, 1, timeout);
    CHECK(ready >= 0);
    *data = ready ? event.data.u64 : 0;
    return ready ? (int)event.events : 0;
}

static void level_triggered(void) {
    struct two ends = make_pipe();
    const int set = epoll_create1(EPOLL_CLOEXEC);
    uint64_t data;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0};
    CHECK(set >= 0);
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends.out, &event) == 0);
    CHECK_ERROR(epoll_ctl(set, EPOLL_CTL_ADD, ends.out, &event), EEXIST);
    CHECK_EQ(epoll_wait_one(set, 0, &data), 0);
    CHECK(write(ends.in, "xy", 2) == 2);
    for (int turn = 0; turn < 3; turn++) {
        CHECK_EQ(epoll_wait_one(set, -1, &data), EPOLLIN);
        CHECK_EQ(data, 0x123456789abcdef0);
    }
    char byte;
    CHECK(read(ends.out, &byte, 1) == 1);
    CHECK_EQ(epoll_wait_one(set, 0, &data), EPOLLIN);
    CHECK(read(ends.out, &byte, 1) == 1);
    CHECK_EQ(epoll_wait_one(set, 0, &data), 0);
    event.data.u64 = 2;
    event.events = EPOLLIN;
    CHECK(epoll_ctl(set, EPOLL_CTL_MOD, ends.out, &event) == 0);
    CHECK(close(ends.in) == 0);
    CHECK(epoll_wait_one(set, -1, &data) & EPOLLHUP);
    CHECK_EQ(data, 2);
    CHECK(epoll_ctl(set, EPOLL_CTL_DEL, ends.out, NULL) == 0);
    CHECK_ERROR(epoll_ctl(set, EPOLL_CTL_DEL, ends.out, NULL), ENOENT);
    CHECK_ERROR(epoll_ctl(set, EPOLL_CTL_MOD, ends.out, &event), ENOENT);
    CHECK_EQ(epoll_wait_one(set, 0, &data), 0);
}

static void edge_triggered(void) {
    struct two ends = make_pipe();
    const int set = epoll_create1(0);
    uint64_t data;
    char byte;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 1};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends.out, &event) == 0);
    CHECK(write(ends.in, "x", 1) == 1);
    CHECK_EQ(epoll_wait_one(set, -1, &data), EPOLLIN);
    CHECK_EQ(epoll_wait_one(set, 0, &data), 0); // nothing new
    CHECK(write(ends.in, "y", 1) == 1);
    CHECK_EQ(epoll_wait_one(set, -1, &data), EPOLLIN);
    CHECK(read(ends.out, &byte, 1) == 1);
    CHECK_EQ(epoll_wait_one(set, 0, &data), 0);
}

static void one_shot(void) {
    struct two ends = make_pipe();
    const int set = epoll_create1(0);
    uint64_t data;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 1};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends.out, &event) == 0);
    CHECK(write(ends.in, "x", 1) == 1);
    CHECK_EQ(epoll_wait_one(set, -1, &data), EPOLLIN);
    CHECK(write(ends.in, "x", 1) == 1);
    CHECK_EQ(epoll_wait_one(set, 0, &data), 0);
    CHECK(epoll_ctl(set, EPOLL_CTL_MOD, ends.out, &event) == 0);
    CHECK_EQ(epoll_wait_one(set, 0, &data), EPOLLIN);
}

static void epoll_forgets_closed_files(void) {
    struct two ends = make_pipe();
    const int set = epoll_create1(0);
    uint64_t data;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends.out, &event) == 0);
    CHECK(write(ends.in, "x", 1) == 1);
    CHECK(close(ends.out) == 0);
    CHECK_EQ(epoll_wait_one(set, 0, &data), 0);
    CHECK(close(set) == 0);
}

static void epoll_of_many(void) {
    enum { count_of_pipes = 100 };
    struct two ends[count_of_pipes];
    struct epoll_event ready[count_of_pipes];
    const int set = epoll_create1(0);
    for (int at = 0; at < count_of_pipes; at++) {
        ends[at] = make_pipe();
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = at};
        CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends[at].out, &event) == 0);
    }
    for (int at = 0; at < count_of_pipes; at += 3)
        CHECK(write(ends[at].in, "x", 1) == 1);
    CHECK_EQ(epoll_wait(set, ready, count_of_pipes, -1), 34);
    for (int at = 0; at < 34; at++)
        CHECK_EQ(ready[at].data.u64 % 3, 0);
    // With room for few, all get their turn.
    char told[count_of_pipes] = {0};
    for (int turn = 0; turn < 20; turn++) {
        CHECK_EQ(epoll_wait(set, ready, 5, -1), 5);
        for (int at = 0; at < 5; at++)
            told[ready[at].data.u64] = 1;
    }
    for (int at = 0; at < count_of_pipes; at += 3)
        CHECK(told[at]);
}

static void epoll_in_epoll(void) {
    struct two ends = make_pipe();
    const int inner = epoll_create1(0), outer = epoll_create1(0);
    uint64_t data;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7};
    CHECK(epoll_ctl(inner, EPOLL_CTL_ADD, ends.out, &event) == 0);
    CHECK(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event) == 0);
    CHECK_EQ(epoll_wait_one(outer, 0, &data), 0);
    CHECK(write(ends.in, "x", 1) == 1);
    CHECK_EQ(epoll_wait_one(outer, -1, &data), EPOLLIN);
    CHECK_ERROR(epoll_ctl(inner, EPOLL_CTL_ADD, inner, &event), EINVAL);
    CHECK_ERROR(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &event), ELOOP);
}

static void bad_epoll_calls(void) {
    struct epoll_event event = {.events = EPOLLIN};
    const int set = epoll_create1(0);
    struct two ends = make_pipe();
    CHECK_ERROR(epoll_create1(0x77), EINVAL);
    CHECK_ERROR(syscall(SYS_epoll_create, 0), EINVAL);
    CHECK_ERROR(epoll_ctl(set, 9, ends.out, &event), EINVAL);
    CHECK_ERROR(epoll_ctl(set, EPOLL_CTL_ADD, 99, &event), EBADF);
    CHECK_ERROR(epoll_ctl(99, EPOLL_CTL_ADD, 0, &event), EBADF);
    CHECK_ERROR(syscall(SYS_epoll_ctl, set, EPOLL_CTL_ADD, 0, 8), EFAULT);
    CHECK_ERROR(epoll_wait(set, &event, 0, 0), EINVAL);
    CHECK_ERROR(epoll_wait(ends.out, &event, 1, 0), EINVAL);
    char byte;
    CHECK_ERROR(read(set, &byte, 1), EINVAL);
}

static void events_are_counted(void) {
    const int file = eventfd(3, EFD_NONBLOCK);
    uint64_t value = 0;
    CHECK(file >= 0);
    CHECK_EQ(read(file, &value, 8), 8);
    CHECK_EQ(value, 3);
    CHECK_ERROR(read(file, &value, 8), EAGAIN);
    value = 5;
    CHECK_EQ(write(file, &value, 8), 8);
    CHECK_EQ(write(file, &value, 8), 8);
    CHECK_EQ(read(file, &value, 8), 8);
    CHECK_EQ(value, 10);
    value = -1;
    CHECK_ERROR(write(file, &value, 8), EINVAL);
    value = -2;
    CHECK_EQ(write(file, &value, 8), 8);
    value = 1;
    CHECK_ERROR(write(file, &value, 8), EAGAIN);
    CHECK_ERROR(write(file, &value, 4), EINVAL);
    CHECK_ERROR(read(file, &value, 4), EINVAL);
    CHECK_ERROR(eventfd(0, 0x77), EINVAL);
}

static void event_semaphores(void) {
    const int file = eventfd(2, EFD_SEMAPHORE);
    uint64_t value = 0;
    struct pollfd one = {.fd = file, .events = POLLIN | POLLOUT};
    for (int turn = 0; turn < 2; turn++) {
        CHECK_EQ(poll(&one, 1, 0), 1);
        CHECK_EQ(one.revents, POLLIN | POLLOUT);
        CHECK_EQ(read(file, &value, 8), 8);
        CHECK_EQ(value, 1);
    }
    CHECK_EQ(poll(&one, 1, 0), 1);
    CHECK_EQ(one.revents, POLLOUT);
    IN_CHILD(child) {
        uint64_t one_more = 1;
        sleep_ms(10);
        CHECK_EQ(write(file, &one_more, 8), 8);
    }
    CHECK_EQ(read(file, &value, 8), 8); // sleeps
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void signals_are_read(void) {
    sigset_t set;
    struct signalfd_siginfo info[3];
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    const int file = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK(file >= 0);
    CHECK_ERROR(read(file, info, sizeof info), EAGAIN);
    CHECK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 44}) == 0);
    struct pollfd one = {.fd = file, .events = POLLIN};
    CHECK_EQ(poll(&one, 1, -1), 1);
    CHECK_EQ(read(file, info, sizeof info), sizeof info[0]);
    CHECK_EQ(info[0].ssi_signo, SIGUSR1);
    CHECK_EQ(info[0].ssi_int, 44);
    CHECK_EQ(info[0].ssi_pid, getpid());
    IN_CHILD(child) _exit(3);
    CHECK_EQ(poll(&one, 1, 20000), 1);
    CHECK_EQ(read(file, info, sizeof info), sizeof info[0]);
    CHECK_EQ(info[0].ssi_signo, SIGCHLD);
    CHECK_EQ(info[0].ssi_status, 3);
    CHECK_EQ(EXIT_STATUS(child), 3);
    CHECK_ERROR(read(file, info, 8), EINVAL);
}

static int set_of_threads, counter_of_threads;
static volatile int woken;

static void* wait_in_epoll(void* nothing) {
    uint64_t data, value;
    while (woken < 200)
        if (epoll_wait_one(set_of_threads, 50, &data) && read(counter_of_threads, &value, 8) == 8)
            __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void threads_share_an_epoll(void) {
    pthread_t threads[4];
    const uint64_t one = 1;
    struct epoll_event event = {.events = EPOLLIN};
    set_of_threads = epoll_create1(0);
    counter_of_threads = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK);
    CHECK(epoll_ctl(set_of_threads, EPOLL_CTL_ADD, counter_of_threads, &event) == 0);
    for (int at = 0; at < 4; at++)
        CHECK_EQ(pthread_create(&threads[at], NULL, wait_in_epoll, NULL), 0);
    for (int turn = 0; turn < 200; turn++)
        CHECK_EQ(write(counter_of_threads, &one, 8), 8);
    for (int at = 0; at < 4; at++)
        CHECK_EQ(pthread_join(threads[at], NULL), 0);
    CHECK_EQ(woken, 200);
}

TAP_MAIN(T(poll_tells_what_is_ready), T(poll_waits), T(poll_waits_for_room), T(select_tells_the_same),
         T(ppoll_swaps_the_mask), T(level_triggered), T(edge_triggered), T(one_shot), T(epoll_forgets_closed_files),
         T(epoll_of_many), T(epoll_in_epoll), T(bad_epoll_calls), T(events_are_counted), T(event_semaphores),
         T(signals_are_read), T(threads_share_an_epoll))
