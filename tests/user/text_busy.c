// A file that runs is not written to, and one that is written to does not run: ETXTBSY.
#include "tests/user/tap.h"

#include <sys/sendfile.h>
#include <sys/stat.h>

static char base[64];

static void copy_to(const char* path) {
    const int from = open(tap_arguments[0], O_RDONLY), to = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0700);
    CHECK(from >= 0 && to >= 0);
    struct stat s;
    CHECK(fstat(from, &s) == 0);
    for (off_t left = s.st_size; left > 0;) {
        const ssize_t moved = sendfile(to, from, NULL, left);
        CHECK(moved > 0);
        left -= moved;
    }
    CHECK(close(from) == 0 && close(to) == 0);
}

static void begin(void) {
    snprintf(base, sizeof base, "/tmp/text_busy.%d", getpid());
    CHECK(mkdir(base, 0777) == 0 && chdir(base) == 0);
    copy_to("program");
}

// A program that says that it runs and ends when it reads the end of its input.
static int be_waiting(void) {
    char byte;
    if (write(1, "r", 1) != 1) return 1;
    return read(0, &byte, 1) != 0;
}

struct running {
    pid_t pid;
    int to, from;
};

static struct running start(const char* path) {
    int in[2], out[2];
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    IN_CHILD(child) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        char* arguments[] = {"x", "--be-waiting", NULL};
        execve(path, arguments, arguments + 2);
        CHECK(!"exec");
    }
    close(in[0]);
    close(out[1]);
    char byte;
    CHECK_EQ(read(out[0], &byte, 1), 1);
    return (struct running){child, in[1], out[0]};
}

static void end(struct running r) {
    close(r.to);
    CHECK_EQ(EXIT_STATUS(r.pid), 0);
    close(r.from);
}

static void cannot_be_written(const char* path) {
    CHECK_ERROR(open(path, O_WRONLY), ETXTBSY);
    CHECK_ERROR(open(path, O_RDWR), ETXTBSY);
    CHECK_ERROR(open(path, O_RDWR | O_CREAT, 0600), ETXTBSY);
    CHECK_ERROR(open(path, O_RDONLY | O_TRUNC), ETXTBSY);
    CHECK_ERROR(open(path, O_WRONLY | O_APPEND), ETXTBSY);
    CHECK_ERROR(truncate(path, 0), ETXTBSY);
    struct stat s;
    CHECK(stat(path, &s) == 0 && s.st_size > 0);
    CHECK(open(path, O_RDONLY) >= 0 && open(path, O_PATH) >= 0);
}

static void what_runs_is_not_written_to(void) {
    begin();
    struct running r = start("./program");
    cannot_be_written("program");
    CHECK(link("program", "second") == 0);
    cannot_be_written("second");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", r.pid);
    cannot_be_written(path);
    // Names and attributes are another matter.
    CHECK(chmod("program", 0755) == 0 && rename("program", "renamed") == 0 && unlink("second") == 0);
    cannot_be_written("renamed");
    end(r);
    const int fd = open("renamed", O_RDWR | O_TRUNC);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1);
}

static void it_runs_as_long_as_anybody_runs_it(void) {
    begin();
    struct running one = start("./program"), two = start("./program");
    end(one);
    cannot_be_written("program");
    end(two);
    CHECK(open("program", O_WRONLY) >= 0);
}

