// The benchmark that runs on Nutcracker and on Linux alike, one static program that times itself:
//
//     bench [GLOB]
//
// Prints `bench NAME VALUE ns - -` with tabs between. Under QEMU's -icount the clock advances a nanosecond an
// instruction, so the values are instructions. Each value is the median of some rounds, each the mean of many turns.
#include "user/bench/bench.h"

#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { rounds = 5 };

static const char* pattern = "*";
static char* program;

void die(const char* what) {
    dprintf(2, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int ascending(const void* a, const void* b) {
    const double difference = *(const double*)a - *(const double*)b;
    return (difference > 0) - (difference < 0);
}

void measure(const char* name, long long (*run)(int turns, long argument), int turns, long argument) {
    double values[rounds];
    if (fnmatch(pattern, name, 0)) return;
    run(turns / 10 + 1, argument);
    for (int round = 0; round < rounds; round++)
        values[round] = (double)run(turns, argument) / turns;
    qsort(values, rounds, sizeof values[0], ascending);
    dprintf(1, "bench\t%s\t%.0f\tns\t-\t-\n", name, values[rounds / 2]);
}

char* memory(size_t bytes) {
    char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) die("mmap");
    return at;
}

void reap(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) die("wait");
}

pid_t start(void) {
    const pid_t child = fork();
    if (child < 0) die("fork");
    return child;
}

static long long getppid_calls(int turns, long unused) {
    TIMED(turns, syscall(SYS_getppid));
}

static long long clock_reads(int turns, long unused) {
    struct timespec now;
    TIMED(turns, clock_gettime(CLOCK_MONOTONIC, &now));
}

static long long copies(int turns, long bytes) {
    static char *from, *to;
    if (!from) from = memory(mib), to = memory(mib), memset(from, 1, mib), memset(to, 2, mib);
    TIMED(turns, memcpy(to, from, bytes); __asm__ volatile("" ::: "memory"));
}

static void transfer(ssize_t (*how)(int, void*, size_t), int file, char* buffer, long bytes) {
    for (long done = 0; done < bytes;) {
        const ssize_t count = how(file, buffer + done, bytes - done);
        if (count <= 0) die("transfer");
        done += count;
    }
}

static ssize_t put(int file, void* buffer, size_t bytes) {
    return write(file, buffer, bytes);
}

// Two ways between processes: two pipes, or a pair of sockets. Ours are `in` and `out`, the other's `far_in` and
// `far_out`.
struct ways {
    int in, out, far_in, far_out;
};

static struct ways by_pipes(void) {
    int there[2], back[2];
    if (pipe(there) < 0 || pipe(back) < 0) die("pipe");
    return (struct ways){back[0], there[1], there[0], back[1]};
}

static struct ways by_sockets(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) die("socketpair");
    return (struct ways){ends[0], ends[0], ends[1], ends[1]};
}

static void close_all(struct ways w) {
    close(w.in), close(w.far_in);
    if (w.out != w.in) close(w.out), close(w.far_out);
}

static long long round_trips(int turns, long bytes, struct ways w) {
    char* buffer = memory(page);
    const pid_t child = start();
    if (child == 0) {
        for (int turn = 0; turn < turns; turn++) {
            transfer(read, w.far_in, buffer, bytes);
            transfer(put, w.far_out, buffer, bytes);
        }
        _exit(0);
    }
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        transfer(put, w.out, buffer, bytes);
        transfer(read, w.in, buffer, bytes);
    }
    const long long took = now_ns() - begun;
    reap(child);
    close_all(w);
    munmap(buffer, page);
    return took;
}

static long long pipe_round_trips(int turns, long bytes) {
    return round_trips(turns, bytes, by_pipes());
}
static long long socket_round_trips(int turns, long bytes) {
    return round_trips(turns, bytes, by_sockets());
}

// One mebibyte a turn from page-aligned memory to page-aligned memory; `touched`: the writer writes to every page
// before each turn, so that it needs its pages back.
static long long stream(int turns, long touched, struct ways w) {
    char *buffer = memory(mib), byte = 0;
    memset(buffer, 1, mib);
    const pid_t child = start();
    if (child == 0) {
        char* to = memory(mib);
        for (int turn = 0; turn < turns; turn++)
            transfer(read, w.far_in, to, mib);
        transfer(put, w.far_out, &byte, 1);
        _exit(0);
    }
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        if (touched)
            for (int at = 0; at < mib; at += page)
                buffer[at] = turn;
        transfer(put, w.out, buffer, mib);
    }
    transfer(read, w.in, &byte, 1);
    const long long took = now_ns() - begun;
    reap(child);
    close_all(w);
    munmap(buffer, mib);
    return took;
}

static long long pipe_stream(int turns, long touched) {
    return stream(turns, touched, by_pipes());
}
static long long socket_stream(int turns, long touched) {
    return stream(turns, touched, by_sockets());
}

static long long forks(int turns, long touched_mib) {
    const size_t bytes = (size_t)touched_mib * mib;
    char* held = bytes ? memory(bytes) : NULL;
    for (size_t at = 0; at < bytes; at += page)
        held[at] = 1;
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        const pid_t child = start();
        if (child == 0) _exit(0);
        reap(child);
    }
    const long long took = now_ns() - begun;
    if (held) munmap(held, bytes);
    return took;
}

