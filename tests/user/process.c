// fork, vfork, exec, wait and what binds processes together: parents, groups, sessions.
#include "tests/user/tap.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

static void fork_gives_two(void) {
    int* sum = shared(page);
    pid_t mine = getpid();
    IN_CHILD(child) {
        CHECK(getpid() != mine);
        CHECK_EQ(getppid(), mine);
        *sum = 5;
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(*sum, 5);
}

static void exit_codes_arrive(void) {
    for (int code = 0; code < 256; code += 51) {
        IN_CHILD(child) _exit(code);
        CHECK_EQ(EXIT_STATUS(child), code);
    }
    IN_CHILD(cut) _exit(0x1234);
    CHECK_EQ(EXIT_STATUS(cut), 0x34);
}

static void killed_by_signal_arrives(void) {
    for (int turn = 0; turn < 3; turn++) {
        const int number = (int[]){SIGKILL, SIGTERM, SIGUSR1}[turn];
        IN_CHILD(child) for (;;) pause();
        CHECK(kill(child, number) == 0);
        CHECK_EQ(KILLED_BY(child), number);
    }
}

static void abort_is_a_signal(void) {
    IN_CHILD(child) abort();
    CHECK_EQ(KILLED_BY(child), SIGABRT);
}

static void wait_without_children_fails(void) {
    CHECK_ERROR(waitpid(-1, NULL, 0), ECHILD);
    CHECK_ERROR(waitpid(1, NULL, 0), ECHILD);
    CHECK_ERROR(waitpid(getpid(), NULL, WNOHANG), ECHILD);
    IN_CHILD(child) _exit(1);
    CHECK_EQ(EXIT_STATUS(child), 1);
    CHECK_ERROR(waitpid(child, NULL, 0), ECHILD);
    CHECK_ERROR(waitpid(-1, NULL, 0x40000), EINVAL);
}

static void wait_does_not_hang_when_asked(void) {
    int go[2];
    CHECK(pipe(go) == 0);
    IN_CHILD(child) {
        char byte;
        CHECK(read(go[0], &byte, 1) == 1);
    }
    CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);
    CHECK(write(go[1], "x", 1) == 1);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void waitid_tells_all(void) {
    siginfo_t info;
    IN_CHILD(child) _exit(9);
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0); // looks, and leaves it
    CHECK_EQ(info.si_pid, child);
    CHECK_EQ(info.si_code, CLD_EXITED);
    CHECK_EQ(info.si_status, 9);
    CHECK_EQ(info.si_signo, SIGCHLD);
    memset(&info, 0, sizeof info);
    CHECK(waitid(P_ALL, 0, &info, WEXITED) == 0);
    CHECK_EQ(info.si_pid, child);
    CHECK_ERROR(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
    CHECK_ERROR(waitid(P_ALL, 0, &info, 0), EINVAL);
    IN_CHILD(killed) for (;;) pause();
    memset(&info, 1, sizeof info);
    CHECK(waitid(P_PID, killed, &info, WEXITED | WNOHANG) == 0);
    CHECK_EQ(info.si_pid, 0);
    CHECK(kill(killed, SIGKILL) == 0);
    CHECK(waitid(P_PID, killed, &info, WEXITED) == 0);
    CHECK_EQ(info.si_code, CLD_KILLED);
    CHECK_EQ(info.si_status, SIGKILL);
}

static void zombies_wait_for_their_parent(void) {
    pid_t children[10];
    for (int at = 0; at < 10; at++) {
        IN_CHILD(child) _exit(at);
        children[at] = child;
    }
    sleep_ms(20);
    for (int at = 9; at >= 0; at--) {
        CHECK(kill(children[at], 0) == 0); // a zombie is still there
        CHECK_EQ(EXIT_STATUS(children[at]), at);
        CHECK_ERROR(kill(children[at], 0), ESRCH);
    }
}

static void ignored_children_leave_no_zombies(void) {
    signal(SIGCHLD, SIG_IGN);
    for (int at = 0; at < 5; at++) {
        IN_CHILD(child) _exit(at);
    }
    CHECK_ERROR(waitpid(-1, NULL, 0), ECHILD);
}

static void orphans_get_a_new_parent(void) {
    int word[2];
    CHECK(pipe(word) == 0);
    IN_CHILD(child) {
        pid_t middle = getpid();
        pid_t orphan = fork();
        CHECK(orphan >= 0);
        if (orphan == 0) {
            while (getppid() == middle)
                sleep_ms(1);
            pid_t parent = getppid();
            CHECK(write(word[1], &parent, sizeof parent) == sizeof parent);
        }
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    pid_t parent = 0;
    CHECK(read(word[0], &parent, sizeof parent) == sizeof parent);
    CHECK(parent > 0 && parent != child && parent != getpid());
}

static void a_subreaper_adopts_orphans(void) {
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    IN_CHILD(child) {
        pid_t orphan = fork();
        CHECK(orphan >= 0);
        if (orphan == 0) {
            sleep_ms(20);
            _exit(33);
        }
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    int status;
    pid_t adopted = waitpid(-1, &status, 0);
    CHECK(adopted > 0 && adopted != child);
    CHECK_EQ(WEXITSTATUS(status), 33);
}

static void a_parents_death_is_told(void) {
    int word[2];
    CHECK(pipe(word) == 0);
    IN_CHILD(child) {
        int ready[2];
        CHECK(pipe(ready) == 0);
        pid_t grandchild = fork();
        CHECK(grandchild >= 0);
        if (grandchild == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0);
            CHECK(write(ready[1], "x", 1) == 1);
            for (;;)
                pause(); // its end of `word` is closed when it dies
        }
        char byte;
        CHECK(read(ready[0], &byte, 1) == 1);
    }
    close(word[1]);
    CHECK_EQ(EXIT_STATUS(child), 0);
    char byte;
    CHECK_EQ(read(word[0], &byte, 1), 0);
}

static void groups_are_signalled_together(void) {
    pid_t leader = 0;
    for (int at = 0; at < 3; at++) {
        IN_CHILD(child) {
            for (;;)
                pause();
        }
        if (!leader) leader = child;
        CHECK(setpgid(child, leader) == 0);
        CHECK_EQ(getpgid(child), leader);
    }
    CHECK(getpgrp() != leader);
    CHECK_EQ(waitpid(-leader, NULL, WNOHANG), 0);
    CHECK(kill(-leader, SIGTERM) == 0);
    for (int at = 0; at < 3; at++) {
        int status;
        CHECK(waitpid(-leader, &status, 0) > 0);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    }
    CHECK_ERROR(kill(-leader, SIGTERM), ESRCH);
    CHECK_ERROR(setpgid(0, -1), EINVAL);
    CHECK_ERROR(setpgid(getppid(), 0), ESRCH);
}

static void sessions_have_one_leader(void) {
    IN_CHILD(child) {
        CHECK_EQ(setsid(), getpid());
        CHECK_EQ(getsid(0), getpid());
        CHECK_EQ(getpgrp(), getpid());
        CHECK_ERROR(setsid(), EPERM);
        CHECK_ERROR(setpgid(0, 0), EPERM);
        IN_CHILD(member) {
            CHECK_EQ(getsid(0), getppid());
            CHECK(setpgid(0, 0) == 0);
            CHECK_EQ(getsid(0), getppid());
        }
        CHECK_EQ(EXIT_STATUS(member), 0);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_ERROR(getsid(0x3fffffff), ESRCH);
    CHECK_ERROR(getpgid(0x3fffffff), ESRCH);
}

static void vfork_lends_its_memory(void) {
    volatile int word = 1;
    pid_t child = vfork();
    if (child == 0) {
        word = 2;
        _exit(4);
    }
    CHECK(child > 0);
    CHECK_EQ(word, 2); // the parent went on only after the child's end
    CHECK_EQ(EXIT_STATUS(child), 4);
}

static void exec_self(const char* what, const char* more) {
    execl(tap_arguments[0], tap_arguments[0], what, more, (char*)NULL);
    note("exec %s: %s", tap_arguments[0], strerror(errno));
    _exit(99);
}

static void exec_begins_anew(void) {
    IN_CHILD(child) exec_self("--status", "42");
    CHECK_EQ(EXIT_STATUS(child), 42);
    pid_t spawned = vfork();
    if (spawned == 0) {
        execl(tap_arguments[0], tap_arguments[0], "--status", "43", (char*)NULL);
        _exit(99);
    }
    CHECK_EQ(EXIT_STATUS(spawned), 43);
}

static void exec_failures_leave_the_caller(void) {
    char* none[] = {"x", NULL};
    CHECK_ERROR(execve("/no/such/program", none, none), ENOENT);
    CHECK_ERROR(execve("", none, none), ENOENT);
    CHECK_ERROR(execve((char*)8, none, none), EFAULT);
    CHECK_ERROR(execve(tap_arguments[0], (char**)8, none), EFAULT);
    CHECK_ERROR(execve(tap_arguments[0], none, (char**)8), EFAULT);
    char* bad[] = {(char*)16, NULL};
    CHECK_ERROR(execve(tap_arguments[0], bad, none), EFAULT);
    char path[5000];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = 0;
    CHECK_ERROR(execve(path, none, none), ENAMETOOLONG);
    path[3000] = 0;
    errno = 0;
    CHECK(execve(path, none, none) == -1 && (errno == ENAMETOOLONG || errno == ENOENT));
}

static void exec_refuses_endless_arguments(void) {
    static char word[100000];
    char* many[200] = {0};
    memset(word, 'a', sizeof word - 1);
    for (int at = 0; at < 199; at++)
        many[at] = word;
    char* none[] = {NULL};
    CHECK_ERROR(execve(tap_arguments[0], many, none), E2BIG);
    CHECK_ERROR(execve(tap_arguments[0], none, many), E2BIG);
    char* one[] = {tap_arguments[0], "--length", word, NULL};
    IN_CHILD(child) execve(tap_arguments[0], one, none);
    CHECK_EQ(EXIT_STATUS(child), sizeof word % 251);
}

static void exec_passes_arguments_and_environment(void) {
    char* arguments[] = {tap_arguments[0], "--environment", "", "two words", NULL};
    char* environment[] = {"A=1", "EMPTY=", "B=x=y", NULL};
    IN_CHILD(child) execve(tap_arguments[0], arguments, environment);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void do_nothing(int number) {}

static void exec_resets_handlers_and_keeps_ignored_signals(void) {
    IN_CHILD(child) {
        sigset_t set;
        signal(SIGUSR1, do_nothing);
        signal(SIGUSR2, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_SETMASK, &set, NULL);
        raise(SIGTERM); // pending, and so it stays
        exec_self("--signals", NULL);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void exec_keeps_the_process(void) {
    IN_CHILD(child) {
        char text[32];
        CHECK(setpgid(0, 0) == 0);
        snprintf(text, sizeof text, "%d", getpid());
        exec_self("--pid", text);
    }
    CHECK(setpgid(child, child) == 0 || errno == EACCES);
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_ERROR(setpgid(child, child), ESRCH);
}

static void hundred_forks(void) {
    pid_t children[100];
    for (int at = 0; at < 100; at++) {
        IN_CHILD(child) _exit(at);
        children[at] = child;
    }
    for (int at = 0; at < 100; at++)
        CHECK_EQ(EXIT_STATUS(children[at]), at);
}

static void hundred_forks_one_after_the_other(void) {
    for (int at = 0; at < 100; at++) {
        IN_CHILD(child) _exit(at);
        CHECK_EQ(EXIT_STATUS(child), at);
    }
}

static void a_chain_of_forks(void) {
    for (int depth = 0; depth < 20; depth++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child) _exit(EXIT_STATUS(child) + (depth ? 1 : -19));
    }
    _exit(0);
}

static void four_processes_fork_at_once(void) {
    pid_t children[4];
    for (int at = 0; at < 4; at++) {
        IN_CHILD(child) {
            for (int turn = 0; turn < 50; turn++) {
                IN_CHILD(inner) _exit(turn);
                CHECK_EQ(EXIT_STATUS(inner), turn);
            }
        }
        children[at] = child;
    }
    for (int at = 0; at < 4; at++)
        CHECK_EQ(EXIT_STATUS(children[at]), 0);
}

static void stopped_children_are_reported(void) {
    int status;
    IN_CHILD(child) for (;;) pause();
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK_EQ(waitpid(child, &status, WUNTRACED | WNOHANG), 0); // told once
    CHECK(kill(child, SIGCONT) == 0);
    CHECK_EQ(waitpid(child, &status, WCONTINUED), child);
    CHECK(WIFCONTINUED(status));
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK(kill(child, SIGKILL) == 0); // kills what is stopped, too
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

static void usage_is_counted(void) {
    struct rusage usage;
    int status;
    IN_CHILD(child) {
        char* memory = anonymous(1 << 20);
        const long long begun = now_ns();
        while (now_ns() - begun < 50000000)
            memory[now_ns() % (1 << 20)]++;
    }
    CHECK_EQ(wait4(child, &status, 0, &usage), child);
    CHECK(usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000LL +
              usage.ru_stime.tv_usec >
          1000);
    CHECK(usage.ru_utime.tv_sec < 100);
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    CHECK_ERROR(getrusage(7, &usage), EINVAL);
}

static void clone3_and_clone_make_processes(void) {
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } wanted = {.exit_signal = SIGCHLD};
    pid_t child = syscall(SYS_clone3, &wanted, sizeof wanted);
    if (child == 0) _exit(6);
    CHECK(child > 0);
    CHECK_EQ(EXIT_STATUS(child), 6);
    child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(7);
    CHECK_EQ(EXIT_STATUS(child), 7);
    CHECK_ERROR(syscall(SYS_clone3, &wanted, 8), EINVAL);
    CHECK_ERROR(syscall(SYS_clone3, 8, sizeof wanted), EFAULT);
    wanted.flags = CLONE_PARENT; // whose end is told as that of its maker
    CHECK_ERROR(syscall(SYS_clone3, &wanted, sizeof wanted), EINVAL);
    wanted.exit_signal = 65;
    wanted.flags = 0;
    CHECK_ERROR(syscall(SYS_clone3, &wanted, sizeof wanted), EINVAL);
    CHECK_ERROR(syscall(SYS_clone, 0x10000 /* CLONE_THREAD alone */, 0, 0, 0, 0), EINVAL);
}

static void the_exit_of_a_thread_leader_waits_for_all(void) {
    IN_CHILD(child) {
        syscall(SYS_exit, 3);
    } // the only thread's exit is the process's
    CHECK_EQ(EXIT_STATUS(child), 3);
}

// Lets a child end that reads from the pipe, and gives the signal that tells so.
static int signal_of_child(int pipe_end) {
    const struct timespec patience = {.tv_sec = 60};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGUSR1);
    CHECK(close(pipe_end) == 0);
    const int number = sigtimedwait(&set, NULL, &patience);
    int status;
    CHECK(waitpid(-1, &status, __WALL) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 5);
    return number;
}

static void who_has_become_another_program_hears_of_sigchld_only(void) {
    static const int signals[] = {SIGUSR1, SIGCHLD, 0};
    sigset_t set;
    sigfillset(&set);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int turn = 0; turn < 4; turn++) {
        const int number = signals[turn % 3], with_exec = turn != 3;
        IN_CHILD(parent) {
            int ends[2];
            char text[20], byte;
            CHECK(pipe(ends) == 0);
            const long child = syscall(SYS_clone, number, 0, 0, 0, 0);
            if (child == 0) {
                close(ends[1]);
                _exit(read(ends[0], &byte, 1) == 0 ? 5 : 6);
            }
            CHECK(child > 0);
            snprintf(text, sizeof text, "%d", ends[1]);
            if (with_exec) exec_self("--child-signal", text);
            _exit(signal_of_child(ends[1]));
        }
        CHECK_EQ(EXIT_STATUS(parent), with_exec ? SIGCHLD : number);
    }
}

static void count_alarm(int number) {}

static void fork_is_never_interrupted(void) {
    const struct itimerval often = {{0, 1000}, {0, 1000}};
    struct sigaction action = {.sa_handler = count_alarm}; // without SA_RESTART
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    const long long enough = now_ns() + 20000000000LL; // of a machine on which all takes long
    for (int turn = 0; turn < 300 && (turn < 10 || now_ns() < enough); turn++) {
        IN_CHILD(child) _exit(9);
        int status;
        while (waitpid(child, &status, 0) < 0)
            CHECK_EQ(errno, EINTR);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    }
}

static void a_signal_to_a_group_misses_nobody(void) {
    volatile int* forks = shared(page);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    const long long enough = now_ns() + 20000000000LL; // of a machine on which all takes long
    for (int turn = 0; turn < 100 && (turn < 10 || now_ns() < enough); turn++) {
        *forks = 0;
        IN_CHILD(maker) {
            CHECK(setpgid(0, 0) == 0);
            for (int at = 0; at < 500; at++) {
                if (syscall(SYS_fork) == 0) // libc's would hold signals back a little longer
                    for (;;)
                        pause();
                ++*forks;
            }
            for (;;)
                pause();
        }
        while (*forks < 1 + turn % 7)
            ;
        CHECK(kill(-maker, SIGTERM) == 0);
        CHECK_EQ(KILLED_BY(maker), SIGTERM);
        const long long begun = now_ns();
        for (pid_t ended = 0; ended >= 0; ended = waitpid(-1, NULL, WNOHANG))
            if (now_ns() - begun > 60000000000LL) {
                note("turn %d, %d were made", turn, *forks);
                kill(-maker, SIGKILL);
                CHECK(!"all have ended");
            }
        CHECK_EQ(errno, ECHILD);
    }
}

// What this program does when a test has started it anew.
static int started_again(int count, char** arguments) {
    if (!strcmp(arguments[1], "--status")) return atoi(arguments[2]);
    if (!strcmp(arguments[1], "--length")) return (strlen(arguments[2]) + 1) % 251;
    if (!strcmp(arguments[1], "--child-signal")) return signal_of_child(atoi(arguments[2]));
    if (!strcmp(arguments[1], "--pid")) return atoi(arguments[2]) != getpid() || getpgrp() != getpid();
    if (!strcmp(arguments[1], "--environment")) {
        CHECK(count == 4 && !strcmp(arguments[2], "") && !strcmp(arguments[3], "two words"));
        CHECK(!strcmp(environ[0], "A=1") && !strcmp(environ[1], "EMPTY=") && !strcmp(environ[2], "B=x=y") &&
              !environ[3]);
        return 0;
    }
    if (!strcmp(arguments[1], "--signals")) {
        struct sigaction was;
        sigset_t set;
        CHECK(sigaction(SIGUSR1, NULL, &was) == 0 && was.sa_handler == SIG_DFL);
        CHECK(sigaction(SIGUSR2, NULL, &was) == 0 && was.sa_handler == SIG_IGN);
        CHECK(sigprocmask(SIG_BLOCK, NULL, &set) == 0 && sigismember(&set, SIGTERM) && !sigismember(&set, SIGUSR1));
        CHECK(sigpending(&set) == 0 && sigismember(&set, SIGTERM));
        return 0;
    }
    return 98;
}

static void a_sibling_brings_no_signal_of_its_own(void) {
    IN_CHILD(maker) {
        const long sibling = syscall(SYS_clone, CLONE_PARENT | SIGKILL, 0, 0, 0, 0);
        if (sibling == 0) _exit(7);
        CHECK(sibling > 0);
    }
    CHECK_EQ(EXIT_STATUS(maker), 0);
    int status;
    CHECK(waitpid(-1, &status, 0) > 0); // unless its end has killed us
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static const struct tap_test tests[] = {
    T(fork_gives_two),
    T(exit_codes_arrive),
    T(killed_by_signal_arrives),
    T(abort_is_a_signal),
    T(wait_without_children_fails),
    T(wait_does_not_hang_when_asked),
    T(waitid_tells_all),
    T(zombies_wait_for_their_parent),
    T(ignored_children_leave_no_zombies),
    T(orphans_get_a_new_parent),
    T(a_subreaper_adopts_orphans),
    T(a_sibling_brings_no_signal_of_its_own),
    T(who_has_become_another_program_hears_of_sigchld_only),
    T(fork_is_never_interrupted),
    T(a_signal_to_a_group_misses_nobody),
    T(a_parents_death_is_told),
    T(groups_are_signalled_together),
    T(sessions_have_one_leader),
    T(vfork_lends_its_memory),
    T(exec_begins_anew),
    T(exec_failures_leave_the_caller),
    T(exec_refuses_endless_arguments),
    T(exec_passes_arguments_and_environment),
    T(exec_resets_handlers_and_keeps_ignored_signals),
    T(exec_keeps_the_process),
    T(hundred_forks),
    T(hundred_forks_one_after_the_other),
    T(a_chain_of_forks),
    T(four_processes_fork_at_once),
    T(stopped_children_are_reported),
    T(usage_is_counted),
    T(clone3_and_clone_make_processes),
    T(the_exit_of_a_thread_leader_waits_for_all),
};

int main(int count, char** arguments) {
    if (count > 1 && !strncmp(arguments[1], "--", 2)) return started_again(count, arguments);
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
