// Clocks and timers.
#include "tests/user/tap.h"

#include <poll.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>

static volatile int seen, overruns;

static void count(int number, siginfo_t* info, void* context) {
    overruns += info->si_overrun;
    seen++;
}

static void handle(int number) {
    struct sigaction action = {.sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(number, &action, NULL) == 0);
}

static void monotonic_time_never_goes_back(void) {
    long long was = now_ns();
    for (int turn = 0; turn < 100000; turn++) {
        const long long now = now_ns();
        CHECK(now >= was);
        was = now;
    }
}

static void time_is_the_same_in_all_processes(void) {
    // What one has read cannot be later than what another reads afterwards, whatever CPUs they run on.
    volatile long long* latest = shared(page);
    pid_t children[4];
    for (int at = 0; at < 4; at++) {
        IN_CHILD(child) {
            for (int turn = 0; turn < 20000; turn++) {
                const long long other = __atomic_load_n(latest, __ATOMIC_SEQ_CST), mine = now_ns();
                CHECK(mine >= other);
                __atomic_store_n(latest, mine, __ATOMIC_SEQ_CST);
            }
        }
        children[at] = child;
    }
    for (int at = 0; at < 4; at++)
        CHECK_EQ(EXIT_STATUS(children[at]), 0);
}

static void clocks_tell_the_same_as_the_call(void) {
    // libc reads the clocks through the vDSO if there is one.
    static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC,       CLOCK_MONOTONIC_RAW,
                                 CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE};
    note("vDSO: %s", getauxval(AT_SYSINFO_EHDR) ? "yes" : "no");
    for (unsigned at = 0; at < sizeof clocks / sizeof clocks[0]; at++) {
        struct timespec library, call, resolution;
        CHECK(syscall(SYS_clock_gettime, clocks[at], &call) == 0);
        CHECK(clock_gettime(clocks[at], &library) == 0);
        const long long ahead = (library.tv_sec - call.tv_sec) * 1000000000LL + library.tv_nsec - call.tv_nsec;
        CHECK(ahead >= 0 && ahead < 5000000000LL);
        CHECK(library.tv_nsec >= 0 && library.tv_nsec < 1000000000);
        CHECK(clock_getres(clocks[at], &resolution) == 0);
        CHECK(resolution.tv_sec == 0 && resolution.tv_nsec > 0);
    }
    struct timespec now;
    struct timeval day;
    CHECK_ERROR(syscall(SYS_clock_gettime, 99, &now), EINVAL);
    CHECK_ERROR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
    CHECK(gettimeofday(&day, NULL) == 0 && clock_gettime(CLOCK_REALTIME, &now) == 0);
    CHECK(labs(now.tv_sec - day.tv_sec) <= 1 && labs(now.tv_sec - time(NULL)) <= 1);
}

static void cpu_time_is_counted(void) {
    struct timespec before, after, asleep;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before) == 0);
    const long long begun = now_ns();
    while (now_ns() - begun < 50000000)
        ;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after) == 0);
    const long long worked = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
    CHECK(worked > 1000000);
    // The best of several: whom an emulator stops on the way to its sleep has worked meanwhile, as it sees it.
    long long rested = 50000000;
    for (int turn = 0; turn < 10 && rested >= 40000000; turn++) {
        CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after) == 0);
        sleep_ms(50);
        CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &asleep) == 0);
        rested = (asleep.tv_sec - after.tv_sec) * 1000000000LL + asleep.tv_nsec - after.tv_nsec;
    }
    CHECK(rested < 40000000);
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after) == 0);
    struct tms spent;
    CHECK(times(&spent) != (clock_t)-1);
}

static void sleep_takes_its_time(void) {
    for (int ms = 1; ms <= 50; ms *= 7) {
        const long long begun = now_ns();
        const struct timespec wished = {.tv_nsec = ms * 1000000};
        CHECK(nanosleep(&wished, NULL) == 0);
        const long long slept = now_ns() - begun;
        CHECK(slept >= ms * 1000000LL);
        CHECK(slept < 5000000000LL);
    }
    const struct timespec bad = {.tv_nsec = 1000000000}, negative = {.tv_sec = -1};
    CHECK_ERROR(nanosleep(&bad, NULL), EINVAL);
    CHECK_ERROR(nanosleep(&negative, NULL), EINVAL);
    CHECK_ERROR(syscall(SYS_nanosleep, 8, NULL), EFAULT);
}

static void sleep_until_a_time(void) {
    struct timespec until;
    const long long begun = now_ns();
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0); // past already
    until.tv_nsec += 30000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0);
    CHECK(now_ns() - begun >= 30000000);
    CHECK_EQ(clock_nanosleep(99, 0, &until, NULL), EINVAL);
}

static void of_many_sleepers_none_is_early(void) {
    pid_t children[20];
    for (int at = 0; at < 20; at++) {
        IN_CHILD(child) {
            for (int turn = 1; turn <= 5; turn++) {
                const int us = 1000 + (at * 7919 + turn * 104729) % 30000;
                const struct timespec wished = {.tv_nsec = us * 1000};
                const long long begun = now_ns();
                CHECK(nanosleep(&wished, NULL) == 0);
                CHECK(now_ns() - begun >= us * 1000LL);
            }
        }
        children[at] = child;
    }
    for (int at = 0; at < 20; at++)
        CHECK_EQ(EXIT_STATUS(children[at]), 0);
}

