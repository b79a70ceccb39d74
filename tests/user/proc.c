// /proc: what it says of processes and of the machine, that it is right, and that it bears processes which go away.
#include "tests/user/tap.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

static char text[1 << 20];

// Reads a whole file in pieces of `piece` bytes; its length, or -1.
static ssize_t read_in(const char* path, size_t piece) {
    const int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    size_t have = 0;
    ssize_t got = 0;
    while (have < sizeof text - 1) {
        const size_t room = sizeof text - 1 - have;
        got = read(fd, text + have, piece < room ? piece : room);
        if (got <= 0) break;
        have += (size_t)got;
    }
    const int number = errno;
    close(fd);
    errno = number;
    text[have] = 0;
    return got < 0 ? -1 : (ssize_t)have;
}

static ssize_t slurp(const char* path) {
    const ssize_t length = read_in(path, 4096);
    if (length < 0) note("%s", path);
    CHECK(length >= 0);
    return length;
}

static const char* of(pid_t pid, const char* file) {
    static char path[4][128];
    static int turn;
    char* to = path[turn++ % 4];
    snprintf(to, 128, "/proc/%d/%s", (int)pid, file);
    return to;
}

// The number behind `name` in a file of lines "name: number".
static long long number_in(const char* path, const char* name) {
    slurp(path);
    const char* at = strstr(text, name);
    if (!at) note("no %s in %s", name, path);
    CHECK(at != NULL);
    return strtoll(at + strlen(name) + strspn(at + strlen(name), ":\t "), NULL, 0);
}

static const char* link_of(const char* path) {
    static char to[4096];
    const ssize_t length = readlink(path, to, sizeof to - 1);
    if (length < 0) note("%s", path);
    CHECK(length >= 0);
    to[length] = 0;
    return to;
}

static pid_t sleeping_child(void) {
    IN_CHILD(child) for (;;) pause();
    return child;
}