static long long execs(int turns, long by_vfork) {
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        char* arguments[] = {program, "--exit", NULL};
        const pid_t child = by_vfork ? vfork() : fork();
        if (child < 0) die("fork");
        if (child == 0) {
            execve(program, arguments, NULL);
            _exit(1);
        }
        reap(child);
    }
    return now_ns() - begun;
}

// A turn is one page.
static long long faults(int turns, long unused) {
    char* at = memory((size_t)turns * page);
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++)
        at[(size_t)turn * page] = 1;
    const long long took = now_ns() - begun;
    munmap(at, (size_t)turns * page);
    return took;
}

static long long maps(int turns, long unused) {
    TIMED(turns, munmap(memory(mib), mib));
}

static int words[2];

static long futex(int* word, int what, int value) {
    return syscall(SYS_futex, word, what | 128 /* private */, value, 0, 0, 0);
}

static void pass(int which) {
    __atomic_store_n(&words[which], 1, __ATOMIC_SEQ_CST);
    futex(&words[which], 1 /* wake */, 1);
}

static void await(int which) {
    while (__atomic_exchange_n(&words[which], 0, __ATOMIC_SEQ_CST) == 0)
        futex(&words[which], 0 /* wait */, 0);
}

static void* answer(void* turns) {
    for (long turn = 0; turn < (long)turns; turn++) {
        await(0);
        pass(1);
    }
    return NULL;
}

static long long futex_round_trips(int turns, long unused) {
    pthread_t other;
    words[0] = words[1] = 0;
    if (pthread_create(&other, NULL, answer, (void*)(long)turns)) die("thread");
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        pass(0);
        await(1);
    }
    const long long took = now_ns() - begun;
    pthread_join(other, NULL);
    return took;
}

static void* nothing(void* argument) {
    return argument;
}

static long long threads(int turns, long unused) {
    pthread_t other;
    TIMED(turns, if (pthread_create(&other, NULL, nothing, NULL)) die("thread"); pthread_join(other, NULL));
}

static void handler(int number) {}

static long long signals(int turns, long unused) {
    const pid_t self = getpid();
    signal(SIGUSR1, handler);
    TIMED(turns, kill(self, SIGUSR1));
}

// Two processes on one CPU give way to each other: a turn is one switch.
static long long yields(int turns, long unused) {
    volatile int* meeting = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const unsigned long first_cpu = 1, all_cpus = -1;
    if (meeting == MAP_FAILED) die("mmap");
    syscall(SYS_sched_setaffinity, 0, sizeof first_cpu, &first_cpu);
    const pid_t child = start();
    if (child == 0) {
        *meeting = 1;
        while (*meeting != 2)
            sched_yield();
        _exit(0);
    }
    while (*meeting != 1)
        sched_yield();
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn += 2)
        sched_yield();
    const long long took = now_ns() - begun;
    *meeting = 2;
    reap(child);
    syscall(SYS_sched_setaffinity, 0, sizeof all_cpus, &all_cpus);
    munmap((void*)meeting, page);
    return took;
}

int main(int count, char** arguments) {
    if (count > 1 && !strcmp(arguments[1], "--exit")) return 0;
    program = arguments[0];
    if (count > 1 && arguments[1][0]) pattern = arguments[1];
    measure("getppid", getppid_calls, 2000, 0);
    measure("clock_gettime", clock_reads, 2000, 0);
    measure("memcpy 1048576", copies, 20, mib);
    measure("pipe round trip, bytes each way: 1", pipe_round_trips, 500, 1);
    measure("pipe round trip, bytes each way: 64", pipe_round_trips, 500, 64);
    measure("pipe round trip, bytes each way: 4096", pipe_round_trips, 500, 4096);
    measure("pipe write 1MiB stream", pipe_stream, 32, 0);
    measure("pipe write 1MiB stream, rewritten", pipe_stream, 32, 1);
    measure("socket round trip, bytes each way: 64", socket_round_trips, 500, 64);
    measure("socket round trip, bytes each way: 4096", socket_round_trips, 500, 4096);
    measure("socket write 1MiB stream", socket_stream, 32, 0);
    measure("socket write 1MiB stream, rewritten", socket_stream, 32, 1);
    measure("fork+exit+wait 0MiB", forks, 50, 0);
    measure("fork+exit+wait 16MiB", forks, 20, 16);
    measure("fork+exit+wait 256MiB", forks, 10, 256);
    measure("fork+exec+wait", execs, 30, 0);
    measure("vfork+exec+wait", execs, 30, 1);
    measure("anonymous page fault, zeroed (16 MiB touched, per page)", faults, 4096, 0);
    measure("mmap+munmap 1MiB, untouched", maps, 500, 0);
    measure("futex thread rt", futex_round_trips, 500, 0);
    measure("thread create+join", threads, 100, 0);
    measure("signal handler round trip", signals, 500, 0);
    measure("sched_yield, a switch between two processes", yields, 1000, 0);
    measure_files();
    measure_messages();
    measure_disk();
    measure_programs();
    return 0;
}
