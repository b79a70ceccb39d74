// Files: in a tmpfs, in a program's file system (user/memfs.c), and on the disk that the environment's `filesystem` names, which has an ext4 on it.
#include "user/bench/bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define folder "/tmp/bench"

static int file_of(size_t bytes) {
    const int fd = open(folder "/file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) die("open");
    char* buffer = memory(mib);
    memset(buffer, 1, mib);
    for (size_t done = 0; done < bytes; done += mib)
        if (write(fd, buffer, bytes < mib ? bytes : mib) < 0) die("write");
    munmap(buffer, mib);
    return fd;
}

// What a program does with its buffer beside the call.
enum habit { touches_a_page, writes_it_anew, looks_at_all };

typedef ssize_t move(int fd, char* buffer, size_t bytes);

static ssize_t read_in(int fd, char* buffer, size_t bytes) {
    return pread(fd, buffer, bytes, 0);
}
static ssize_t write_out(int fd, char* buffer, size_t bytes) {
    return pwrite(fd, buffer, bytes, 0);
}

// Each turn uses the same buffer again, as programs do.
static long long moves(int turns, long bytes, move* how, enum habit then) {
    const int fd = file_of(bytes);
    char* buffer = memory(mib);
    memset(buffer, 2, mib);
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        for (long at = 0; then == writes_it_anew && at < bytes; at += page)
            *(volatile char*)(buffer + at) = (char)turn;
        if (how(fd, buffer, bytes) != bytes) die("read or write");
        for (long at = 0; then == looks_at_all && at < bytes; at += page)
            (void)*(volatile char*)(buffer + at);
        if (then == touches_a_page) *(volatile char*)buffer = 1;
    }
    const long long took = now_ns() - begun;
    munmap(buffer, mib);
    close(fd);
    return took;
}

static long long reads(int turns, long bytes) {
    return moves(turns, bytes, read_in, touches_a_page);
}
static long long reads_and_looks(int turns, long bytes) {
    return moves(turns, bytes, read_in, looks_at_all);
}
static long long writes(int turns, long bytes) {
    return moves(turns, bytes, write_out, touches_a_page);
}
static long long writes_anew(int turns, long bytes) {
    return moves(turns, bytes, write_out, writes_it_anew);
}

static long long maps_and_touches(int turns, long unused) {
    const int fd = file_of(mib);
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        const char* at = mmap(NULL, mib, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) die("mmap");
        for (long offset = 0; offset < mib; offset += page)
            (void)*(volatile const char*)(at + offset);
        munmap((void*)at, mib);
    }
    const long long took = now_ns() - begun;
    close(fd);
    return took;
}

static long long opens(int turns, long unused) {
    close(file_of(page));
    TIMED(turns, close(open(folder "/file", O_RDONLY)));
}

static long long stats(int turns, long unused) {
    struct stat s;
    close(file_of(page));
    TIMED(turns, if (stat(folder "/file", &s)) die("stat"));
}

static long long creates(int turns, long unused) {
    TIMED(turns, close(open(folder "/fresh", O_WRONLY | O_CREAT | O_EXCL, 0600));
          if (unlink(folder "/fresh")) die("unlink"));
}

enum copy_kind { by_read_and_write, by_sendfile, by_range };

static void copy(int from, int to, enum copy_kind how, char* buffer) {
    enum { all = 16 * mib, piece = 128 << 10 };
    lseek(from, 0, SEEK_SET);
    lseek(to, 0, SEEK_SET);
    for (ssize_t done = 0, part; done < all; done += part) {
        switch (how) {
        case by_read_and_write:
            part = read(from, buffer, piece);
            if (part > 0 && write(to, buffer, part) != part) die("write");
            break;
        case by_sendfile: part = sendfile(to, from, NULL, all - done); break;
        default: part = copy_file_range(from, NULL, to, NULL, all - done, 0); break;
        }
        if (part <= 0) die("copy");
    }
}

static long long copies_of_files(int turns, long how) {
    const int from = file_of(16 * mib), to = open(folder "/copy", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char* buffer = memory(mib);
    memset(buffer, 0, mib);
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++)
        copy(from, to, how, buffer);
    const long long took = now_ns() - begun;
    munmap(buffer, mib);
    close(from);
    close(to);
    unlink(folder "/copy");
    return took;
}

// From the first byte to where the disk has it all.
static long long written_and_synced(int turns, long bytes) {
    char* buffer = memory(mib);
    memset(buffer, 3, mib);
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        const int fd = open(folder "/long", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        for (long done = 0; done < bytes; done += mib)
            if (write(fd, buffer, mib) != mib) die("write");
        if (fsync(fd)) die("fsync");
        close(fd);
    }
    const long long took = now_ns() - begun;
    munmap(buffer, mib);
    unlink(folder "/long");
    return took;
}

static void measure_in(const char* kind) {
    static const struct {
        const char* name;
        long long (*run)(int turns, long argument);
        int turns;
        long argument;
    } all[] = {
        {"write 1", writes, 1000, 1},
        {"write 4096", writes, 1000, page},
        {"write 65536", writes, 200, 64 << 10},
        {"write 1048576", writes, 20, mib},
        {"write 1048576, rewritten", writes_anew, 20, mib},
        {"read 1", reads, 1000, 1},
        {"read 4096", reads, 1000, page},
        {"read 65536", reads, 200, 64 << 10},
        {"read 1048576", reads, 20, mib},
        {"read 1048576, looked at", reads_and_looks, 20, mib},
        {"mmap+touch 1MiB+munmap", maps_and_touches, 20, 0},
        {"open+close", opens, 500, 0},
        {"stat", stats, 500, 0},
        {"create+unlink", creates, 300, 0},
        {"copy 16 MiB: read+write 128 KiB", copies_of_files, 3, by_read_and_write},
        {"copy 16 MiB: sendfile", copies_of_files, 3, by_sendfile},
        {"copy 16 MiB: copy_file_range", copies_of_files, 3, by_range},
    };
    char name[80];
    for (unsigned n = 0; n < sizeof all / sizeof all[0]; n++) {
        snprintf(name, sizeof name, "%s %s", kind, all[n].name);
        measure(name, all[n].run, all[n].turns, all[n].argument);
    }
    unlink(folder "/file");
}

void measure_files(void) {
    mkdir(folder, 0700);
    const int mounted = mount("tmpfs", folder, "tmpfs", 0, "") == 0;
    measure_in("tmpfs");
    if (mounted) umount(folder);
    const pid_t program = mount_memfs(folder);
    if (program > 0) {
        measure_in("memfs");
        if (umount(folder)) die("umount");
        reap(program);
    }
    const char* disk = named_disk("filesystem");
    if (disk) {
        if (mount(disk, folder, "ext4", 0, "")) die(disk);
        measure_in("ext4");
        measure("ext4 write 256 MiB+fsync", written_and_synced, 1, 256 * mib);
        if (umount(folder)) die("umount");
    }
    rmdir(folder);
}
