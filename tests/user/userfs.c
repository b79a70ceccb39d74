// File systems in programs: the file tests of the VFS on one in memory, an archive, and servers that die or say
// nothing.
#define _GNU_SOURCE // prlimit
#include "tests/user/userfs_mount.h"

#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

static void start_program(const char* program, const char* argument) {
    server = fork();
    CHECK(server >= 0);
    if (!server) {
        execl(program, program, name, argument, (char*)NULL);
        _exit(127);
    }
    wait_for_service();
}

static void mount_with(const char* options) {
    start_program("/bin/memfs", NULL);
    CHECK(mount(name, base, "user", 0, options) == 0);
    CHECK(chdir(base) == 0);
}

static void fill_with_pattern(unsigned char* bytes, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(i * 7 + (i >> 11) + seed);
}

static void put(const char* path, const void* bytes, size_t count) {
    const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    CHECK(fd >= 0 && write(fd, bytes, count) == (ssize_t)count && close(fd) == 0);
}

// --- What other tests promise of files

// Runs tests of another program with its files here.
static int failed_of_others;
static void passes(const char* program, const char* only, ...) {
    const char* arguments[40] = {program, only};
    va_list more;
    va_start(more, only);
    for (int i = 2; only && i < 39 && (arguments[i] = va_arg(more, const char*)); i++)
        ;
    va_end(more);
    int out[2];
    CHECK(pipe(out) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execv(program, (char**)arguments);
        _exit(127);
    }
    close(out[1]);
    static char text[1 << 16];
    size_t used = 0;
    for (ssize_t got; (got = read(out[0], text + used, sizeof text - 1 - used)) > 0; used += got)
        ;
    text[used] = 0;
    close(out[0]);
    const int status = EXIT_STATUS(child);
    failed_of_others |= status;
    for (char* line = strtok(text, "\n"); line && status; line = strtok(NULL, "\n"))
        if (strncmp(line, "ok", 2)) note("%s: %s", program, line);
}