static void who_has_become_another_program_runs_the_first_no_more(void) {
    begin();
    copy_to("other");
    int out[2];
    CHECK(pipe2(out, O_CLOEXEC) == 0);
    IN_CHILD(child) {
        dup2(out[1], 1);
        char* arguments[] = {"x", "--be-another", "./other", NULL};
        execve("./program", arguments, arguments + 3);
        CHECK(!"exec");
    }
    close(out[1]);
    char byte;
    CHECK_EQ(read(out[0], &byte, 1), 1);
    CHECK(open("program", O_WRONLY) >= 0);
    cannot_be_written("other");
    CHECK(kill(child, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

static int be_another(char* path) {
    char* arguments[] = {"x", "--be-stopped", NULL};
    execve(path, arguments, arguments + 2);
    return 1;
}

static int be_stopped(void) {
    if (write(1, "r", 1) != 1) return 1;
    for (;;)
        pause();
}

static void a_zombie_runs_nothing(void) {
    begin();
    IN_CHILD(child) {
        char* arguments[] = {"x", "--end", NULL};
        execve("./program", arguments, arguments + 2);
        CHECK(!"exec");
    }
    siginfo_t info;
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    CHECK(open("program", O_WRONLY) >= 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void does_not_run(const char* path) {
    char* arguments[] = {"x", NULL};
    CHECK_ERROR(execve(path, arguments, arguments + 1), ETXTBSY);
}

static void what_is_open_for_writing_does_not_run(void) {
    begin();
    int fd = open("program", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    does_not_run("./program");
    const int second = open("program", O_RDWR | O_CLOEXEC);
    CHECK(close(fd) == 0);
    does_not_run("./program");
    CHECK(close(second) == 0);
    end(start("./program"));
    // A script too, and before anybody looks what is in it.
    fd = open("script", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    CHECK(write(fd, "#!./program --end\n", 18) == 18);
    does_not_run("./script");
    CHECK(close(fd) == 0);
    IN_CHILD(child) {
        char* arguments[] = {"x", NULL};
        execve("./script", arguments, arguments + 1);
        CHECK(!"exec");
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    // Its interpreter as well.
    fd = open("program", O_WRONLY | O_CLOEXEC);
    does_not_run("./script");
    CHECK(close(fd) == 0);
}

static void mappings_count_as_what_they_were_opened_for(void) {
    begin();
    // To read: whether the mapping can be written to is nobody's business.
    int fd = open("program", O_RDONLY);
    char* own = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(own != MAP_FAILED && close(fd) == 0);
    own[0] = 'x';
    end(start("./program"));
    CHECK(open("program", O_RDONLY) >= 0);
    CHECK(munmap(own, page) == 0);
    // To write: a shared mapping writes after the descriptor is closed.
    fd = open("program", O_RDWR);
    char* all = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(all != MAP_FAILED && close(fd) == 0);
    does_not_run("./program");
    CHECK(munmap(all, page) == 0);
    does_not_run("./program");
    CHECK(munmap(all + page, page) == 0);
    end(start("./program"));
}

static void a_memory_file_runs_when_it_is_no_longer_written(void) {
    begin();
    const int from = open("program", O_RDONLY), to = memfd_create("program", MFD_CLOEXEC);
    struct stat s;
    CHECK(to >= 0 && fstat(from, &s) == 0);
    for (off_t left = s.st_size; left > 0;) {
        const ssize_t moved = sendfile(to, from, NULL, left);
        CHECK(moved > 0);
        left -= moved;
    }
    char* arguments[] = {"x", "--end", NULL};
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", to);
    CHECK_ERROR(execve(path, arguments, arguments + 2), ETXTBSY);
    const int to_read = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(to_read >= 0 && close(to) == 0);
    IN_CHILD(child) {
        syscall(SYS_execveat, to_read, "", arguments, arguments + 2, AT_EMPTY_PATH);
        CHECK(!"exec");
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

enum { turns = 60 };

// However the two meet, it never both runs and is written to.
static void writers_and_runners_race(void) {
    begin();
    IN_CHILD(writer) {
        for (int at = 0; at < turns; at++) {
            const int fd = open("program", O_WRONLY);
            CHECK(fd >= 0 || errno == ETXTBSY);
            if (fd >= 0) close(fd);
            sched_yield();
        }
    }
    int ran = 0, refused = 0;
    for (int at = 0; at < turns; at++) {
        IN_CHILD(child) {
            char* arguments[] = {"x", "--end", NULL};
            execve("./program", arguments, arguments + 2);
            _exit(errno == ETXTBSY ? 3 : 4);
        }
        const int status = EXIT_STATUS(child);
        CHECK(status == 0 || status == 3);
        status ? refused++ : ran++;
    }
    note("%d ran, %d were refused", ran, refused);
    CHECK_EQ(EXIT_STATUS(writer), 0);
    end(start("./program"));
    CHECK(open("program", O_WRONLY) >= 0);
}

int main(int count, char** arguments) {
    static const struct tap_test tests[] = {
        T(what_runs_is_not_written_to),
        T(it_runs_as_long_as_anybody_runs_it),
        T(who_has_become_another_program_runs_the_first_no_more),
        T(a_zombie_runs_nothing),
        T(what_is_open_for_writing_does_not_run),
        T(mappings_count_as_what_they_were_opened_for),
        T(a_memory_file_runs_when_it_is_no_longer_written),
        T(writers_and_runners_race),
    };
    if (count > 1 && !strcmp(arguments[1], "--be-waiting")) return be_waiting();
    if (count > 1 && !strcmp(arguments[1], "--be-another")) return be_another(arguments[2]);
    if (count > 1 && !strcmp(arguments[1], "--be-stopped")) return be_stopped();
    if (count > 1 && !strcmp(arguments[1], "--end")) return 0;
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