static void interval_timers_tick(void) {
    const struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    struct itimerval now;
    handle(SIGALRM);
    const long long begun = now_ns();
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    while (seen < 5)
        pause();
    CHECK(now_ns() - begun >= 24000000);
    CHECK(getitimer(ITIMER_REAL, &now) == 0);
    CHECK(now.it_interval.tv_usec == 5000 && now.it_value.tv_sec == 0);
    CHECK(setitimer(ITIMER_REAL, &never, &now) == 0);
    const int was = seen;
    sleep_ms(20);
    CHECK(seen <= was + 1);
    CHECK_ERROR(setitimer(9, &never, NULL), EINVAL);
}

static void alarms_kill_by_default(void) {
    IN_CHILD(child) {
        CHECK_EQ(alarm(1), 0);
        CHECK_EQ(alarm(1), 1);
        pause();
    }
    CHECK_EQ(KILLED_BY(child), SIGALRM);
}

static void profiling_timers_count_work_only(void) {
    const struct itimerval soon = {{0, 0}, {0, 20000}};
    handle(SIGVTALRM);
    handle(SIGPROF);
    // The best of several: whom an emulator stops on the way to its sleep has worked meanwhile, as it sees it.
    for (int turn = 0; turn < 10 && (turn == 0 || seen); turn++) {
        seen = 0;
        CHECK(setitimer(ITIMER_VIRTUAL, &soon, NULL) == 0);
        sleep_ms(60);
    }
    CHECK_EQ(seen, 0);
    const long long begun = now_ns();
    while (!seen)
        CHECK(now_ns() - begun < 60000000000LL);
    CHECK(setitimer(ITIMER_PROF, &soon, NULL) == 0);
    while (seen < 2)
        CHECK(now_ns() - begun < 60000000000LL);
}

static long long work_ns(void) {
    struct timespec t;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void work_before_a_timer_was_set_does_not_count(void) {
    const struct itimerval soon = {{0, 0}, {0, 150000}}, never = {{0, 0}, {0, 0}};
    handle(SIGPROF);
    for (int turn = 0; turn < 2; turn++) {
        const long long begun = work_ns();
        while (work_ns() - begun < 200000000)
            ;
        const long long set = work_ns();
        CHECK(setitimer(ITIMER_PROF, &soon, NULL) == 0);
        while (seen == turn)
            ;
        CHECK(work_ns() - set >= 140000000);
        CHECK(setitimer(ITIMER_PROF, &never, NULL) == 0);
    }
}

static void posix_timers(void) {
    timer_t timer;
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec often = {{0, 5000000}, {0, 5000000}}, never = {{0, 0}, {0, 0}};
    struct itimerspec now;
    handle(SIGUSR1);
    CHECK(timer_create(CLOCK_MONOTONIC, &how, &timer) == 0);
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);
    while (seen < 4)
        pause();
    CHECK(timer_gettime(timer, &now) == 0);
    CHECK(now.it_interval.tv_nsec == 5000000 && now.it_value.tv_nsec <= 5000000);
    CHECK(timer_settime(timer, 0, &never, NULL) == 0);
    CHECK(timer_getoverrun(timer) >= 0);
    CHECK(timer_delete(timer) == 0);
    CHECK_ERROR(syscall(SYS_timer_delete, timer), EINVAL);
    CHECK_ERROR(timer_create(99, &how, &timer), EINVAL);
}

static void overruns_are_counted(void) {
    timer_t timer;
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    sigset_t set;
    handle(SIGUSR1);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &how, &timer) == 0);
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);
    sleep_ms(50);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(seen >= 1);
    CHECK(overruns >= 20);
    CHECK(timer_delete(timer) == 0);
}

static void timer_files(void) {
    const int file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    const struct itimerspec often = {{0, 5000000}, {0, 5000000}};
    struct itimerspec now;
    uint64_t ticks = 0;
    CHECK(file >= 0);
    CHECK_ERROR(read(file, &ticks, 8), EAGAIN);
    CHECK(timerfd_settime(file, 0, &often, NULL) == 0);
    struct pollfd waiting = {.fd = file, .events = POLLIN};
    CHECK_EQ(poll(&waiting, 1, 5000), 1);
    sleep_ms(20);
    CHECK_EQ(read(file, &ticks, 8), 8);
    CHECK(ticks >= 3);
    CHECK_ERROR(read(file, &ticks, 7), EINVAL);
    CHECK(timerfd_gettime(file, &now) == 0);
    CHECK_EQ(now.it_interval.tv_nsec, 5000000);
    CHECK(fcntl(file, F_SETFL, 0) == 0);
    CHECK_EQ(read(file, &ticks, 8), 8); // waits
    CHECK(close(file) == 0);
    CHECK_ERROR(timerfd_create(99, 0), EINVAL);
    CHECK_ERROR(timerfd_create(CLOCK_MONOTONIC, 77), EINVAL);
}

static void timers_are_not_inherited(void) {
    const struct itimerval soon = {{0, 0}, {0, 30000}};
    handle(SIGALRM);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    IN_CHILD(child) {
        struct itimerval now;
        const int was = seen;
        CHECK(getitimer(ITIMER_REAL, &now) == 0);
        CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_usec == 0);
        sleep_ms(60);
        CHECK_EQ(seen, was);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    CHECK_EQ(status, 0);
    CHECK_EQ(seen, 1);
}

TAP_MAIN(T(monotonic_time_never_goes_back), T(time_is_the_same_in_all_processes), T(clocks_tell_the_same_as_the_call),
         T(cpu_time_is_counted), T(sleep_takes_its_time), T(sleep_until_a_time), T(of_many_sleepers_none_is_early),
         T(interval_timers_tick), T(alarms_kill_by_default), T(profiling_timers_count_work_only),
         T(work_before_a_timer_was_set_does_not_count), T(posix_timers), T(overruns_are_counted), T(timer_files),
         T(timers_are_not_inherited))