// These work in /tmp.
static void begin_in_tmp(void) {
    begin();
    start_program("/bin/memfs", NULL);
    CHECK(mount(name, "/tmp", "user", 0, NULL) == 0);
}
static void end_in_tmp(void) {
    CHECK(umount("/tmp") == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(rmdir(base) == 0);
    CHECK_EQ(failed_of_others, 0);
}

static void the_tests_of_trees_pass(void) {
    begin_in_tmp();
    passes("/tests/tree", "bad_paths", "long_paths", "descriptors_as_directories", "open_flags", "open_by_path_only",
           "appends_are_never_mixed", "listing", "a_removed_directory_lists_nothing", "times_are_set",
           "umask_takes_bits_away", "rights_of_somebody", "writing_takes_set_id_away", "programs_by_descriptor",
           "scripts_name_their_interpreter", "a_changed_root_cannot_be_left", "many_processes_in_one_directory", NULL);
    end_in_tmp();
}

static void the_tests_of_removed_directories_pass(void) {
    begin_in_tmp();
    passes("/tests/removed", NULL);
    end_in_tmp();
}

static void the_tests_of_paths_pass(void) {
    begin_in_tmp();
    passes("/tests/paths", NULL);
    end_in_tmp();
}

static void the_tests_of_locks_mappings_and_running_programs_pass(void) {
    begin_in_tmp();
    passes("/tests/locks", NULL);
    passes("/tests/mapped", NULL);
    passes("/tests/text_busy", "what_runs_is_not_written_to", "it_runs_as_long_as_anybody_runs_it",
           "who_has_become_another_program_runs_the_first_no_more", "a_zombie_runs_nothing",
           "what_is_open_for_writing_does_not_run", "writers_and_runners_race", NULL);
    end_in_tmp();
}

static void a_mount_waits_for_its_service(void) {
    begin();
    IN_CHILD(mounts) CHECK(mount(name, base, "user", 0, "wait") == 0);
    sleep_ms(50);
    start_program("/bin/memfs", NULL);
    CHECK_EQ(EXIT_STATUS(mounts), 0);
    CHECK(chdir(base) == 0);
    put("file", "text", 4);
    end();
    IN_CHILD(waits) mount("none", "/tmp", "user", 0, "wait");
    sleep_ms(50);
    CHECK(kill(waits, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(waits), SIGKILL);
}

// --- Bytes

// Each pair of offset and length is read back through a second mount, which knows nothing yet.
static void what_was_written_is_at_the_server(void) {
    static unsigned char bytes[3 * mib], got[3 * mib];
    static const struct {
        size_t at, count;
    } pieces[] = {{0, 1}, {1, 4095}, {4095, 2}, {100, 70000}, {65536, 65536}, {mib - 1, 3}, {mib, 2 * mib}, {5, 5000}};
    begin();
    mount_with(NULL);
    CHECK(mkdir("/tmp/second", 0755) == 0);
    CHECK(mount(name, "/tmp/second", "user", 0, NULL) == 0);
    const int fd = open("f", O_CREAT | O_RDWR, 0644);
    CHECK(fd >= 0);
    unsigned char* source = mmap(NULL, sizeof bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(source != MAP_FAILED);
    size_t end = 0;
    for (unsigned i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        fill_with_pattern(source, pieces[i].count, i);
        memcpy(bytes + pieces[i].at, source, pieces[i].count);
        CHECK_EQ(pwrite(fd, source, pieces[i].count, pieces[i].at), pieces[i].count);
        if (pieces[i].at + pieces[i].count > end) end = pieces[i].at + pieces[i].count;
    }
    memset(source, 0xee, sizeof bytes); // what was lent is not seen to change
    CHECK_EQ(pread(fd, got, sizeof got, 0), end);
    CHECK(!memcmp(got, bytes, end));
    const int other = open("/tmp/second/f", O_RDONLY);
    CHECK(other >= 0);
    struct stat is;
    CHECK(fstat(other, &is) == 0);
    CHECK_EQ(is.st_size, end);
    memset(got, 0, sizeof got);
    for (size_t at = 0, step = 1; at < end; at += step, step = step * 3 + 1) {
        const size_t most = step < end - at ? step : end - at;
        CHECK_EQ(pread(other, got + at, most, at), most);
    }
    CHECK(!memcmp(got, bytes, end));
    // Shorter and longer again: zeroes.
    CHECK(ftruncate(fd, 5000) == 0 && ftruncate(fd, 10000) == 0);
    CHECK_EQ(pread(fd, got, sizeof got, 0), 10000);
    for (int i = 5000; i < 10000; i++)
        CHECK(got[i] == 0);
    CHECK(!memcmp(got, bytes, 5000));
    CHECK(close(other) == 0 && close(fd) == 0 && umount("/tmp/second") == 0);
    CHECK_EQ(EXIT_STATUS(server), 0); // it ends with the first that goes
    CHECK_ERROR(open("new", O_CREAT | O_RDWR, 0600), ENOTCONN);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0 && rmdir("/tmp/second") == 0);
}

// From the server's pages to the cache's and the reader's, and from the writer's to the server's.
static void whole_pages_are_not_copied(void) {
    begin();
    mount_with(NULL);
    CHECK(mkdir("/tmp/second", 0755) == 0 && mount(name, "/tmp/second", "user", 0, NULL) == 0);
    char* from = anonymous(mib);
    char* to = anonymous(mib);
    memset(from, 7, mib);
    memset(to, 1, mib);
    const int fd = open("f", O_CREAT | O_RDWR, 0644);
    CHECK(fd >= 0);
    long long before = copied();
    const long long asking = copied() - before;
    before = copied();
    const long long begun = now_ns();
    CHECK_EQ(write(fd, from, mib), mib);
    const long long written = now_ns();
    const long long by_writing = copied() - before - asking;
    const int other = open("/tmp/second/f", O_RDONLY);
    before = copied();
    const long long reads = now_ns();
    CHECK_EQ(read(other, to, mib), mib);
    const long long read_in = now_ns() - reads;
    const long long by_reading = copied() - before - asking;
    note("copied by writing a MiB: %lld (%lld ns), by reading it: %lld (%lld ns)", by_writing, written - begun,
         by_reading, read_in);
    CHECK(!memcmp(from, to, mib));
    CHECK(by_writing < page && by_reading < page); // the messages' texts
    CHECK(close(fd) == 0 && close(other) == 0 && umount("/tmp/second") == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0 && rmdir("/tmp/second") == 0);
}

static void files_are_mapped_and_run(void) {
    static unsigned char bytes[200000];
    begin();
    mount_with(NULL);
    CHECK(mkdir("/tmp/second", 0755) == 0 && mount(name, "/tmp/second", "user", 0, NULL) == 0);
    fill_with_pattern(bytes, sizeof bytes, 3);
    put("f", bytes, sizeof bytes);
    const int fd = open("/tmp/second/f", O_RDWR);
    CHECK(fd >= 0);
    unsigned char* seen = mmap(NULL, sizeof bytes, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(seen != MAP_FAILED && !memcmp(seen, bytes, sizeof bytes));
    unsigned char* own = mmap(NULL, sizeof bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(own != MAP_FAILED);
    own[0] = 99;
    CHECK(seen[0] == bytes[0]);
    CHECK(mprotect(seen, page, PROT_READ | PROT_WRITE) == 0);
    seen[1] = bytes[1] + 1; // reaches who asks the server, too
    CHECK(msync(seen, page, MS_SYNC) == 0);
    const int first = open("f", O_RDONLY | O_CLOEXEC);
    unsigned char got[2];
    CHECK(first >= 0 && pread(first, got, 2, 0) == 2 && got[0] == bytes[0] && close(first) == 0);
    CHECK_EQ(pwrite(fd, "new", 3, 0), 3);
    CHECK(!memcmp(seen, "new", 3)); // one cache
    CHECK_ERROR(fallocate(fd, 0, 0, page), EOPNOTSUPP);
    CHECK(munmap(seen, sizeof bytes) == 0 && munmap(own, sizeof bytes) == 0 && close(fd) == 0);
    CHECK(system("cp /bin/busybox . && ./busybox true && cp /bin/busybox /tmp/second/busybox2 && /tmp/second/busybox2 "
                 "true") == 0);
    CHECK(umount("/tmp/second") == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0 && rmdir("/tmp/second") == 0);
}

static void an_archive_shows_its_files(void) {
    begin();
    CHECK(chdir(base) == 0);
    CHECK(system("mkdir -p a/b/c && cp /bin/busybox a/b/one && ln -s ../one a/b/c/link && ln a/b/one a/busybox && "
                 "echo hello > a/text && chmod 640 a/text && touch a/empty && "
                 "tar cf ../archive.tar a") == 0);
    CHECK(mkdir("shown", 0755) == 0);
    server = fork();
    CHECK(server >= 0);
    if (!server) {
        execl("/bin/tarfs", "tarfs", name, "/tmp/archive.tar", (char*)NULL);
        _exit(127);
    }
    wait_for_service();
    CHECK(mount(name, "shown", "user", MS_RDONLY, NULL) == 0);
    CHECK(system("diff -r a shown/a") == 0);
    char text[100] = {0};
    CHECK(readlink("shown/a/b/c/link", text, sizeof text) == 6 && !strcmp(text, "../one"));
    struct stat is;
    CHECK(stat("shown/a/text", &is) == 0);
    CHECK_EQ(is.st_mode, S_IFREG | 0640);
    CHECK_ERROR(open("shown/a/text", O_WRONLY), EROFS);
    CHECK_ERROR(open("shown/a/none", O_RDONLY), ENOENT);
    CHECK(system("shown/a/busybox true") == 0);
    CHECK(umount("shown") == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(system("rm -r a shown ../archive.tar") == 0);
    CHECK(chdir("/") == 0 && rmdir(base) == 0);
}

// An archive says that its file is longer than what is there.
static void an_archive_that_was_cut_off_shows_what_is_there(void) {
    begin();
    CHECK(system("cp /bin/busybox /tmp/one && tar cf /tmp/whole.tar -C /tmp one && "
                 "head -c 50000 /tmp/whole.tar > /tmp/cut.tar && head -c 49488 /tmp/one > /tmp/part") == 0);
    server = fork();
    CHECK(server >= 0);
    if (!server) {
        execl("/bin/tarfs", "tarfs", name, "/tmp/cut.tar", (char*)NULL);
        _exit(127);
    }
    wait_for_service();
    CHECK(mount(name, base, "user", MS_RDONLY, NULL) == 0 && chdir(base) == 0);
    CHECK(system("cmp one /tmp/part") == 0); // behind the header
    end();
    CHECK(system("rm /tmp/one /tmp/part /tmp/whole.tar /tmp/cut.tar") == 0);
}

static void memfs_survives_more_files_than_it_has_descriptors_for(void) {
    begin();
    mount_with(NULL);
    const struct rlimit few = {60, 60}, many = {1000, 1000};
    CHECK(prlimit(server, RLIMIT_NOFILE, &few, NULL) == 0);
    char path[20];
    int made = 0;
    for (; made < 60; made++) {
        snprintf(path, sizeof path, "%d", made);
        const int fd = open(path, O_CREAT | O_WRONLY, 0644);
        if (fd < 0) break;
        CHECK(write(fd, path, strlen(path)) == (ssize_t)strlen(path) && close(fd) == 0);
    }
    CHECK(made > 20 && made < 60 && errno == ENOSPC);
    put("0", "still written", 13);
    CHECK(prlimit(server, RLIMIT_NOFILE, &many, NULL) == 0);
    put("one-more", "text", 4);
    CHECK(system("test \"$(cat 0)\" = 'still written' && test \"$(cat 1 one-more)\" = 1text") == 0);
    end();
}

// Questions that are not the kernel's.
static void a_stranger_is_refused(void) {
    begin();
    mount_with(NULL);
    put("known", "text", 4);
    const int client = caps_connect(name, 0, 1000000000);
    CHECK(client >= 0);
    const uint32_t operations[] = {USERFS_MOUNT, USERFS_UNMOUNT, USERFS_READ, USERFS_FORGET};
    for (int i = 0; i < 4; i++) {
        struct userfs_request q = {.version = USERFS_VERSION, .operation = operations[i], .node = 1, .bytes = 1};
        struct caps_message m = {.text_bytes = sizeof q};
        memcpy(m.text, &q, sizeof q);
        CHECK(caps_call(client, &m, &m, 0) >= 0);
        CHECK_EQ(m.result, EPERM);
    }
    CHECK(close(client) == 0);
    put("more", "text", 4);
    end();
}

// --- Servers that do not answer

static void a_dead_server_gives_errors(void) {
    char text[8] = {0};
    begin();
    mount_with(NULL);
    put("known", "text", 4);
    CHECK(mkdir("dir", 0755) == 0);
    const int fd = open("known", O_RDWR);
    CHECK(fd >= 0 && kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_ERROR(open("other", O_RDONLY), ENOTCONN);
    CHECK_ERROR(mkdir("fresh", 0755), ENOTCONN);
    CHECK_ERROR(unlink("known"), ENOTCONN);
    CHECK_ERROR(rename("known", "dir/known"), ENOTCONN);
    CHECK_ERROR(write(fd, "more", 4), ENOTCONN);
    CHECK_ERROR(chmod("known", 0600), ENOTCONN);
    CHECK_ERROR(truncate("known", 0), ENOTCONN);
    CHECK_ERROR(fsync(fd), ENOTCONN);
    DIR* all = opendir(".");
    CHECK(all);
    struct stat is;
    CHECK(stat("known", &is) == 0 && is.st_size == 4 && (is.st_mode & 0777) == 0644); // what is known stays
    (void)read(fd, text, 4);
    closedir(all);
    CHECK(close(fd) == 0 && chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
    CHECK_ERROR(mount(name, "/tmp", "user", 0, NULL), ENOENT);
}

// Whoever asks it afterwards hears nothing: it may answer until it has stopped.
static void stop_server(void) {
    CHECK(kill(server, SIGSTOP) == 0);
    CHECK_EQ(waitpid(server, NULL, WUNTRACED), server);
}

static void a_silent_server_is_given_up(void) {
    begin();
    mount_with("timeout=3"); // a server may be late on a busy machine
    put("known", "text", 4);
    stop_server();
    volatile long long* gone_on = shared(page);
    IN_CHILD(another) {
        sleep_ms(50);
        CHECK(chdir("/tmp") == 0); // what does not concern the server goes on
        put("elsewhere", "x", 1);
        CHECK(unlink("elsewhere") == 0);
        *gone_on = now_ns();
    }
    const long long begun = now_ns();
    CHECK_ERROR(open("other", O_RDONLY), ETIMEDOUT);
    const long long took = now_ns() - begun;
    CHECK(took > 2900000000 && took < 30000000000);
    CHECK(*gone_on && *gone_on - begun < 2500000000);
    CHECK_ERROR(open("other", O_RDONLY), ENOTCONN);
    CHECK_EQ(EXIT_STATUS(another), 0);
    CHECK(kill(server, SIGCONT) == 0 && kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

static void who_is_killed_waits_no_longer(void) {
    begin();
    mount_with("timeout=60");
    put("known", "text", 4);
    stop_server();
    const long long begun = now_ns();
    IN_CHILD(looking) open("other", O_RDONLY);
    IN_CHILD(making) open("more", O_RDWR | O_CREAT, 0600);
    IN_CHILD(removing) unlink("known");
    sleep_ms(100);
    const pid_t all[] = {looking, making, removing};
    // All at once: two of them wait for the directory, which the third one holds until it is killed.
    for (int i = 0; i < 3; i++)
        CHECK(kill(all[i], SIGKILL) == 0);
    for (int i = 0; i < 3; i++) {
        int status;
        CHECK_EQ(waitpid(all[i], &status, 0), all[i]);
        if (!WIFSIGNALED(status)) note("%d ended with %d", i, status);
        CHECK(WIFSIGNALED(status));
    }
    CHECK(now_ns() - begun < 30000000000); // half of its time
    CHECK(kill(server, SIGCONT) == 0);
    put("after", "text", 4); // the others go on
    struct stat is;
    CHECK(stat("after", &is) == 0);
    end();
}

static void a_forced_unmount_ends_what_waits(void) {
    begin();
    mount_with("timeout=60");
    put("known", "text", 4);
    const int fd = open("known", O_RDONLY);
    stop_server();
    IN_CHILD(waiting) CHECK_ERROR(open("other", O_RDONLY), ENOTCONN);
    IN_CHILD(behind) { // waits for the directory that the other asks about
        sleep_ms(20);
        CHECK_ERROR(open("third", O_RDONLY), ENOTCONN);
    }
    sleep_ms(100);
    CHECK_ERROR(umount(base), EBUSY);
    const long long begun = now_ns();
    CHECK(umount2(base, MNT_FORCE) == 0);
    CHECK_EQ(EXIT_STATUS(waiting), 0);
    CHECK_EQ(EXIT_STATUS(behind), 0);
    CHECK(now_ns() - begun < 30000000000); // half of its time
    CHECK(close(fd) == 0 && chdir("/") == 0 && rmdir(base) == 0);
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
}

static void options_are_checked(void) {
    begin();
    start_program("/bin/memfs", NULL);
    CHECK_ERROR(mount(name, base, "user", 0, "timeout=0"), EINVAL);
    CHECK_ERROR(mount(name, base, "user", 0, "timeout="), EINVAL);
    CHECK_ERROR(mount(name, base, "user", 0, "timeout=99999999999999999999"), EINVAL);
    CHECK_ERROR(mount(name, base, "user", 0, "other=1"), EINVAL);
    CHECK_ERROR(mount("none", base, "user", 0, NULL), ENOENT);
    CHECK_ERROR(mount("none", base, "user", 0, "wait,timeout=100ms"), ETIMEDOUT);
    CHECK(mount(name, base, "user", 0, "timeout=5,nodes=3") == 0);
    char path[100];
    int made = 0;
    for (int i = 0; i < 10; i++) {
        snprintf(path, sizeof path, "%s/%d", base, i);
        const int fd = open(path, O_CREAT | O_RDWR, 0600);
        if (fd < 0) CHECK(errno == ENFILE);
        made += fd >= 0;
    }
    CHECK_EQ(made, 2);             // and the root
    for (int i = 0; i < 10; i++) { // neither is there what could not be made
        struct stat is;
        snprintf(path, sizeof path, "%s/%d", base, i);
        const int fd = open(path, O_CREAT | O_RDWR, 0600);
        CHECK(i < made ? fd >= 0 : fd == -1 && errno == ENFILE);
        if (i >= made) CHECK_ERROR(stat(path, &is), ENOENT);
    }
    for (int fd = 3; fd < 20; fd++)
        close(fd);
    end();
}

static long long flags_of(const char* path) {
    struct statfs is;
    CHECK(statfs(path, &is) == 0);
    return is.f_flags;
}

static void no_mount_gives_rights(void) {
    enum { both = 6 }; // ST_NOSUID, ST_NODEV
    begin();
    mount_with(NULL);
    CHECK_EQ(flags_of(".") & both, both);
    CHECK(mount(NULL, base, NULL, MS_REMOUNT, NULL) == 0);
    CHECK_EQ(flags_of(".") & both, both);
    CHECK(mkdir("/tmp/second", 0755) == 0 && mount(base, "/tmp/second", NULL, MS_BIND, NULL) == 0);
    CHECK(mount(NULL, "/tmp/second", NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
    CHECK_EQ(flags_of("/tmp/second") & both, both);
    CHECK(umount("/tmp/second") == 0 && rmdir("/tmp/second") == 0);
    end();
}

// Whoever unmounts does not wait for it, nor do those that unmount others.
static void a_silent_server_holds_up_no_unmount(void) {
    begin();
    mount_with("timeout=60");
    put("known", "text", 4);
    CHECK(kill(server, SIGSTOP) == 0 && chdir("/") == 0);
    const long long begun = now_ns();
    CHECK(umount(base) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(mount("none", base, "tmpfs", 0, NULL) == 0 && umount(base) == 0);
    CHECK(now_ns() - begun < 30000000000); // half of its time
    CHECK(kill(server, SIGCONT) == 0);
    CHECK_EQ(EXIT_STATUS(server), 0); // it hears of it all the same
    CHECK(rmdir(base) == 0);
}

TAP_MAIN(T(the_tests_of_trees_pass), T(the_tests_of_removed_directories_pass), T(the_tests_of_paths_pass),
         T(the_tests_of_locks_mappings_and_running_programs_pass), T(a_mount_waits_for_its_service),
         T(what_was_written_is_at_the_server), T(whole_pages_are_not_copied), T(files_are_mapped_and_run),
         T(an_archive_shows_its_files), T(an_archive_that_was_cut_off_shows_what_is_there),
         T(memfs_survives_more_files_than_it_has_descriptors_for), T(a_stranger_is_refused),
         T(a_dead_server_gives_errors), T(a_silent_server_is_given_up), T(who_is_killed_waits_no_longer),
         T(a_forced_unmount_ends_what_waits), T(a_silent_server_holds_up_no_unmount), T(no_mount_gives_rights),
         T(options_are_checked))
