// Threads of one process, by musl's pthreads: clone, futexes, thread-local data, exit and cancellation.
#include "tests/user/tap.h"

#include <pthread.h>

enum { many = 32 };

// linux/futex.h is the kernel's, and musl comes without it.
enum {
    FUTEX_WAIT = 0,
    FUTEX_WAKE = 1,
    FUTEX_REQUEUE = 3,
    FUTEX_CMP_REQUEUE = 4,
    FUTEX_WAIT_BITSET = 9,
    FUTEX_WAKE_BITSET = 10,
    FUTEX_PRIVATE = 128,
};

static pthread_t started[many];
static int sum;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static _Thread_local long own = 5;

static void start_all(void* (*run)(void*)) {
    for (long at = 0; at < many; at++)
        CHECK_EQ(pthread_create(&started[at], NULL, run, (void*)at), 0);
}

static void join_all(void) {
    for (long at = 0; at < many; at++) {
        void* result = NULL;
        CHECK_EQ(pthread_join(started[at], &result), 0);
        CHECK_EQ((long)result, at * 3);
    }
}

static void* return_number(void* number) {
    return (void*)((long)number * 3);
}

static void threads_run_and_end(void) {
    for (int turn = 0; turn < 10; turn++) {
        start_all(return_number);
        join_all();
    }
}

static void* count_under_lock(void* number) {
    for (int turn = 0; turn < 1000; turn++) {
        pthread_mutex_lock(&lock);
        sum++;
        pthread_mutex_unlock(&lock);
    }
    return return_number(number);
}

static void a_mutex_excludes(void) {
    start_all(count_under_lock);
    join_all();
    CHECK_EQ(sum, many * 1000);
}

static void* take_turns(void* number) {
    for (int turn = 0; turn < 20; turn++) {
        pthread_mutex_lock(&lock);
        while (sum % many != (long)number)
            pthread_cond_wait(&changed, &lock);
        sum++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return return_number(number);
}

static void condition_variables_wake_all(void) {
    start_all(take_turns);
    join_all();
    CHECK_EQ(sum, many * 20);
}

static pthread_barrier_t barrier;
static int reached[many];

static void* meet(void* number) {
    for (int turn = 1; turn <= 30; turn++) {
        reached[(long)number] = turn;
        pthread_barrier_wait(&barrier);
        for (int at = 0; at < many; at++)
            if (reached[at] != turn) tap_fail(__FILE__, __LINE__, "all have reached the barrier");
        pthread_barrier_wait(&barrier);
    }
    return return_number(number);
}

static void barriers_hold_until_all_are_there(void) {
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, many), 0);
    start_all(meet);
    join_all();
}

static void* change_own(void* number) {
    CHECK_EQ(own, 5);
    own = (long)number;
    for (int turn = 0; turn < 50; turn++) {
        sched_yield();
        CHECK_EQ(own, (long)number);
    }
    return return_number(number);
}

static void thread_local_data_is_own(void) {
    start_all(change_own);
    join_all();
    CHECK_EQ(own, 5);
}

static void* sleep_for_ever(void* nothing) {
    while (nothing != &lock)
        pause();
    return NULL;
}

