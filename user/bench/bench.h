// What the files of the benchmark share: measuring, and what each of them measures.
#pragma once

#define _GNU_SOURCE
#include <stddef.h>
#include <sys/types.h>

enum { mib = 1 << 20, page = 4096 };

void die(const char* what);
long long now_ns(void);

// run(turns, argument) does the operation so often and gives the nanoseconds that it took. Is it asked for at all?
void measure(const char* name, long long (*run)(int turns, long argument), int turns, long argument);

#define TIMED(turns, ...)                                                                                              \
    const long long begun = now_ns();                                                                                  \
    for (int turn = 0; turn < (turns); turn++) {                                                                       \
        __VA_ARGS__;                                                                                                   \
    }                                                                                                                  \
    return now_ns() - begun

char* memory(size_t bytes); // fresh, by mmap
void reap(pid_t child);     // which must have ended well
pid_t start(void);          // fork

void measure_files(void);    // files.c
void measure_messages(void); // caps.c
void measure_disk(void);     // disk.c
void measure_programs(void); // programs.c

// Mounts a fresh memfs: its process, which ends with the mount. -1: this kernel has none.
pid_t mount_memfs(const char* at);

// The path of the disk that the environment's `variable` names, once it is there. Null: none is named. The next call
// overwrites it.
const char* named_disk(const char* variable);
