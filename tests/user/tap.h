// What every user-mode test program shares. A test is a function; each runs in a process of its own, so that one that
// dies or hangs does not take the others along, and returns if it is content:
//
//     static void fork_returns_twice(void) { CHECK(fork() >= 0); }
//     TAP_MAIN(T(fork_returns_twice))
//
// A failed CHECK says where and ends the process. Programs take names of tests as arguments. They must pass on Linux:
// that is how it is known that a test is right.
#pragma once
#ifndef _GNU_SOURCE // C++ always says so
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { tap_skipped = 77, page = 4096 };

static char** tap_arguments; // main's

__attribute__((format(printf, 1, 2), unused)) static void note(const char* format, ...) {
    char line[400] = "# ";
    va_list arguments;
    va_start(arguments, format);
    int length = 2 + vsnprintf(line + 2, sizeof line - 3, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    if (write(1, line, length) < 0) _exit(2);
}

__attribute__((noreturn, unused)) static void tap_fail(const char* file, int line, const char* what) {
    const int number = errno;
    const char* name = strrchr(file, '/');
    note("%s:%d: not so: %s (errno %d, %s)", name ? name + 1 : file, line, what, number, strerror(number));
    _exit(1);
}

__attribute__((noreturn, unused)) static void tap_skip(const char* why) {
    note("%s", why);
    _exit(tap_skipped);
}

#define CHECK(...) ((__VA_ARGS__) ? (void)0 : tap_fail(__FILE__, __LINE__, #__VA_ARGS__))
#define CHECK_EQ(have, want)                                                                                           \
    do {                                                                                                               \
        const long long have_ = (long long)(have), want_ = (long long)(want);                                          \
        if (have_ != want_) {                                                                                          \
            const int number_ = errno;                                                                                 \
            note("%s is %lld (%#llx), not %lld", #have, have_, have_, want_);                                          \
            errno = number_;                                                                                           \
            tap_fail(__FILE__, __LINE__, #have " == " #want);                                                          \
        }                                                                                                              \
    } while (0)
// A call that must fail, and how.
#define CHECK_ERROR(call, number)                                                                                      \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        const long long got_ = (long long)(call);                                                                      \
        if (got_ != -1 || errno != (number)) {                                                                         \
            note("%s gives %lld", #call, got_);                                                                        \
            tap_fail(__FILE__, __LINE__, #call " fails with " #number);                                                \
        }                                                                                                              \
    } while (0)

__attribute__((unused)) static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

__attribute__((unused)) static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

// The status with which a child ended; the test fails if that was a signal.
#define EXIT_STATUS(pid)                                                                                               \
    ({                                                                                                                 \
        int raw_ = -1;                                                                                                 \
        CHECK_EQ(waitpid((pid), &raw_, 0), (pid));                                                                     \
        if (!WIFEXITED(raw_)) note("killed by signal %d", WTERMSIG(raw_));                                             \
        CHECK(WIFEXITED(raw_));                                                                                        \
        WEXITSTATUS(raw_);                                                                                             \
    })
#define KILLED_BY(pid)                                                                                                 \
    ({                                                                                                                 \
        int raw_ = -1;                                                                                                 \
        CHECK_EQ(waitpid((pid), &raw_, 0), (pid));                                                                     \
        if (WIFEXITED(raw_)) note("ended with status %d", WEXITSTATUS(raw_));                                          \
        CHECK(WIFSIGNALED(raw_));                                                                                      \
        WTERMSIG(raw_);                                                                                                \
    })
// Runs the block that follows in a child.
#define IN_CHILD(pid)                                                                                                  \
    pid_t pid = fork();                                                                                                \
    CHECK(pid >= 0);                                                                                                   \
    if (pid == 0)                                                                                                      \
        for (;; _exit(0))

// A child that sends a signal to its parent again and again, in case that the first one comes before the parent waits.
__attribute__((unused)) static pid_t begin_nagging(int number) {
    const pid_t parent = getpid();
    IN_CHILD(nag) {
        while (getppid() == parent) {
            sleep_ms(20);
            kill(parent, number);
        }
    }
    return nag;
}
__attribute__((unused)) static void end_nagging(pid_t nag) {
    CHECK(kill(nag, SIGKILL) == 0);
    while (waitpid(nag, NULL, 0) != nag)
        CHECK_EQ(errno, EINTR);
}

// So much memory as is wished for, or less on a machine that has little; whole pages.
__attribute__((unused)) static size_t memory_for(size_t wished) {
    struct sysinfo info;
    if (sysinfo(&info) < 0) return wished;
    const size_t room = (size_t)info.freeram * info.mem_unit / 4;
    return (wished < room ? wished : room) & ~(size_t)(page - 1);
}

__attribute__((unused)) static char* anonymous(size_t bytes) {
    void* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return (char*)at;
}

__attribute__((unused)) static void* shared(size_t bytes) {
    void* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

// Catching a fault: TRY_FAULT(statement) gives the signal (0 if none came); what it said is in `fault`.
#include <setjmp.h>
struct tap_fault {
    int number, code;
    uintptr_t address;
};
static struct tap_fault fault __attribute__((unused));
static sigjmp_buf tap_fault_return __attribute__((unused));
__attribute__((unused)) static void tap_on_fault(int number, siginfo_t* info, void* context) {
    fault = (struct tap_fault){number, info->si_code, (uintptr_t)info->si_addr};
    siglongjmp(tap_fault_return, 1);
}
__attribute__((unused)) static void catch_faults(void) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action;
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = tap_on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int at = 0; at < 4; at++)
        CHECK(sigaction(faults[at], &action, NULL) == 0);
}
#define TRY_FAULT(...)                                                                                                 \
    ({                                                                                                                 \
        fault.number = 0;                                                                                              \
        if (sigsetjmp(tap_fault_return, 1) == 0) {                                                                     \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
        fault.number;                                                                                                  \
    })

struct tap_test {
    const char* name;
    void (*run)(void);
};
#define T(name)                                                                                                        \
    { #name, name }

// An emulator on a busy machine is slow, and some tests go on for as long as they are told to.
__attribute__((unused)) static int tap_limit_seconds(void) {
    const char* wished = getenv("fuzz_seconds");
    return 120 + (wished ? 2 * atoi(wished) : 0);
}

// One test in a process of its own. Needs no more of the kernel than fork, wait4, nanosleep and kill.
__attribute__((unused)) static int tap_run(const struct tap_test* test, int limit_seconds) {
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        test->run();
        _exit(0);
    }
    int raw = 0;
    const long long deadline = now_ns() + limit_seconds * 1000000000LL;
    struct timespec pause = {0, 100000};
    for (;;) {
        pid_t ended = waitpid(child, &raw, WNOHANG);
        if (ended == child) break;
        if (ended < 0 && errno != EINTR) {
            note("waitpid: %s", strerror(errno));
            return 1;
        }
        if (now_ns() > deadline) {
            note("%s: still running after %d s", test->name, limit_seconds);
            kill(child, SIGKILL);
            waitpid(child, &raw, 0);
            kill(-child, SIGKILL);
            return 1;
        }
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 10000000) pause.tv_nsec *= 2;
    }
    kill(-child, SIGKILL); // what it has left behind
    if (!WIFEXITED(raw)) note("%s: killed by signal %d", test->name, WTERMSIG(raw));
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : 1;
}

__attribute__((unused)) static int tap_main(int count, char** arguments, const struct tap_test* tests, int test_count) {
    int number = 0, failed = 0, planned = 0;
    tap_arguments = arguments;
    for (int at = 0; at < test_count; at++)
        for (int word = 1; word < count; word++)
            planned += !strcmp(arguments[word], tests[at].name);
    dprintf(1, "1..%d\n", count > 1 ? planned : test_count);
    for (int at = 0; at < test_count; at++) {
        int chosen = count == 1;
        for (int word = 1; word < count; word++)
            chosen |= !strcmp(arguments[word], tests[at].name);
        if (!chosen) continue;
        const int status = tap_run(&tests[at], tap_limit_seconds());
        const int good = status == 0 || status == tap_skipped;
        dprintf(1, "%sok %d - %s%s\n", good ? "" : "not ", ++number, tests[at].name,
                status == tap_skipped ? " # SKIP" : "");
        failed += !good;
    }
    return failed != 0;
}

#define TAP_MAIN(...)                                                                                                  \
    int main(int count, char** arguments) {                                                                            \
        static const struct tap_test tests[] = {__VA_ARGS__};                                                          \
        return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);                                      \
    }