static void end_child(pid_t child) {
    CHECK(kill(child, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

// --- Oneself

static void self_is_whoever_looks(void) {
    char want[32];
    snprintf(want, sizeof want, "%d", (int)getpid());
    CHECK(strcmp(link_of("/proc/self"), want) == 0);
    snprintf(want, sizeof want, "%d/task/%d", (int)getpid(), (int)getpid());
    CHECK(strcmp(link_of("/proc/thread-self"), want) == 0);
    IN_CHILD(child) {
        snprintf(want, sizeof want, "%d", (int)getpid());
        CHECK(strcmp(link_of("/proc/self"), want) == 0);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void status_says_who_a_process_is(void) {
    CHECK_EQ(number_in("/proc/self/status", "\nPid:"), getpid());
    CHECK_EQ(number_in("/proc/self/status", "\nPPid:"), getppid());
    CHECK_EQ(number_in("/proc/self/status", "\nUid:"), getuid());
    CHECK_EQ(number_in("/proc/self/status", "\nGid:"), getgid());
    CHECK_EQ(number_in("/proc/self/status", "\nThreads:"), 1);
    CHECK(number_in("/proc/self/status", "\nVmSize:") > 0);
    signal(SIGUSR1, SIG_IGN);
    slurp("/proc/self/status");
    char* at = strstr(text, "SigIgn:");
    CHECK(at && (strtoull(at + 8, NULL, 16) & 1ull << (SIGUSR1 - 1)));
}

static void stat_has_52_numbers(void) {
    const pid_t child = sleeping_child();
    char state = 0;
    int pid = 0, parent = 0, group = 0, session = 0;
    while (state != 'S') {
        slurp(of(child, "stat"));
        CHECK_EQ(sscanf(text, "%d (%*[^)]) %c %d %d %d", &pid, &state, &parent, &group, &session), 5);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    CHECK_EQ(pid, child);
    CHECK_EQ(parent, getpid());
    CHECK_EQ(group, getpgrp());
    CHECK_EQ(session, getsid(0));
    int blanks = 0;
    for (const char* c = strrchr(text, ')'); *c; c++)
        blanks += *c == ' ';
    CHECK_EQ(blanks, 50);
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK_EQ(waitpid(child, NULL, WUNTRACED), child);
    slurp(of(child, "stat"));
    CHECK(strstr(text, ") T ") != NULL);
    CHECK(kill(child, SIGKILL) == 0);
    siginfo_t info;
    CHECK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    slurp(of(child, "stat"));
    CHECK(strstr(text, ") Z ") != NULL);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

static void arguments_and_environment_are_the_programs(void) {
    int ready[2];
    CHECK(pipe(ready) == 0);
    IN_CHILD(child) {
        char fd[12];
        snprintf(fd, sizeof fd, "%d", ready[1]);
        char* environment[] = {"FIRST=one", "SECOND=two", NULL};
        execve("/proc/self/exe", (char*[]){tap_arguments[0], "--wait", fd, "third word", NULL}, environment);
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    const ssize_t length = slurp(of(child, "cmdline"));
    const char* at = text + strlen(text) + 1;
    CHECK(strcmp(at, "--wait") == 0);
    at += strlen(at) + 1;
    at += strlen(at) + 1;
    CHECK(strcmp(at, "third word") == 0);
    CHECK_EQ(at + strlen(at) + 1 - text, length);
    CHECK_EQ(slurp(of(child, "environ")), sizeof "FIRST=one" + sizeof "SECOND=two");
    CHECK(memcmp(text, "FIRST=one\0SECOND=two", 21) == 0);
    end_child(child);
}

static void a_name_can_be_read_and_written(void) {
    const int fd = open("/proc/self/comm", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, "a name too long by far", 22), 22);
    slurp("/proc/self/comm");
    CHECK(strcmp(text, "a name too long\n") == 0);
    char name[16];
    CHECK(prctl(PR_GET_NAME, name) == 0);
    CHECK(strcmp(name, "a name too long") == 0);
    CHECK(prctl(PR_SET_NAME, "short") == 0);
    slurp("/proc/self/comm");
    CHECK(strcmp(text, "short\n") == 0);
    const pid_t child = sleeping_child();
    const int others = open(of(child, "comm"), O_WRONLY);
    CHECK(others >= 0);
    CHECK_ERROR(write(others, "x", 1), EINVAL);
    end_child(child);
}

static void exe_cwd_and_root_lead_to_the_things_themselves(void) {
    struct stat a, b;
    CHECK(mkdir("/tmp/proc.d", 0700) == 0 || errno == EEXIST);
    CHECK(chdir("/tmp/proc.d") == 0);
    CHECK(strcmp(link_of("/proc/self/cwd"), "/tmp/proc.d") == 0);
    CHECK(strcmp(link_of("/proc/self/root"), "/") == 0);
    CHECK(stat("/proc/self/cwd", &a) == 0 && stat(".", &b) == 0);
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK(stat("/proc/self/exe", &a) == 0);
    CHECK(stat(link_of("/proc/self/exe"), &b) == 0);
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK(rmdir("/tmp/proc.d") == 0);
    CHECK(stat("/proc/self/cwd", &a) == 0); // it has no name any more, but it is there
    CHECK(S_ISDIR(a.st_mode));
}

static void one_can_be_in_a_process_directory(void) {
    char want[64], have[64];
    snprintf(want, sizeof want, "/proc/%d", (int)getpid());
    CHECK(chdir("/proc/self") == 0);
    CHECK(getcwd(have, sizeof have) && strcmp(have, want) == 0);
    CHECK(chdir("fd") == 0);
    strcat(want, "/fd");
    CHECK(getcwd(have, sizeof have) && strcmp(have, want) == 0);
    CHECK(access("../../meminfo", R_OK) == 0);
    CHECK(chdir("../..") == 0);
    CHECK(getcwd(have, sizeof have) && strcmp(have, "/proc") == 0);
}

// --- Descriptors

static void a_file_is_opened_again_with_a_position_of_its_own(void) {
    const int file = open("/tmp/proc.file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(file >= 0);
    CHECK_EQ(write(file, "0123456789", 10), 10);
    char path[64], bytes[10];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    CHECK(strcmp(link_of(path), "/tmp/proc.file") == 0);
    const int again = open(path, O_RDONLY);
    CHECK(again >= 0);
    CHECK_EQ(read(again, bytes, 10), 10);
    CHECK_ERROR(write(again, "x", 1), EBADF);
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 10);
    const int reader = open("/tmp/proc.file", O_RDONLY);
    snprintf(path, sizeof path, "/proc/self/fd/%d", reader);
    const int writer = open(path, O_WRONLY | O_TRUNC);
    CHECK(writer >= 0);
    CHECK_EQ(lseek(reader, 0, SEEK_END), 0);
    CHECK(unlink("/tmp/proc.file") == 0);
    CHECK(open(path, O_RDONLY) >= 0);
    CHECK(open(path, O_RDWR | O_CREAT, 0600) >= 0);
}

static void pipes_and_their_like_are_opened_as_the_same(void) {
    int ends[2];
    char path[64], byte;
    CHECK(pipe(ends) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
    struct stat s, linked;
    CHECK(fstat(ends[1], &s) == 0 && stat(path, &linked) == 0);
    CHECK_EQ(s.st_ino, linked.st_ino);
    char want[64];
    snprintf(want, sizeof want, "pipe:[%llu]", (unsigned long long)s.st_ino);
    CHECK(strcmp(link_of(path), want) == 0);
    const int again = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(again >= 0);
    CHECK_EQ(write(again, "x", 1), 1);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", eventfd(0, 0));
    CHECK(strcmp(link_of(path), "anon_inode:[eventfd]") == 0);
    close(ends[0]);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    CHECK_ERROR(open(path, O_RDONLY), ENOENT);
    CHECK_ERROR(readlink(path, want, sizeof want), ENOENT);
}

static void standard_streams_have_names(void) {
    int ends[2];
    char bytes[8];
    CHECK(pipe(ends) == 0);
    IN_CHILD(child) {
        CHECK(dup2(ends[1], 1) == 1);
        const int out = open("/dev/stdout", O_WRONLY | O_CREAT | O_APPEND, 0666);
        CHECK(out > 1);
        CHECK_EQ(write(out, "through", 7), 7);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(read(ends[0], bytes, 8), 7);
    CHECK(memcmp(bytes, "through", 7) == 0);
}

static void the_list_of_descriptors_is_true(void) {
    CHECK_EQ(dup2(0, 77), 77);
    DIR* list = opendir("/proc/self/fd");
    CHECK(list != NULL);
    int count = 0, has_77 = 0;
    for (struct dirent* e; (e = readdir(list));) {
        if (e->d_name[0] == '.') continue;
        count++;
        has_77 += strcmp(e->d_name, "77") == 0;
        CHECK(fcntl(atoi(e->d_name), F_GETFD) >= 0);
    }
    CHECK_EQ(has_77, 1);
    CHECK(count >= 3);
    closedir(list);
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(lseek(file, 42, SEEK_SET), 42);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", file);
    CHECK_EQ(number_in(path, "pos:"), 42);
    CHECK(number_in(path, "flags:") & O_CLOEXEC);
}

// --- Memory

static void maps_of_a_thousand_mappings_are_whole_in_every_piece(void) {
    enum { count = 1000 };
    char* at = anonymous((size_t)2 * count * page);
    for (int i = 0; i < count; i++)
        CHECK(mprotect(at + (size_t)2 * i * page, page, PROT_READ) == 0);
    for (int way = 0; way < 3; way++) {
        CHECK(read_in("/proc/self/maps", (size_t[]){777, 4096, sizeof text}[way]) > 0);
        int found = 0;
        uintptr_t last_end = 0;
        for (char* line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            unsigned long base, end;
            char access[5];
            CHECK_EQ(sscanf(line, "%lx-%lx %4s", &base, &end, access), 3);
            CHECK(base >= last_end && end > base);
            last_end = end;
            found += base >= (uintptr_t)at && end <= (uintptr_t)at + (size_t)2 * count * page;
        }
        CHECK_EQ(found, 2 * count);
    }
}

static void maps_name_the_stack_the_heap_and_the_program(void) {
    int local;
    const long heap = syscall(SYS_brk, 0); // C libraries may use none
    CHECK(syscall(SYS_brk, heap + page) >= heap + page);
    slurp("/proc/self/maps");
    CHECK(strstr(text, "[heap]") && strstr(text, "[vdso]"));
    char* stack = strstr(text, "[stack]");
    CHECK(stack != NULL);
    while (stack > text && stack[-1] != '\n')
        stack--;
    unsigned long base, end;
    CHECK_EQ(sscanf(stack, "%lx-%lx", &base, &end), 2);
    CHECK(base <= (uintptr_t)&local && (uintptr_t)&local < end);
    CHECK(strstr(text, link_of("/proc/self/exe")) != NULL);
}

// The line of a mapping that begins there, as maps has it; what follows it is cut off.
static char* line_of_mapping(const void* at) {
    char base[32];
    slurp("/proc/self/maps");
    snprintf(base, sizeof base, "%08lx-", (unsigned long)(uintptr_t)at);
    char* line = strstr(text, base);
    CHECK(line != NULL && (line == text || line[-1] == '\n'));
    line[strcspn(line, "\n")] = 0;
    return line;
}

static int ends_with(const char* line, const char* end) {
    const size_t all = strlen(line), some = strlen(end);
    const int is_so = all > some && !strcmp(line + all - some, end);
    if (!is_so) note("%s", line);
    return is_so;
}

static void maps_name_the_files(void) {
    char path[64], want[200];
    snprintf(path, sizeof path, "/tmp/maps.%d", getpid());
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    struct stat s;
    CHECK(fd >= 0 && ftruncate(fd, 4 * page) == 0 && fstat(fd, &s) == 0);
    char* own = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char* all = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page);
    CHECK(own != MAP_FAILED && all != MAP_FAILED && close(fd) == 0);
    own[0] = 1;
    snprintf(want, sizeof want, " %s", path);
    CHECK(ends_with(line_of_mapping(own), want));
    unsigned long offset, inode;
    CHECK_EQ(sscanf(line_of_mapping(all), "%*s %*s %lx %*s %lu", &offset, &inode), 2);
    CHECK_EQ(offset, page);
    CHECK_EQ(inode, s.st_ino);
    CHECK(!strncmp(strchr(line_of_mapping(own), ' '), " rw-p ", 6) &&
          !strncmp(strchr(line_of_mapping(all), ' '), " rw-s ", 6));
    // Its halves, and what a child has of it.
    CHECK(mprotect(all + page, page, PROT_READ) == 0);
    CHECK(ends_with(line_of_mapping(all), want) && ends_with(line_of_mapping(all + 2 * page), want));
    CHECK_EQ(sscanf(line_of_mapping(all + 2 * page), "%*s %*s %lx", &offset), 1);
    CHECK_EQ(offset, 3 * page);
    IN_CHILD(child) CHECK(ends_with(line_of_mapping(own), want) && ends_with(line_of_mapping(all + page), want));
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(unlink(path) == 0);
    snprintf(want, sizeof want, " %s (deleted)", path);
    CHECK(ends_with(line_of_mapping(own), want));

    fd = memfd_create("some name", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, page) == 0);
    char* memory = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(ends_with(line_of_mapping(memory), " /memfd:some name (deleted)"));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(!strcmp(link_of(path), "/memfd:some name (deleted)"));
    char* nameless = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(ends_with(line_of_mapping(nameless), " /dev/zero (deleted)"));
    char* fresh = anonymous(page);
    CHECK(ends_with(line_of_mapping(fresh), " 0 "));
}

// A file system stays in use as long as one of its files is mapped.
static void a_mapping_keeps_the_mount(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/mapped.%d", getpid());
    CHECK(mkdir(path, 0700) == 0);
    if (unshare(CLONE_NEWNS) == 0 ? mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)
                                  : errno != ENOSYS && errno != EINVAL)
        tap_skip("nobody may mount here");
    CHECK(mount("none", path, "tmpfs", 0, NULL) == 0);
    char file[80];
    snprintf(file, sizeof file, "%s/f", path);
    const int fd = open(file, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0 && ftruncate(fd, page) == 0);
    char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED && close(fd) == 0);
    CHECK_ERROR(umount2(path, 0), EBUSY);
    at[0] = 1;
    CHECK(munmap(at, page) == 0);
    CHECK(umount2(path, 0) == 0 && rmdir(path) == 0);
}

static void statm_counts_pages(void) {
    long before, after;
    slurp("/proc/self/statm");
    CHECK_EQ(sscanf(text, "%ld", &before), 1);
    CHECK(mmap(NULL, 100 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    slurp("/proc/self/statm");
    CHECK_EQ(sscanf(text, "%ld", &after), 1);
    CHECK_EQ(after, before + 100);
}

// --- Threads

static pid_t other_tid;
static int other_go_on[2];
static void* be_other(void* argument) {
    prctl(PR_SET_NAME, "other");
    __atomic_store_n(&other_tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    char byte;
    (void)!read(other_go_on[0], &byte, 1);
    return argument;
}

static void threads_stand_under_task(void) {
    CHECK(pipe(other_go_on) == 0);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, be_other, NULL) == 0);
    while (!__atomic_load_n(&other_tid, __ATOMIC_ACQUIRE))
        sched_yield();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", other_tid);
    slurp(path);
    CHECK(strcmp(text, "other\n") == 0);
    CHECK_EQ(number_in("/proc/self/status", "\nThreads:"), 2);
    CHECK_EQ(number_in(of(other_tid, "status"), "\nTgid:"), getpid()); // hidden, but there
    DIR* list = opendir("/proc/self/task");
    CHECK(list != NULL);
    int count = 0;
    for (struct dirent* e; (e = readdir(list));)
        count += e->d_name[0] != '.';
    closedir(list);
    CHECK_EQ(count, 2);
    list = opendir("/proc");
    for (struct dirent* e; (e = readdir(list));)
        CHECK(atoi(e->d_name) != other_tid);
    closedir(list);
    CHECK_EQ(write(other_go_on[1], "x", 1), 1);
    CHECK(pthread_join(other, NULL) == 0);
    while (access(path, F_OK) == 0) // joined, it may still be on its way out
        sleep_ms(1);
    CHECK_ERROR(access(path, F_OK), ENOENT);
}

// --- Rights

static void others_see_little_of_a_process(void) {
    if (getuid() != 0) tap_skip("needs root");
    const pid_t roots = sleeping_child();
    IN_CHILD(child) {
        CHECK(setgid(1000) == 0 && setuid(1000) == 0);
        char path[4096];
        CHECK_ERROR(open(of(roots, "environ"), O_RDONLY), EACCES);
        CHECK_ERROR(readlink(of(roots, "exe"), path, sizeof path), EACCES);
        CHECK_ERROR(readlink(of(roots, "cwd"), path, sizeof path), EACCES);
        CHECK_ERROR(open(of(roots, "fd"), O_RDONLY | O_DIRECTORY), EACCES);
        CHECK_ERROR(open(of(roots, "fd/0"), O_RDONLY), EACCES);
        CHECK_ERROR(open(of(roots, "comm"), O_WRONLY), EACCES);
        const int maps = open(of(roots, "maps"), O_RDONLY);
        CHECK(maps < 0 ? errno == EACCES : read(maps, path, 1) < 0 && errno == EACCES);
        slurp(of(roots, "status"));
        slurp(of(roots, "stat"));
        slurp(of(roots, "cmdline"));
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    end_child(roots);
}

static void an_oom_adjustment_is_kept(void) {
    const int fd = open("/proc/self/oom_score_adj", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, "500\n", 4), 4);
    CHECK_EQ(number_in("/proc/self/oom_score_adj", ""), 500);
    CHECK_ERROR(write(fd, "1001", 4), EINVAL);
    CHECK_ERROR(write(fd, "much", 4), EINVAL);
    IN_CHILD(child) CHECK_EQ(number_in("/proc/self/oom_score_adj", ""), 500);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void limits_are_listed(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK_EQ(number_in("/proc/self/limits", "Max open files"), limit.rlim_cur);
}

// --- The machine

static void the_machine_is_described(void) {
    struct sysinfo info;
    struct utsname name;
    CHECK(sysinfo(&info) == 0 && uname(&name) == 0);
    CHECK(number_in("/proc/meminfo", "MemTotal") > 1000);
    CHECK(number_in("/proc/meminfo", "MemFree") <= number_in("/proc/meminfo", "MemTotal"));
    slurp("/proc/sys/kernel/osrelease");
    CHECK(strncmp(text, name.release, strlen(name.release)) == 0);
    slurp("/proc/sys/kernel/hostname");
    CHECK(strncmp(text, name.nodename, strlen(name.nodename)) == 0);
    double up, idle;
    slurp("/proc/uptime");
    CHECK_EQ(sscanf(text, "%lf %lf", &up, &idle), 2);
    CHECK(up > 0 && up - (double)info.uptime < 30);
    slurp("/proc/loadavg");
    float a, b, c;
    int running, all, last;
    CHECK_EQ(sscanf(text, "%f %f %f %d/%d %d", &a, &b, &c, &running, &all, &last), 6);
    CHECK(number_in("/proc/stat", "processes") > 1);
    CHECK(number_in("/proc/stat", "btime") > 1000000000);
    CHECK(number_in("/proc/stat", "ctxt") > 0);
    slurp("/proc/cpuinfo");
    CHECK(strstr(text, "processor\t: 0") != NULL);
    slurp("/proc/filesystems");
    CHECK(strstr(text, "nodev\tproc\n") != NULL);
    CHECK(number_in("/proc/sys/kernel/pid_max", "") >= 32768);
    CHECK(number_in("/proc/sys/fs/pipe-max-size", "") >= 4096);
}

static void uuids_are_fresh_and_the_boot_has_one(void) {
    char first[64];
    CHECK_EQ(slurp("/proc/sys/kernel/random/uuid"), 37);
    strcpy(first, text);
    slurp("/proc/sys/kernel/random/uuid");
    CHECK(strcmp(first, text) != 0);
    slurp("/proc/sys/kernel/random/boot_id");
    strcpy(first, text);
    slurp("/proc/sys/kernel/random/boot_id");
    CHECK(strcmp(first, text) == 0);
}

static void mounts_are_listed(void) {
    slurp("/proc/mounts");
    CHECK(strstr(text, " / ") && strstr(text, " /proc proc "));
    slurp("/proc/self/mountinfo");
    CHECK(strstr(text, " /proc ") && strstr(text, " - proc "));
    if (getuid() != 0 || mkdir("/tmp/proc m", 0700) < 0) return;
    if (mount("proc", "/tmp/proc m", "proc", 0, NULL) == 0) {
        slurp("/tmp/proc m/self/mounts");
        CHECK(strstr(text, "/tmp/proc\\040m proc ") != NULL);
        CHECK(umount("/tmp/proc m") == 0);
    }
    CHECK(rmdir("/tmp/proc m") == 0);
}

static void nothing_can_be_made_there(void) {
    CHECK(open("/proc/x", O_CREAT | O_WRONLY, 0600) < 0);
    CHECK(mkdir("/proc/self/x", 0700) < 0);
    CHECK(unlink("/proc/self/stat") < 0);
    CHECK(rename("/proc/meminfo", "/proc/x") < 0);
    CHECK_ERROR(access("/proc/0", F_OK), ENOENT);
    CHECK_ERROR(access("/proc/00001", F_OK), ENOENT);
    CHECK_ERROR(access("/proc/99999999999999999999", F_OK), ENOENT);
    CHECK_ERROR(access("/proc/self/fd/-1", F_OK), ENOENT);
    CHECK_ERROR(access("/proc/self/fd/4294967296", F_OK), ENOENT);
    const int fd = open("/proc/meminfo", O_RDONLY);
    CHECK_ERROR(read(fd, (void*)8, 100), EFAULT);
    CHECK_ERROR(mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0, errno);
}

static void a_text_can_be_read_at_any_place(void) {
    const int fd = open("/proc/self/limits", O_RDONLY);
    char whole[4096], part[100];
    const ssize_t length = read(fd, whole, sizeof whole);
    CHECK(length > 200);
    CHECK_EQ(pread(fd, part, 100, 100), 100);
    CHECK(memcmp(whole + 100, part, 100) == 0);
    CHECK_EQ(read(fd, part, 100), 0);
    CHECK_EQ(pread(fd, part, 100, 1 << 30), 0);
    CHECK_EQ(lseek(fd, 50, SEEK_SET), 50);
    CHECK_EQ(read(fd, part, 100), 100);
    CHECK(memcmp(whole + 50, part, 100) == 0);
}

// --- Processes that go

static void an_open_file_of_a_process_that_is_gone_says_so(void) {
    const pid_t child = sleeping_child();
    const int status = open(of(child, "status"), O_RDONLY);
    const int folder = open(of(child, ""), O_RDONLY | O_DIRECTORY);
    CHECK(status >= 0 && folder >= 0);
    end_child(child);
    CHECK_ERROR(read(status, text, 100), ESRCH);
    CHECK(openat(folder, "status", O_RDONLY) < 0);
    CHECK_ERROR(access(of(child, "status"), F_OK), ENOENT);
}

// Reads all that there is in a directory of a process, whatever comes of it.
static void read_all_in(const char* folder, int depth) {
    DIR* list = opendir(folder);
    if (!list) return;
    for (struct dirent* e; (e = readdir(list));) {
        char path[512];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        struct stat s;
        if (lstat(path, &s) < 0) continue;
        if (S_ISDIR(s.st_mode)) {
            if (depth < 2) read_all_in(path, depth + 1);
        } else if (S_ISLNK(s.st_mode)) {
            char to[512];
            (void)!readlink(path, to, sizeof to);
            (void)stat(path, &s);
        } else {
            const int fd = open(path, O_RDONLY | O_NONBLOCK);
            if (fd < 0) continue;
            char bytes[512];
            for (int turn = 0; turn < 4 && read(fd, bytes, sizeof bytes) > 0; turn++) {
            }
            close(fd);
        }
    }
    closedir(list);
}

static void everything_can_be_read_of_who_exits_meanwhile(void) {
    enum { workers = 4, turns = 15 };
    for (int worker = 0; worker < workers; worker++) {
        IN_CHILD(reader) {
            for (int turn = 0; turn < turns; turn++) {
                IN_CHILD(victim) {
                    (void)!dup(0);
                    IN_CHILD(below) nanosleep(&(struct timespec){.tv_nsec = 1000000 * (turn % 5)}, NULL);
                    (void)below;
                    nanosleep(&(struct timespec){.tv_nsec = 2000000 * (turn % 7)}, NULL);
                    if (turn % 3 == 0) execl("/proc/self/exe", "proc", "--nothing", (char*)NULL);
                }
                for (int round = 0; round < 3; round++)
                    read_all_in(of(victim, ""), 0);
                (void)EXIT_STATUS(victim);
            }
        }
        (void)reader;
    }
    for (int worker = 0, raw; worker < workers; worker++) {
        CHECK(wait(&raw) > 0);
        CHECK(WIFEXITED(raw) && WEXITSTATUS(raw) == 0);
    }
}

static void everyone_can_be_listed_while_they_come_and_go(void) {
    IN_CHILD(maker) for (int i = 0; i < 150; i++) {
        IN_CHILD(child) _exit(0);
        (void)waitpid(child, NULL, 0);
    }
    for (int raw, found; waitpid(maker, &raw, WNOHANG) == 0;) {
        DIR* list = opendir("/proc");
        CHECK(list != NULL);
        found = 0;
        for (struct dirent* e; (e = readdir(list));)
            found += atoi(e->d_name) == getpid();
        closedir(list);
        CHECK_EQ(found, 1);
    }
}

static const struct tap_test tests[] = {
    T(self_is_whoever_looks),
    T(status_says_who_a_process_is),
    T(stat_has_52_numbers),
    T(arguments_and_environment_are_the_programs),
    T(a_name_can_be_read_and_written),
    T(exe_cwd_and_root_lead_to_the_things_themselves),
    T(one_can_be_in_a_process_directory),
    T(a_file_is_opened_again_with_a_position_of_its_own),
    T(pipes_and_their_like_are_opened_as_the_same),
    T(standard_streams_have_names),
    T(the_list_of_descriptors_is_true),
    T(maps_of_a_thousand_mappings_are_whole_in_every_piece),
    T(maps_name_the_stack_the_heap_and_the_program),
    T(maps_name_the_files),
    T(a_mapping_keeps_the_mount),
    T(statm_counts_pages),
    T(threads_stand_under_task),
    T(others_see_little_of_a_process),
    T(an_oom_adjustment_is_kept),
    T(limits_are_listed),
    T(the_machine_is_described),
    T(uuids_are_fresh_and_the_boot_has_one),
    T(mounts_are_listed),
    T(nothing_can_be_made_there),
    T(a_text_can_be_read_at_any_place),
    T(an_open_file_of_a_process_that_is_gone_says_so),
    T(everything_can_be_read_of_who_exits_meanwhile),
    T(everyone_can_be_listed_while_they_come_and_go),
};

__attribute__((noreturn)) static void wait_for_the_end(int ready) {
    (void)!write(ready, "x", 1);
    for (;;)
        pause();
}

int main(int count, char** arguments) {
    if (count > 1 && !strcmp(arguments[1], "--nothing")) return 0;
    if (count > 2 && !strcmp(arguments[1], "--wait")) wait_for_the_end(atoi(arguments[2]));
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
