// Limits are kept, and reaching one hurts nobody but who reached it.
#include "tests/user/tap.h"

#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>

static void become_nobody(void) {
    CHECK(setgid(54321) == 0 && setuid(54321) == 0);
}

static void limits_are_told_and_set(void) {
    struct rlimit was, now;
    CHECK(getrlimit(RLIMIT_NOFILE, &was) == 0);
    CHECK(was.rlim_cur >= 64 && was.rlim_cur <= was.rlim_max);
    now = (struct rlimit){was.rlim_cur / 2, was.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
    struct rlimit again;
    CHECK(prlimit(0, RLIMIT_NOFILE, NULL, &again) == 0);
    CHECK_EQ(again.rlim_cur, was.rlim_cur / 2);
    now.rlim_cur = now.rlim_max + 1;
    if (now.rlim_cur) CHECK_ERROR(setrlimit(RLIMIT_NOFILE, &now), EINVAL);
    CHECK_ERROR(syscall(SYS_getrlimit, 99, &now), EINVAL);
    CHECK(getrlimit(RLIMIT_STACK, &now) == 0);
    CHECK(now.rlim_cur >= (1 << 20));
    IN_CHILD(child) {
        CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
        CHECK_EQ(now.rlim_cur, was.rlim_cur / 2);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void hard_limits_can_only_fall(void) {
    if (geteuid() != 0) tap_skip("not the superuser");
    IN_CHILD(child) {
        struct rlimit limit = {100, 100};
        become_nobody();
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_max = 101;
        CHECK_ERROR(setrlimit(RLIMIT_NOFILE, &limit), EPERM);
        limit = (struct rlimit){50, 100};
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_cur = 100;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void open_files_are_limited(void) {
    const struct rlimit limit = {20, 20};
    int opened = 0, ends[2];
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (dup(0) >= 0)
        CHECK(opened++ < 30);
    CHECK_EQ(errno, EMFILE);
    CHECK(opened >= 5);
    CHECK_ERROR(pipe(ends), EMFILE);
    CHECK_ERROR(dup2(0, 20), EBADF);
    CHECK_ERROR(fcntl(0, F_DUPFD, 20), EINVAL);
    CHECK(close(19) == 0);
    CHECK_ERROR(pipe(ends), EMFILE); // wants two, and leaves the one
    CHECK_EQ(dup(0), 19);
    struct pollfd many[32] = {{0}};
    CHECK_ERROR(poll(many, 32, 0), EINVAL); // more than files may be open
}

static void a_fork_bomb_is_contained(void) {
    if (geteuid() != 0) tap_skip("not the superuser");
    volatile int* forks = shared(page);
    const long long begun = now_ns();
    IN_CHILD(bomb) {
        const struct rlimit limit = {30, 30};
        become_nobody();
        CHECK(setpgid(0, 0) == 0);
        CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
        while (now_ns() - begun < 1000000000 || __atomic_load_n(forks, __ATOMIC_SEQ_CST) < 20) {
            pid_t child = fork();
            if (child >= 0)
                __atomic_add_fetch(forks, 1, __ATOMIC_SEQ_CST);
            else
                CHECK(errno == EAGAIN || errno == ENOMEM);
            while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        }
    }
    // Others can still make processes.
    for (int turn = 0; turn < 10; turn++) {
        IN_CHILD(child) _exit(turn);
        CHECK_EQ(EXIT_STATUS(child), turn);
        sleep_ms(20);
    }
    CHECK_EQ(EXIT_STATUS(bomb), 0);
    CHECK(*forks >= 20);
    note("%d processes at most 30 at a time", *forks);
    // The rest end by themselves; then the user can fork again.
    for (int turn = 0; turn < 200; turn++) {
        IN_CHILD(again) {
            const struct rlimit limit = {30, 30};
            become_nobody();
            CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
            IN_CHILD(inner) _exit(0);
            CHECK_EQ(EXIT_STATUS(inner), 0);
        }
        int status;
        CHECK_EQ(waitpid(again, &status, 0), again);
        if (status == 0) return;
        sleep_ms(50);
    }
    CHECK(0);
}

static void a_killed_bomb_is_gone(void) {
    if (geteuid() != 0) tap_skip("not the superuser");
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    volatile int* forks = shared(page);
    IN_CHILD(bomb) {
        const struct rlimit limit = {40, 40};
        become_nobody();
        CHECK(setpgid(0, 0) == 0);
        CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
        for (;;)
            if (fork() > 0) __atomic_add_fetch(forks, 1, __ATOMIC_SEQ_CST);
    }
    while (*forks < 20)
        sleep_ms(10);
    sleep_ms(200);
    // All of the group, until none is left: they fork on while they are being killed.
    while (kill(-bomb, SIGKILL) == 0) {
        while (waitpid(-bomb, NULL, WNOHANG) > 0)
            ;
        sleep_ms(2);
    }
    CHECK_ERROR(kill(-bomb, 0), ESRCH);
}

static void address_space_is_limited(void) {
    const struct rlimit limit = {64 << 20, 64 << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK_ERROR((intptr_t)mmap(NULL, 100 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    char* half = mmap(NULL, 40 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(half != MAP_FAILED);
    CHECK_ERROR((intptr_t)mmap(NULL, 40 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK_ERROR((intptr_t)mremap(half, 40 << 20, 80 << 20, MREMAP_MAYMOVE), ENOMEM);
    CHECK(munmap(half, 40 << 20) == 0);
    CHECK(mmap(NULL, 40 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    IN_CHILD(child) CHECK_ERROR((intptr_t)mmap(NULL, 40 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void data_is_limited(void) {
    const struct rlimit limit = {8 << 20, 8 << 20};
    CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    char* now = (char*)syscall(SYS_brk, 0);
    CHECK((char*)syscall(SYS_brk, now + (16 << 20)) == now);
    CHECK_ERROR((intptr_t)mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK(mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static void locked_memory_is_limited(void) {
    if (geteuid() != 0) tap_skip("not the superuser");
    IN_CHILD(child) {
        const struct rlimit limit = {64 << 10, 64 << 10};
        char* memory = anonymous(1 << 20);
        CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
        become_nobody();
        CHECK(mlock(memory, 32 << 10) == 0);
        CHECK_ERROR(mlock(memory, 1 << 20), ENOMEM);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static long long work_ms(void) {
    struct timespec t;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static volatile struct {
    long long at[4];
    int count;
} * xcpu;

static void note_work(int number) {
    if (xcpu->count < 4) xcpu->at[xcpu->count] = work_ms();
    xcpu->count++;
}

static void* work_for_ever(void* unused) {
    while (work_ms() >= 0)
        ;
    return NULL;
}

static void a_signal_comes_each_second_of_work_and_then_the_end(void) {
    xcpu = shared(page);
    IN_CHILD(child) {
        const struct rlimit limit = {1, 3};
        pthread_t other;
        signal(SIGXCPU, note_work);
        CHECK(setrlimit(RLIMIT_CPU, &limit) == 0);
        sleep_ms(20); // is no work
        CHECK_EQ(pthread_create(&other, NULL, work_for_ever, NULL), 0);
        work_for_ever(NULL);
    }
    CHECK_EQ(KILLED_BY(child), SIGKILL);
    note("signals after %lld and %lld ms", xcpu->at[0], xcpu->at[1]);
    // A machine that an emulator stops for a while has worked meanwhile, as it sees it: one may be left out.
    CHECK(xcpu->count >= 1 && xcpu->count <= 2);
    // What the other thread has done since it last had to wait is not in what this one reads: half of it, at most.
    for (int at = 0; at < xcpu->count; at++)
        CHECK(xcpu->at[at] >= (at + 1) * 500);
}

enum { killed_early = 3 };

static void limits_of_work_are_set_from_outside_too(void) {
    IN_CHILD(ignoring) {
        signal(SIGXCPU, SIG_IGN);
        work_for_ever(NULL);
    }
    IN_CHILD(plain) work_for_ever(NULL);
    sleep_ms(20);
    struct rlimit limit = {0, 1};
    CHECK(prlimit(ignoring, RLIMIT_CPU, &limit, NULL) == 0);
    CHECK_EQ(KILLED_BY(ignoring), SIGKILL);
    limit = (struct rlimit){0, RLIM_INFINITY};
    CHECK(prlimit(plain, RLIMIT_CPU, &limit, NULL) == 0);
    CHECK_EQ(KILLED_BY(plain), SIGXCPU);
}

// Works for 400 ms, and a child of its own for 800: together it is more than each may.
static void work_with_a_child(void) {
    struct rlimit limit = {1, 1};
    CHECK(setrlimit(RLIMIT_CPU, &limit) == 0);
    while (work_ms() < 400)
        ;
    IN_CHILD(worker) {
        CHECK(getrlimit(RLIMIT_CPU, &limit) == 0 && limit.rlim_cur == 1 && limit.rlim_max == 1);
        while (work_ms() < 800)
            ;
    }
    int status;
    CHECK_EQ(waitpid(worker, &status, 0), worker);
    if (WIFSIGNALED(status)) _exit(killed_early);
    CHECK_EQ(status, 0);
}

static void children_begin_with_the_limit_and_no_work_done(void) {
    // Whom an emulator stops for a while has worked meanwhile, as it sees it; it does not do so each time.
    int raw = -1;
    for (int turn = 0; turn < 10 && raw != 0; turn++) {
        IN_CHILD(parent) work_with_a_child();
        CHECK_EQ(waitpid(parent, &raw, 0), parent);
        CHECK(raw == 0 || WIFSIGNALED(raw) || WEXITSTATUS(raw) == killed_early);
    }
    CHECK_EQ(raw, 0);
    const struct rlimit limit = {1, 1};
    CHECK(setrlimit(RLIMIT_CPU, &limit) == 0);
    IN_CHILD(child) {
        execl("/bin/busybox", "sh", "-c", "while :; do :; done", (char*)NULL);
        _exit(127);
    }
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

TAP_MAIN(T(limits_are_told_and_set), T(hard_limits_can_only_fall), T(open_files_are_limited),
         T(a_fork_bomb_is_contained), T(a_killed_bomb_is_gone), T(address_space_is_limited), T(data_is_limited),
         T(locked_memory_is_limited), T(a_signal_comes_each_second_of_work_and_then_the_end),
         T(limits_of_work_are_set_from_outside_too), T(children_begin_with_the_limit_and_no_work_done))
