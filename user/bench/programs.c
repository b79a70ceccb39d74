// A file system in a program: what is not cached. It has one file, which is long, and shows the same MiB everywhere.
#include "user/bench/bench.h"
#include "user/caps.h"
#include "user/userfs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define folder "/tmp/bench-program"
enum { length = 64 * mib };

static const struct userfs_attributes root = {.node = 1, .mode = S_IFDIR | 0755, .links = 2},
                                      file = {.node = 2, .mode = S_IFREG | 0444, .links = 1, .size = length};

static int mount_it(void* fs, userfs_question q, struct userfs_attributes* out) {
    *out = root;
    return 0;
}
static int look_up(void* fs, userfs_question q, const char* name, struct userfs_attributes* out) {
    if (q->node != 1 || strcmp(name, "file")) return ENOENT;
    *out = file;
    return 0;
}
static int read_it(void* fs, userfs_question q, struct userfs_bytes* out) {
    const uint64_t at = q->offset % mib;
    *out = (struct userfs_bytes){*(int*)fs, at, out->bytes < mib - at ? out->bytes : mib - at};
    return 0;
}

static void serve(void) {
    static const struct userfs_functions functions = {.mount = mount_it, .look_up = look_up, .read = read_it};
    const int service = caps_service("bench", CAPS_USER);
    int fd = memfd_create("bench", 0);
    char* bytes = memory(mib);
    memset(bytes, 1, mib);
    if (service < 0 || fd < 0 || write(fd, bytes, mib) != mib) die("memfd");
    _exit(userfs_serve(service, &functions, &fd) < 0);
}

static void mount_service(const char* name, const char* at) {
    for (int i = 0; i < 10000; i++) {
        if (mount(name, at, "user", 0, "") == 0) return;
        usleep(1000);
    }
    die(name);
}

// Each turn reads bytes that nobody has read.
static long long uncached_reads(int turns, long bytes) {
    const pid_t server = start();
    if (!server) serve();
    mkdir(folder, 0700);
    mount_service("bench", folder);
    const int fd = open(folder "/file", O_RDONLY);
    char* buffer = memory(mib);
    memset(buffer, 2, mib);
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        if (pread(fd, buffer, bytes, (off_t)turn * mib) != bytes) die("read");
        for (long at = 0; at < bytes; at += page) // as who gets a message looks at it
            (void)*(volatile char*)(buffer + at);
    }
    const long long took = now_ns() - begun;
    munmap(buffer, mib);
    close(fd);
    if (umount(folder)) die("umount");
    rmdir(folder);
    reap(server);
    return took;
}

void measure_programs(void) {
    if (caps_room(0, 0) != 0 && errno == ENOSYS) return;
    measure("userfs read 4096, uncached", uncached_reads, 30, page);
    measure("userfs read 1048576, uncached, looked at", uncached_reads, 30, mib);
}

pid_t mount_memfs(const char* at) {
    if (caps_room(0, 0) != 0 && errno == ENOSYS) return -1;
    const pid_t server = start();
    if (!server) {
        execl("/bin/memfs", "memfs", "bench-memfs", (char*)NULL);
        _exit(1);
    }
    mount_service("bench-memfs", at);
    return server;
}
