// A block device, where the environment's `disk` names one. On Linux its driver is made of modules, which stand in
// /modules in the order in which they are loaded.
#include "user/bench/bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { span_mib = 24 };

static const char* path;

static void load_modules(void) {
    struct dirent** names;
    const int count = scandir("/modules", &names, NULL, alphasort);
    for (int n = 0; n < count; n++) {
        char file[300];
        snprintf(file, sizeof file, "/modules/%s", names[n]->d_name);
        const int fd = open(file, O_RDONLY);
        if (names[n]->d_name[0] != '.' && fd >= 0) syscall(SYS_finit_module, fd, "", 0);
        close(fd);
    }
}

const char* named_disk(const char* variable) {
    static int loaded;
    static char device[64];
    const char* name = getenv(variable);
    if (!name) return NULL;
    snprintf(device, sizeof device, "/dev/%s", name);
    if (!loaded++) load_modules();
    if (access(device, F_OK)) mount("none", "/dev", "devtmpfs", 0, NULL); // Linux does not do it by itself
    for (int tries = 0; access(device, R_OK) && tries < 500; tries++)
        usleep(10000);
    return device;
}

// How long all CPUs have had nothing to do, as exactly as both kernels say it: to a hundredth of a second.
static long long idle_ns(void) {
    double up = 0, idle = 0;
    if (access("/proc/uptime", R_OK)) { // Linux mounts nothing by itself
        mkdir("/proc", 0755);
        mount("none", "/proc", "proc", 0, NULL);
    }
    FILE* file = fopen("/proc/uptime", "r");
    if (!file || fscanf(file, "%lf %lf", &up, &idle) != 2) die("/proc/uptime");
    fclose(file);
    return (long long)(idle * 1e9);
}

struct transfer {
    int flags, writes, syncs;
    long bytes;
    int busy_only; // counts what CPUs do for it, not the wait
};

static long long transfers(int turns, long argument) {
    const struct transfer* t = (const struct transfer*)argument;
    const int fd = open(path, O_RDWR | t->flags);
    if (fd < 0) die(path);
    char* buffer = memory(t->bytes);
    memset(buffer, 1, t->bytes);
    const long places = (long)span_mib * mib / t->bytes;
    const long long idle_before = t->busy_only ? idle_ns() : 0;
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        const off_t at = turn % places * t->bytes;
        if (t->writes) *(volatile char*)buffer = (char)turn;
        if ((t->writes ? pwrite(fd, buffer, t->bytes, at) : pread(fd, buffer, t->bytes, at)) != t->bytes)
            die("transfer");
        if (t->syncs && fsync(fd)) die("fsync");
    }
    long long took = now_ns() - begun;
    if (t->busy_only) took -= idle_ns() - idle_before;
    munmap(buffer, t->bytes);
    close(fd);
    return took;
}

void measure_disk(void) {
    static const struct {
        const char* name;
        struct transfer how;
        int turns;
    } all[] = {
        {"disk O_DIRECT read 4096", {O_DIRECT, 0, 0, 4096, 0}, 400},
        {"disk O_DIRECT write 4096", {O_DIRECT, 1, 0, 4096, 0}, 400},
        {"disk O_DIRECT read 1048576", {O_DIRECT, 0, 0, mib, 0}, 60},
        {"disk O_DIRECT write 1048576", {O_DIRECT, 1, 0, mib, 0}, 60},
        {"disk read 4096", {0, 0, 0, 4096, 0}, 2000},
        {"disk read 1048576", {0, 0, 0, mib, 0}, 60},
        {"disk write 1048576+fsync", {0, 1, 1, mib, 0}, 40},
    };
    // Where an instruction is a nanosecond. Many turns: a hundredth of a second is ten millions.
    static const struct {
        const char* name;
        struct transfer how;
        int turns;
    } busy[] = {
        {"disk busy O_DIRECT read 4096", {O_DIRECT, 0, 0, 4096, 1}, 10000},
        {"disk busy O_DIRECT write 4096", {O_DIRECT, 1, 0, 4096, 1}, 10000},
        {"disk busy O_DIRECT read 1048576", {O_DIRECT, 0, 0, mib, 1}, 1500},
        {"disk busy O_DIRECT write 1048576", {O_DIRECT, 1, 0, mib, 1}, 1500},
    };
    if (!(path = named_disk("disk"))) return;
    for (unsigned n = 0; getenv("disk_busy") && n < sizeof busy / sizeof busy[0]; n++)
        measure(busy[n].name, transfers, busy[n].turns, (long)&busy[n].how);
    if (getenv("disk_busy")) return;
    for (unsigned n = 0; n < sizeof all / sizeof all[0]; n++)
        measure(all[n].name, transfers, all[n].turns, (long)&all[n].how);
}