static void the_exit_of_one_ends_all(void) {
    IN_CHILD(child) {
        start_all(sleep_for_ever);
        sleep_ms(5);
        _exit(12);
    }
    CHECK_EQ(EXIT_STATUS(child), 12);
    IN_CHILD(killed) {
        start_all(sleep_for_ever);
        sleep_ms(1000000);
    }
    sleep_ms(20);
    CHECK(kill(killed, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(killed), SIGKILL);
}

static void* spin(void* nothing) {
    while (nothing != &lock)
        __atomic_add_fetch(&sum, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void exit_stops_those_who_compute(void) {
    IN_CHILD(child) {
        pthread_t other;
        for (int at = 0; at < 4; at++)
            CHECK_EQ(pthread_create(&other, NULL, spin, NULL), 0);
        sleep_ms(20);
        _exit(13);
    }
    CHECK_EQ(EXIT_STATUS(child), 13);
}

static void* exit_later(void* nothing) {
    sleep_ms(20);
    _exit(14);
}

static void the_first_thread_may_end_first(void) {
    IN_CHILD(child) {
        pthread_t other;
        CHECK_EQ(pthread_create(&other, NULL, exit_later, NULL), 0);
        pthread_exit(NULL);
    }
    CHECK_EQ(EXIT_STATUS(child), 14);
}

static void* fork_in_a_thread(void* number) {
    IN_CHILD(child) _exit((long)number);
    CHECK_EQ(EXIT_STATUS(child), (long)number);
    return return_number(number);
}

static void threads_may_fork(void) {
    start_all(fork_in_a_thread);
    join_all();
}

static void exec_leaves_one_thread(void) {
    IN_CHILD(child) {
        char text[32];
        start_all(sleep_for_ever);
        snprintf(text, sizeof text, "%d", getpid());
        execl(tap_arguments[0], tap_arguments[0], "--pid", text, (char*)NULL);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void* exec_here(void* text) {
    execl(tap_arguments[0], tap_arguments[0], "--pid", text, (char*)NULL);
    return NULL;
}

static void exec_from_another_thread_keeps_the_pid(void) {
    IN_CHILD(child) {
        pthread_t other;
        char text[32];
        snprintf(text, sizeof text, "%d", getpid());
        CHECK_EQ(pthread_create(&other, NULL, exec_here, text), 0);
        pause();
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void* wait_for_broadcast(void* number) {
    pthread_mutex_lock(&lock);
    sum++;
    pthread_cond_wait(&changed, &lock);
    sum--;
    pthread_mutex_unlock(&lock);
    return return_number(number);
}

static void a_broadcast_requeues(void) {
    start_all(wait_for_broadcast);
    for (;;) {
        pthread_mutex_lock(&lock);
        if (sum == many) break;
        pthread_mutex_unlock(&lock);
        sleep_ms(1);
    }
    pthread_cond_broadcast(&changed);
    sleep_ms(2); // all wait for the mutex now
    CHECK_EQ(sum, many);
    pthread_mutex_unlock(&lock);
    join_all();
    CHECK_EQ(sum, 0);
}

static pthread_mutex_t robust;

static void* die_with_the_lock(void* nothing) {
    pthread_mutex_lock(&robust);
    return NULL;
}

static void a_robust_mutex_tells_of_death(void) {
    pthread_t other;
    pthread_mutexattr_t how;
    CHECK_EQ(pthread_mutexattr_init(&how), 0);
    CHECK_EQ(pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST), 0);
    CHECK_EQ(pthread_mutex_init(&robust, &how), 0);
    CHECK_EQ(pthread_create(&other, NULL, die_with_the_lock, NULL), 0);
    CHECK_EQ(pthread_join(other, NULL), 0);
    CHECK_EQ(pthread_mutex_lock(&robust), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&robust), 0);
    CHECK_EQ(pthread_mutex_unlock(&robust), 0);
    CHECK_EQ(pthread_mutex_lock(&robust), 0);
}

static void a_robust_mutex_between_processes(void) {
    pthread_mutex_t* mutex = shared(page);
    volatile int* locked = shared(page);
    pthread_mutexattr_t how;
    CHECK_EQ(pthread_mutexattr_init(&how), 0);
    CHECK_EQ(pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST), 0);
    CHECK_EQ(pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_mutex_init(mutex, &how), 0);
    IN_CHILD(child) {
        CHECK_EQ(pthread_mutex_lock(mutex), 0);
        *locked = 1;
        sleep_ms(30); // the parent waits by now
        kill(getpid(), SIGKILL);
    }
    while (!*locked)
        sleep_ms(1);
    CHECK_EQ(pthread_mutex_lock(mutex), EOWNERDEAD);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

static void a_mutex_between_processes(void) {
    struct {
        pthread_mutex_t mutex;
        int count;
    }* both = shared(page);
    pthread_mutexattr_t how;
    pid_t children[4];
    CHECK_EQ(pthread_mutexattr_init(&how), 0);
    CHECK_EQ(pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_mutex_init(&both->mutex, &how), 0);
    for (int at = 0; at < 4; at++) {
        IN_CHILD(child) {
            for (int turn = 0; turn < 2000; turn++) {
                CHECK_EQ(pthread_mutex_lock(&both->mutex), 0);
                both->count++;
                CHECK_EQ(pthread_mutex_unlock(&both->mutex), 0);
            }
        }
        children[at] = child;
    }
    for (int at = 0; at < 4; at++)
        CHECK_EQ(EXIT_STATUS(children[at]), 0);
    CHECK_EQ(both->count, 8000);
}

static void* read_for_ever(void* pipe) {
    char byte;
    for (;;)
        if (read(*(int*)pipe, &byte, 1) < 0) return NULL;
}

static void a_sleeper_can_be_cancelled(void) {
    int data[2];
    void* result;
    pthread_t other;
    CHECK(pipe(data) == 0);
    CHECK_EQ(pthread_create(&other, NULL, read_for_ever, data), 0);
    sleep_ms(10);
    CHECK_EQ(pthread_cancel(other), 0);
    CHECK_EQ(pthread_join(other, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
}

static void timed_waits_end(void) {
    struct timespec until;
    const long long begun = now_ns();
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 30000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lock);
    CHECK_EQ(pthread_cond_timedwait(&changed, &lock, &until), ETIMEDOUT);
    CHECK(now_ns() - begun >= 25000000);
}

static long futex(volatile int* word, int what, int value, const void* timeout, volatile int* other, int third) {
    return syscall(SYS_futex, word, what, value, timeout, other, third);
}

static volatile int word, second;

static void* wait_for_word(void* number) {
    while (futex(&word, FUTEX_WAIT | FUTEX_PRIVATE, 0, NULL, NULL, 0) < 0 && errno == EINTR)
        ;
    __atomic_add_fetch(&sum, 1, __ATOMIC_SEQ_CST);
    return return_number(number);
}

static void futexes_by_hand(void) {
    const struct timespec little = {.tv_nsec = 10000000}, bad = {.tv_nsec = 2000000000}, past = {0};
    CHECK_ERROR(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0), EAGAIN);
    CHECK_ERROR(futex(&word, FUTEX_WAIT, 0, &little, NULL, 0), ETIMEDOUT);
    CHECK_ERROR(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
    CHECK_ERROR(futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL, -1), ETIMEDOUT);
    CHECK_ERROR(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
    CHECK_ERROR(futex((int*)((char*)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
    CHECK_ERROR(futex((int*)4, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
    CHECK_ERROR(futex(&word, 77, 0, NULL, NULL, 0), ENOSYS);
    CHECK_EQ(futex(&word, FUTEX_WAKE, 100, NULL, NULL, 0), 0);
    start_all(wait_for_word);
    // Moved from one word to the other, they are woken there.
    int moved = 0;
    while (moved < many) {
        moved += futex(&word, FUTEX_REQUEUE | FUTEX_PRIVATE, 0, (void*)(long)many, &second, 0);
        sleep_ms(1);
    }
    CHECK_EQ(sum, 0);
    CHECK_EQ(futex(&word, FUTEX_WAKE | FUTEX_PRIVATE, 100, NULL, NULL, 0), 0);
    CHECK_EQ(futex(&second, FUTEX_WAKE | FUTEX_PRIVATE, 3, NULL, NULL, 0), 3);
    CHECK_EQ(futex(&second, FUTEX_WAKE | FUTEX_PRIVATE, many, NULL, NULL, 0), many - 3);
    join_all();
    CHECK_EQ(sum, many);
    CHECK_ERROR(futex(&word, FUTEX_CMP_REQUEUE, 0, NULL, &second, 1), EAGAIN);
}

static void* wait_for_bit(void* number) {
    while (futex(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE, 0, NULL, NULL, 1 << (long)number) < 0 && errno == EINTR)
        ;
    __atomic_or_fetch(&second, 1 << (long)number, __ATOMIC_SEQ_CST);
    return return_number(number);
}

static void futex_bitsets_choose(void) {
    start_all(wait_for_bit);
    for (int at = 0; at < many; at++)
        while (futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE, 100, NULL, NULL, 1 << at) != 1)
            sleep_ms(1);
    join_all();
    CHECK_EQ(second, -1);
}

static void* tell_tid(void* where) {
    *(int*)where = syscall(SYS_gettid);
    return NULL;
}

static void threads_have_ids_of_their_own(void) {
    int tid = 0;
    pthread_t other;
    CHECK_EQ(syscall(SYS_gettid), getpid());
    CHECK_EQ(pthread_create(&other, NULL, tell_tid, &tid), 0);
    CHECK_EQ(pthread_join(other, NULL), 0);
    CHECK(tid > 0 && tid != getpid());
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0)
        sleep_ms(1); // joined, it may still be on its way out
    CHECK_ERROR(syscall(SYS_tgkill, getpid(), tid, 0), ESRCH);
    CHECK_ERROR(syscall(SYS_tgkill, 0x3fffffff, getpid(), 0), ESRCH);
    CHECK_ERROR(waitpid(tid, NULL, 0), ECHILD);
}

static volatile int stop;

static void* map_and_unmap(void* number) {
    while (!stop) {
        char* memory = anonymous(16 * page);
        memset(memory, (long)number, 16 * page);
        for (int at = 0; at < 16; at++)
            CHECK_EQ(memory[at * page], (long)number);
        CHECK(munmap(memory, 16 * page) == 0);
    }
    return return_number(number);
}

static void threads_map_and_unmap_at_once(void) {
    start_all(map_and_unmap);
    for (int turn = 0; turn < 20; turn++) {
        IN_CHILD(child) {
            free(malloc(1000));
        }
        CHECK_EQ(EXIT_STATUS(child), 0);
    }
    stop = 1;
    join_all();
}

static volatile pid_t mover;

static void* keep_moving(void* unused) {
    cpu_set_t cpus;
    mover = syscall(SYS_gettid);
    for (int turn = 0; !stop; turn++) {
        CPU_ZERO(&cpus);
        CPU_SET(turn % get_nprocs(), &cpus);
        CHECK(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
    }
    return unused;
}

static void count_signal(int number) {
    (void)number;
    __atomic_add_fetch(&sum, 1, __ATOMIC_SEQ_CST);
}

// A signal may find its thread between two CPUs.
static void a_thread_that_moves_can_be_signalled(void) {
    pthread_t thread;
    CHECK(signal(SIGUSR1, count_signal) != SIG_ERR);
    CHECK_EQ(pthread_create(&thread, NULL, keep_moving, NULL), 0);
    while (!mover)
        sched_yield();
    const long long begun = now_ns();
    while (now_ns() - begun < 1000000000)
        CHECK(syscall(SYS_tgkill, getpid(), mover, SIGUSR1) == 0);
    stop = 1;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(sum > 0);
}

static char* victim;

static void* touch(void* number) {
    while (!stop)
        __atomic_add_fetch(&victim[(long)number * 64], 1, __ATOMIC_RELAXED);
    return return_number(number);
}

// A write that follows mprotect(PROT_READ) on another CPU must fault, not land.
static void protection_changes_are_seen_by_all_cpus(void) {
    victim = anonymous(page);
    char copy[page];
    catch_faults();
    IN_CHILD(child) {
        struct sigaction ignore = {.sa_handler = SIG_DFL};
        sigaction(SIGSEGV, &ignore, NULL);
        start_all(touch);
        sleep_ms(10);
        CHECK(mprotect(victim, page, PROT_READ) == 0);
        memcpy(copy, victim, page);
        sleep_ms(20);
        _exit(memcmp(copy, victim, page) ? 2 : 1);
    }
    // The writers' fault kills the process, before or after the comparison.
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

// --- CPU time

static volatile int stop_computing;

static void* compute(void* number) {
    volatile unsigned sum = 0;
    while (!stop_computing)
        sum += 1;
    return number;
}

static long long process_ns(void) {
    struct timespec t;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long user_ns(const struct timeval* t) {
    return t->tv_sec * 1000000000LL + t->tv_usec * 1000LL;
}

// Who asks sees what another thread has used up to now, though that one has neither slept nor made a call since.
static void running_threads_count_up_to_now(void) {
    pthread_t other;
    enum { ms = 1000000 };
    long long last = process_ns(), last_wall = now_ns(), seen = 0;
    CHECK_EQ(pthread_create(&other, NULL, compute, NULL), 0);
    for (int at = 0; at < 20; at++) {
        sleep_ms(20);
        const long long now = process_ns();
        CHECK(now >= last);
        seen += now > last;
        last = now;
    }
    const long long wall = now_ns() - last_wall;
    struct rusage used;
    CHECK(getrusage(RUSAGE_SELF, &used) == 0);
    stop_computing = 1;
    CHECK_EQ(pthread_join(other, NULL), 0);
    const long long all = process_ns(), since = now_ns() - last_wall - wall;
    note("%lld ms seen in %lld ms, %lld in user mode; %lld when it had ended", last / ms, wall / ms,
         user_ns(&used.ru_utime) / ms, all / ms);
    CHECK(seen >= 15); // the machine may give it no time now and then
    CHECK(all - last < last / 2 + 30 * ms + 2 * since);
    // It computes, and that is no time of the kernel's.
    CHECK(user_ns(&used.ru_utime) > user_ns(&used.ru_stime));
    CHECK(user_ns(&used.ru_utime) + user_ns(&used.ru_stime) >= last - 20 * ms);
}

// However the readers and the switches meet, the clock of a process never goes back.
static void the_processs_clock_never_goes_back(void) {
    pthread_t others[6];
    for (int at = 0; at < 6; at++)
        CHECK_EQ(pthread_create(&others[at], NULL, compute, NULL), 0);
    long long last = 0;
    const long long deadline = now_ns() + 700000000LL;
    int looks = 0;
    for (; now_ns() < deadline; looks++) {
        const long long now = process_ns();
        if (now < last) note("%lld after %lld, at look %d", now, last, looks);
        CHECK(now >= last);
        last = now;
    }
    stop_computing = 1;
    for (int at = 0; at < 6; at++)
        CHECK_EQ(pthread_join(others[at], NULL), 0);
    CHECK(process_ns() >= last);
    note("%d looks", looks);
}

static const struct tap_test tests[] = {
    T(threads_run_and_end),
    T(a_mutex_excludes),
    T(condition_variables_wake_all),
    T(barriers_hold_until_all_are_there),
    T(thread_local_data_is_own),
    T(the_exit_of_one_ends_all),
    T(exit_stops_those_who_compute),
    T(the_first_thread_may_end_first),
    T(threads_may_fork),
    T(exec_leaves_one_thread),
    T(exec_from_another_thread_keeps_the_pid),
    T(a_broadcast_requeues),
    T(a_robust_mutex_tells_of_death),
    T(a_robust_mutex_between_processes),
    T(a_mutex_between_processes),
    T(a_sleeper_can_be_cancelled),
    T(timed_waits_end),
    T(futexes_by_hand),
    T(futex_bitsets_choose),
    T(threads_have_ids_of_their_own),
    T(threads_map_and_unmap_at_once),
    T(a_thread_that_moves_can_be_signalled),
    T(protection_changes_are_seen_by_all_cpus),
    T(running_threads_count_up_to_now),
    T(the_processs_clock_never_goes_back),
};

int main(int count, char** arguments) {
    if (count > 2 && !strcmp(arguments[1], "--pid"))
        return atoi(arguments[2]) != getpid() || syscall(SYS_gettid) != getpid();
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
