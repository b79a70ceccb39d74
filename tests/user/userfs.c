// File systems in programs: the file tests of the VFS on one in memory, an archive, and servers that die, say nothing
// or say nonsense.
#include "user/userfs.h"
#include "tests/user/ledger.h"
#include "user/caps.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

enum { mib = 1 << 20 };

static char base[64], name[64];
static pid_t server;

// Other kernels have no such file systems.
static void begin(void) {
    if (caps_room(0, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no file systems in programs");
    snprintf(base, sizeof base, "/tmp/userfs.%d", getpid());
    snprintf(name, sizeof name, "userfs.%d", getpid());
    CHECK(mkdir(base, 0755) == 0);
}

static void wait_for_service(void) {
    const int client = caps_connect(name, CAPS_WAIT, 10000000000);
    CHECK(client >= 0 && close(client) == 0);
}

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

// The server ends when its file system is gone.
static void end(void) {
    CHECK(chdir("/") == 0);
    CHECK(umount(base) == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(rmdir(base) == 0);
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

// --- Servers that lie

// What a server of a test's own says; result and text of each kind of question.
struct answers {
    struct userfs_attributes look_up[4]; // one after the other, the last for ever
    int looked_up;
    char list[400];
    size_t list_bytes;
    const void* bytes; // of read
    size_t byte_count;
    const char* link_text;
    size_t link_bytes;
    int make_result;
};

static void serve(const struct answers* a) {
    int looked_up = 0;
    struct caps_item items[CAPS_MOST_ITEMS];
    struct caps_message m = {.items = items};
    const int service = caps_service(name, CAPS_USER);
    CHECK(service >= 0);
    for (;;) {
        m.item_room = CAPS_MOST_ITEMS;
        if (caps_reply_wait(service, &m, &m, 0) < 0) _exit(1);
        struct userfs_request q = {0};
        memcpy(&q, m.text, m.text_bytes < sizeof q ? m.text_bytes : sizeof q);
        for (unsigned i = 0; i < m.item_count; i++)
            close(items[i].fd);
        if (m.kind != CAPS_REQUEST) {
            m.id = 0;
            continue;
        }
        static const struct userfs_attributes root = {.node = 1, .mode = S_IFDIR | 0755, .links = 2};
        const void* text = NULL;
        size_t bytes = 0;
        m.item_count = m.text_bytes = 0;
        m.result = 0;
        switch (q.operation) {
        case USERFS_MOUNT: text = &root, bytes = sizeof root; break;
        case USERFS_LOOK_UP:
            text = &a->look_up[looked_up], bytes = sizeof root;
            if (!a->look_up[looked_up].node) m.result = ENOENT;
            if (looked_up + 1 < a->looked_up) looked_up++;
            break;
        case USERFS_LIST: text = a->list, bytes = a->list_bytes; break;
        case USERFS_READ_LINK: text = a->link_text, bytes = a->link_bytes; break;
        case USERFS_READ:
            items[0] = (struct caps_item){CAPS_MEMORY, -1, (uint64_t)a->bytes, a->byte_count, CAPS_NOTHING, 0};
            m.item_count = a->byte_count != 0;
            break;
        case USERFS_UNMOUNT: caps_reply(service, &m, 0); _exit(0);
        case USERFS_MAKE: m.result = a->make_result ? a->make_result : EPROTO; break;
        default: m.result = EPROTO;
        }
        if (bytes > CAPS_MOST_TEXT) {
            items[0] = (struct caps_item){CAPS_MEMORY, -1, (uint64_t)text, bytes, CAPS_NOTHING, 0};
            m.item_count = 1;
        } else if (bytes) {
            memcpy(m.text, text, bytes);
            m.text_bytes = bytes;
        }
        const uint64_t id = m.id;
        const struct caps_message again = m;
        if (caps_reply(service, &m, 0) < 0) _exit(1);
        if (caps_reply(service, &again, 0) != -1 || errno != EINVAL) _exit(3); // one reply each
        (void)id;
        m.id = 0;
    }
}

static void begin_with(const struct answers* a) {
    begin();
    server = fork();
    CHECK(server >= 0);
    if (!server) serve(a);
    wait_for_service();
    CHECK(mount(name, base, "user", 0, "timeout=5") == 0);
    CHECK(chdir(base) == 0);
}

static size_t list_entry(char* to, uint64_t next, const char* text, size_t length) {
    const struct userfs_entry e = {next, 5, S_IFREG, length};
    memcpy(to, &e, sizeof e);
    memcpy(to + sizeof e, text, length);
    return (sizeof e + length + 7) & ~(size_t)7;
}

static void nodes_that_make_no_sense_are_refused(void) {
    static const struct userfs_attributes lies[] = {
        {.node = 7, .mode = 0644, .links = 1},                               // of no type
        {.node = 7, .mode = 0170000 | 0644, .links = 1},                     // of all
        {.node = 7, .mode = S_IFREG | 0644, .links = 1, .size = 1ull << 63}, // longer than a file may be
        {.node = 1, .mode = S_IFDIR | 0755, .links = 2},                     // the root, below itself
        {.node = 1, .mode = S_IFREG | 0755, .links = 2},                     // the root, a file
    };
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct answers a = {.look_up = {lies[i]}, .looked_up = 1};
        begin_with(&a);
        CHECK_ERROR(open("x", O_RDONLY), EIO);
        end();
    }
    // One that changes its type, and a directory that is in two places (a loop).
    struct answers changes = {
        .look_up = {{.node = 7, .mode = S_IFREG | 0644, .links = 1}, {.node = 7, .mode = S_IFDIR | 0755, .links = 2}},
        .looked_up = 2};
    begin_with(&changes);
    struct stat is;
    CHECK(stat("x", &is) == 0);
    CHECK_ERROR(stat("y", &is), EIO);
    end();
    struct answers loop = {.look_up = {{.node = 7, .mode = S_IFDIR | 0755, .links = 2}}, .looked_up = 1};
    begin_with(&loop);
    CHECK(stat("x", &is) == 0);
    CHECK_ERROR(stat("x/x", &is), EIO);
    CHECK_ERROR(stat("y", &is), EIO);
    end();
}

// That there is something and that there is nothing.
static void a_contradiction_ends(void) {
    struct answers a = {.looked_up = 1, .make_result = EEXIST};
    begin_with(&a);
    CHECK_ERROR(open("x", O_CREAT | O_RDWR, 0600), EIO);
    CHECK_ERROR(open("x", O_CREAT | O_RDWR, 0600), EIO);
    CHECK_ERROR(mkdir("x", 0700), EIO);
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

static void lists_that_make_no_sense_are_refused(void) {
    struct answers a = {.looked_up = 1};
    const int count = 9;
    for (int i = 0; i < count; i++) {
        memset(a.list, 0, sizeof a.list);
        switch (i) {
        case 0: a.list_bytes = list_entry(a.list, 1, "a/b", 3); break;
        case 1: a.list_bytes = list_entry(a.list, 1, "", 0); break;
        case 2: a.list_bytes = list_entry(a.list, 1, "a\0b", 3); break;
        case 3: a.list_bytes = list_entry(a.list, 0, "a", 1); break; // does not go on
        case 4: a.list_bytes = list_entry(a.list, ~0ull, "a", 1); break;
        case 5: // goes back
            a.list_bytes = list_entry(a.list, 5, "a", 1);
            a.list_bytes += list_entry(a.list + a.list_bytes, 4, "b", 1);
            break;
        case 6: a.list_bytes = list_entry(a.list, 1, "abcdefghijkl", 12) - 8; break; // cut off
        case 7: a.list_bytes = 5; break;
        default: list_entry(a.list, 1, "", 300); a.list_bytes = 350;
        }
        begin_with(&a);
        char room[1000];
        const int fd = open(".", O_RDONLY);
        long got, turns = 0;
        while ((got = syscall(SYS_getdents64, fd, room, sizeof room)) > 0 && turns < 10)
            turns++;
        if (got != -1 || errno != EIO) note("list %d", i);
        CHECK(got == -1 && errno == EIO && close(fd) == 0);
        end();
    }
}

static void bytes_that_make_no_sense_are_refused(void) {
    static char much[mib];
    memset(much, 7, sizeof much);
    struct answers a = {.look_up = {{.node = 7, .mode = S_IFREG | 0644, .links = 1, .size = 10000}},
                        .looked_up = 1,
                        .bytes = much,
                        .byte_count = sizeof much};
    char got[20000];
    begin_with(&a);
    int fd = open("x", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_ERROR(read(fd, got, sizeof got), EIO); // more than was asked for
    char* seen = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    catch_faults();
    CHECK(seen != MAP_FAILED);
    CHECK_EQ(TRY_FAULT(got[0] = *(volatile char*)seen), SIGBUS);
    CHECK(munmap(seen, page) == 0 && close(fd) == 0);
    end();
    a.byte_count = 5; // fewer: the rest is zeroes
    begin_with(&a);
    fd = open("x", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, got, 4096), 4096);
    CHECK(got[4] == 7 && got[5] == 0 && got[4095] == 0 && close(fd) == 0);
    end();
    static const char long_text[5000] = {1};
    struct answers links = {.look_up = {{.node = 7, .mode = S_IFLNK | 0777, .links = 1}}, .looked_up = 1};
    const size_t lengths[] = {0, 4, sizeof long_text};
    for (int i = 0; i < 3; i++) {
        links.link_text = i == 1 ? "a\0bc" : long_text;
        links.link_bytes = lengths[i];
        begin_with(&links);
        CHECK_ERROR(readlink("x", got, sizeof got), EIO);
        end();
    }
}

// Random answers of random lengths with random results, to whatever is asked.
static void serve_noise(unsigned seed) {
    static char noise[8192];
    struct caps_item items[CAPS_MOST_ITEMS];
    struct caps_message m = {.items = items};
    const int service = caps_service(name, CAPS_USER);
    CHECK(service >= 0);
    srand(seed);
    for (unsigned turn = 0;; turn++) {
        m.item_room = CAPS_MOST_ITEMS;
        if (caps_reply_wait(service, &m, &m, 0) < 0) _exit(0);
        struct userfs_request q = {0};
        memcpy(&q, m.text, m.text_bytes < sizeof q ? m.text_bytes : sizeof q);
        for (unsigned i = 0; i < m.item_count; i++)
            close(items[i].fd);
        if (m.kind != CAPS_REQUEST) {
            m.id = 0;
            continue;
        }
        for (unsigned i = 0; i < 512; i++)
            noise[i] = (char)(rand() >> 7);
        struct userfs_attributes is = {
            .node = 1 + rand() % 6,
            .mode = (uint32_t)(rand() % 4 ? (rand() % 2 ? S_IFREG : S_IFDIR) : (rand() % 16) << 12) | 0777,
            .links = rand() % 3,
            .size = (uint64_t)(rand() % 100000)};
        if (q.operation == USERFS_MOUNT) is.mode = S_IFDIR | 0777;
        m.result = rand() % 4 || q.operation == USERFS_MOUNT ? 0 : rand() % 134;
        m.item_count = m.text_bytes = 0;
        memcpy(m.text, noise, sizeof m.text);
        if (rand() % 4 || q.operation == USERFS_MOUNT) memcpy(m.text, &is, sizeof is);
        m.text_bytes = q.operation == USERFS_MOUNT || rand() % 4 ? sizeof is : (unsigned)rand() % 257;
        if (q.operation == USERFS_LIST && rand() % 2) {
            size_t used = 0;
            for (int i = 0; i < 5; i++)
                used += list_entry(m.text + used, i + 1, "abcd", 1 + rand() % 4);
            m.text_bytes = used;
        }
        if (q.operation == USERFS_READ || !(rand() % 8)) {
            const unsigned bytes = q.operation == USERFS_READ && rand() % 4 ? q.bytes : 1 + (unsigned)rand() % 8000;
            items[0] = (struct caps_item){CAPS_MEMORY,  -1, (uint64_t)noise + rand() % 100, bytes > 8000 ? 8000 : bytes,
                                          CAPS_NOTHING, 0};
            m.item_count = rand() % 8 != 0;
        }
        if (!(rand() % 300)) _exit(0); // or dies
    }
}

static void noise_harms_nobody(void) {
    static char bytes[20000];
    const int rounds = 20;
    begin();
    for (int round = 0; round < rounds; round++) {
        server = fork();
        CHECK(server >= 0);
        if (!server) serve_noise(round + 1);
        wait_for_service();
        CHECK(mount(name, base, "user", 0, "timeout=2,nodes=50") == 0);
        srand(round);
        for (int turn = 0; turn < 200; turn++) {
            char path[200], other[200];
            snprintf(path, sizeof path, "%s/%c/%c", base, 'a' + rand() % 3, 'a' + rand() % 3);
            snprintf(other, sizeof other, "%s/%c", base, 'a' + rand() % 3);
            if (rand() % 2) path[strlen(path) - 2] = 0;
            struct stat is;
            struct statfs fs;
            int fd;
            switch (rand() % 10) {
            case 0: (void)!stat(path, &is); break;
            case 1: (void)!mkdir(path, 0777); break;
            case 2: (void)!rename(path, other); break;
            case 3: (void)!unlink(path); break;
            case 4: (void)!rmdir(path); break;
            case 5: (void)!link(path, other); break;
            case 6: (void)!statfs(path, &fs); break;
            case 7: (void)!symlink("x", path); break;
            case 8:
                if ((fd = open(path, O_RDONLY | O_DIRECTORY)) >= 0) {
                    for (int i = 0; i < 5; i++)
                        (void)!syscall(SYS_getdents64, fd, bytes, sizeof bytes);
                    close(fd);
                }
                break;
            default:
                if ((fd = open(path, O_RDWR | O_CREAT, 0666)) >= 0) {
                    (void)!pread(fd, bytes, rand() % sizeof bytes, rand() % 100000);
                    (void)!pwrite(fd, bytes, rand() % sizeof bytes, rand() % 100000);
                    (void)!ftruncate(fd, rand() % 50000);
                    close(fd);
                }
            }
        }
        CHECK(umount(base) == 0);
        (void)kill(server, SIGKILL);
        int status;
        CHECK(waitpid(server, &status, 0) == server);
        if (WIFEXITED(status)) CHECK_EQ(WEXITSTATUS(status), 0);
    }
    CHECK(rmdir(base) == 0);
}

TAP_MAIN(T(the_tests_of_trees_pass), T(the_tests_of_removed_directories_pass), T(the_tests_of_paths_pass),
         T(the_tests_of_locks_mappings_and_running_programs_pass), T(what_was_written_is_at_the_server),
         T(whole_pages_are_not_copied), T(files_are_mapped_and_run), T(an_archive_shows_its_files),
         T(an_archive_that_was_cut_off_shows_what_is_there), T(a_stranger_is_refused), T(a_dead_server_gives_errors),
         T(a_silent_server_is_given_up), T(who_is_killed_waits_no_longer), T(a_forced_unmount_ends_what_waits),
         T(a_silent_server_holds_up_no_unmount), T(no_mount_gives_rights), T(a_contradiction_ends),
         T(options_are_checked), T(nodes_that_make_no_sense_are_refused), T(lists_that_make_no_sense_are_refused),
         T(bytes_that_make_no_sense_are_refused), T(noise_harms_nobody))
