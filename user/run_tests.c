// Runs the user-mode tests whose names fit a pattern, one program after the other, and reports them as one TAP plan:
//
//     run-tests [GLOB]        default: all but the fuzzer
//
// Each program prints TAP of its own. Its results are handed on as `user.PROGRAM.NAME` when they come, and three are
// added: `.ends` (it kept its plan and ended well, in time) and `.memory_comes_back`. Other lines become diagnostics.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char* const names[] = {
#include <test_names.inc>
};
enum { name_count = sizeof names / sizeof names[0] };

static int reported, failures;

static void say(const char* format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line) length = sizeof line - 1, line[length - 1] = '\n';
    if (write(1, line, length) < 0) exit(2);
}

static void report(int good, const char* program, const char* name, const char* remark) {
    reported++;
    failures += !good;
    say("%sok %d - user.%s.%s%s\n", good ? "" : "not ", reported, program, name, remark);
}

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static long limit_seconds(void) {
    const char* fuzz = getenv("fuzz_seconds");
    return 400 + (fuzz ? 2 * atol(fuzz) : 0);
}

// What one program has said so far.
struct account {
    const char* program;
    long planned, passed, failed;
    char line[480];
    size_t used;
};

static void take_line(struct account* it, char* line) {
    char* rest;
    if (!strncmp(line, "1..", 3)) {
        it->planned = atol(line + 3);
        return;
    }
    int bad = !strncmp(line, "not ok ", 7);
    if (!bad && strncmp(line, "ok ", 3)) {
        if (*line)
            say("# %s%s%s\n", *line == '#' ? "" : it->program, *line == '#' ? "" : ": ",
                *line == '#' ? line + 2 : line);
        return;
    }
    (void)strtol(line + (bad ? 7 : 3), &rest, 10);
    if (!strncmp(rest, " - ", 3)) rest += 3;
    char* remark = strchr(rest, ' ');
    char text[200];
    snprintf(text, sizeof text, "%s", remark ? remark : "");
    if (remark) *remark = 0;
    if (bad)
        it->failed++;
    else
        it->passed++;
    report(!bad, it->program, rest, text);
}

static void take_bytes(struct account* it, const char* bytes, ssize_t count) {
    for (ssize_t at = 0; at < count; at++) {
        if (bytes[at] == '\n' || it->used == sizeof it->line - 1) {
            it->line[it->used] = 0;
            it->used = 0;
            take_line(it, it->line);
        }
        if (bytes[at] != '\n') it->line[it->used++] = bytes[at];
    }
}

// Reads a program's output until it ends or its time is over. Gives its status, or -1.
static int follow(struct account* it, pid_t child, int from) {
    const long long deadline = now_ms() + limit_seconds() * 1000;
    int status;
    for (;;) {
        struct pollfd ready = {.fd = from, .events = POLLIN};
        if (poll(&ready, 1, 100) > 0) {
            char bytes[512];
            ssize_t count = read(from, bytes, sizeof bytes);
            if (count > 0) take_bytes(it, bytes, count);
            if (count > 0) continue;
            return waitpid(child, &status, 0) == child ? status : -1;
        }
        // What it has left behind may hold the pipe open.
        if (waitpid(child, &status, WNOHANG) == child) return status;
        if (now_ms() > deadline) {
            kill(-child, SIGKILL);
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return -1;
        }
    }
}

static long long free_bytes(void) {
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (long long)info.freeram * info.mem_unit : -1;
}

// Memory that processes and pipes held is free again soon after they ended; caches may keep a little.
static int memory_comes_back(long long before, long long* missing) {
    const long long tolerated = 4 << 20;
    for (int turn = 0; turn < 50; turn++) {
        *missing = before - free_bytes();
        if (*missing <= tolerated) return 1;
        struct timespec pause = {.tv_nsec = 100000000};
        nanosleep(&pause, NULL);
    }
    return 0;
}

static void run_program(const char* name) {
    struct account it = {.program = name, .planned = -1};
    long long before = free_bytes(), begun = now_ms(), missing = 0;
    int out[2];
    char path[64];
    snprintf(path, sizeof path, "/tests/%s", name);
    say("# %s\n", name);
    if (pipe2(out, O_CLOEXEC) < 0) return report(0, name, "starts", " # no pipe");
    pid_t child = fork();
    if (child == 0) {
        setsid();
        dup2(out[1], 1);
        dup2(out[1], 2);
        execl(path, path, (char*)NULL);
        dprintf(1, "# %s: %s\n", path, strerror(errno));
        _exit(127);
    }
    close(out[1]);
    if (child < 0) {
        close(out[0]);
        return report(0, name, "starts", " # no process");
    }
    int status = follow(&it, child, out[0]);
    close(out[0]);
    if (it.used) take_bytes(&it, "\n", 1);
    if (status < 0)
        say("# %s: still running after %ld s\n", name, limit_seconds());
    else if (WIFSIGNALED(status))
        say("# %s: killed by signal %d\n", name, WTERMSIG(status));
    else if (it.planned != it.passed + it.failed)
        say("# %s: %ld planned, %ld ran\n", name, it.planned, it.passed + it.failed);
    const int expected = it.failed ? 1 : 0;
    report(status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == expected && it.planned == it.passed + it.failed,
           name, "ends", "");
    const int back = memory_comes_back(before, &missing);
    if (!back) say("# %s: %lld KiB are missing\n", name, missing / 1024);
    report(back, name, "memory_comes_back", "");
    say("# %s: %lld ms\n", name, now_ms() - begun);
}

int main(int count, char** arguments) {
    const char* pattern = count > 1 && arguments[1][0] ? arguments[1] : NULL;
    say("TAP version 13\n");
    for (int at = 0; at < name_count; at++)
        if (pattern ? fnmatch(pattern, names[at], 0) == 0 : strcmp(names[at], "syscall_fuzz") != 0)
            run_program(names[at]);
    say("1..%d\n", reported);
    return failures || !reported;
}
