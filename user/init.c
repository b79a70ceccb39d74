// The first process. What it does stands in its environment, where the kernel puts the boot module `exec` and those
// options of its command line that it does not know itself:
//
//     exec=CMD        runs `/bin/sh -c CMD`, its output framed for tools/lib/frames.py
//     usertest=GLOB   runs the user-mode tests that fit
//     userbench=GLOB  runs the benchmark
//     (none)          a shell on the console; the machine switches off when it ends
//
// Before that, with root=DEVICE, the file system on that disk becomes the root, with this one's /dev and /proc in it.
//
// Whatever it starts is the leader of a session with the console as its terminal. init itself reaps orphans; it ends
// the machine with the status of what it ran.
//
// A frame is a line, so that lines of the kernel's log may stand between: \x01o (stdout) or \x01e (stderr), then
// bytes with everything that is not printable written as \xHH. It is one write of at most 512 bytes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void say(const char* format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(1, line, length) < 0) _exit(1);
}

// The first process has the console as its terminal in a session of its own, and so has what it starts. On a
// developer's machine this program is an ordinary one and keeps to the session it is in.
static void take_the_console(void) {
    if (getppid() != 1) return;
    setsid();
    ioctl(0, TIOCSCTTY, 1);
    tcsetpgrp(0, getpid());
}

static pid_t start(char* const arguments[], int out, int err) {
    pid_t child = fork();
    if (child < 0) say("init: fork: %s\n", strerror(errno));
    if (child != 0) return child;
    take_the_console();
    if (out >= 0) {
        dup2(out, 1);
        dup2(err, 2);
        close(out);
        close(err);
    }
    execv(arguments[0], arguments);
    dprintf(2, "init: %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static int shell_status(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Waits for one process and reaps every other that ends meanwhile.
static int wait_for(pid_t wanted) {
    for (;;) {
        int status;
        pid_t ended = waitpid(-1, &status, 0);
        if (ended == wanted) return shell_status(status);
        if (ended < 0 && errno != EINTR) return 127;
    }
}

enum { most_framed = 120 };

static void frame(char kind, const unsigned char* bytes, int count) {
    static const char digits[] = "0123456789abcdef";
    char line[512];
    int length = 0;
    line[length++] = 1;
    line[length++] = kind;
    for (int at = 0; at < count; at++) {
        unsigned char c = bytes[at];
        if (c >= ' ' && c < 127 && c != '\\') {
            line[length++] = c;
        } else {
            line[length++] = '\\';
            line[length++] = 'x';
            line[length++] = digits[c >> 4];
            line[length++] = digits[c & 15];
        }
    }
    line[length++] = '\n';
    if (write(1, line, length) < 0) _exit(1);
}

// Frames what comes until both pipes are closed, or the command has ended and the pipes are empty: who has left
// something running in the background with the pipe open does not keep the machine on.
static int pass_on(pid_t command, int out, int err) {
    struct pollfd pipes[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    int open = 2, status = -1;
    while (open) {
        int ready = poll(pipes, 2, status < 0 ? 50 : 0);
        if (ready <= 0 && status >= 0) break;
        for (int at = 0; at < 2; at++) {
            if (!pipes[at].revents) continue;
            unsigned char bytes[most_framed];
            ssize_t count = read(pipes[at].fd, bytes, sizeof bytes);
            if (count > 0) {
                frame(at ? 'e' : 'o', bytes, count);
            } else {
                pipes[at].fd = -1;
                pipes[at].revents = 0;
                open--;
            }
        }
        int raw;
        pid_t ended;
        while (status < 0 && (ended = waitpid(-1, &raw, WNOHANG)) > 0)
            if (ended == command) status = shell_status(raw);
    }
    return status < 0 ? wait_for(command) : status;
}

static int run_framed(char* command) {
    say("\x01"
        "exec-begin framed\n");
    int out[2], err[2], status = 127;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
        say("init: pipe: %s\n", strerror(errno));
    } else {
        char* arguments[] = {"/bin/sh", "-c", command, NULL};
        pid_t child = start(arguments, out[1], err[1]);
        close(out[1]);
        close(err[1]);
        if (child > 0) status = pass_on(child, out[0], err[0]);
    }
    say("\x01"
        "exec-end %d\n",
        status);
    return 0; // the machine has done what it was to do; the command's status is in the mark
}

static int run(char* path, char* argument) {
    char* arguments[] = {path, argument, NULL};
    pid_t child = start(arguments, -1, -1);
    return child > 0 ? wait_for(child) : 127;
}

static int is_made(const char* folder) {
    return mkdir(folder, 0755) == 0 || errno == EEXIST || errno == EROFS;
}

// The disk's root takes this one's place. That is seen at /proc meanwhile, until the devices have been taken from it.
static int move_to_disk(const char* device) {
    if (!is_made("/disk") || mount(device, "/disk", "ext4", 0, NULL) < 0 || chdir("/disk") < 0) return -1;
    if (!is_made("dev") || !is_made("proc")) return -1;
    if (syscall(SYS_pivot_root, ".", "proc") < 0 || chdir("/") < 0) return -1;
    if (mount("/proc/dev", "/dev", NULL, MS_BIND | MS_REC, NULL) < 0 || umount2("/proc", MNT_DETACH) < 0) return -1;
    return mount("proc", "/proc", "proc", 0, NULL);
}

// Of the first process only. A machine that is switched off has done well; one whose init ends has not.
static void end_the_machine(int status) {
    tcdrain(1); // what was printed last
    if (getpid() == 1 && status == 0) reboot(RB_POWER_OFF);
    exit(status);
}

int main(void) {
    char* command = getenv("exec");
    char* tests = getenv("usertest");
    char* benchmark = getenv("userbench");
    setenv("PATH", "/bin:/tests", 1);
    setenv("HOME", "/", 1);
    setenv("TERM", "vt102", 0);
    unsetenv("exec");
    unsetenv("usertest");
    unsetenv("userbench");
    const char* disk = getenv("root");
    if (disk && move_to_disk(disk) < 0) {
        say("init: %s cannot be the root: %s\n", disk, strerror(errno));
        exit(1);
    }
    unsetenv("root");
    int status = command     ? run_framed(command)
                 : tests     ? run("/bin/run-tests", tests)
                 : benchmark ? run("/bin/bench", benchmark)
                             : run("/bin/sh", NULL);
    // A shell that was left with `exit 3` was left all the same.
    end_the_machine(tests || benchmark ? status : 0);
}
