// What tests of file systems in programs begin and end with.
#pragma once

#include "tests/user/ledger.h"
#include "user/caps.h"
#include "user/userfs.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>

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

// The server ends when its file system is gone.
static void end(void) {
    CHECK(chdir("/") == 0);
    CHECK(umount(base) == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(rmdir(base) == 0);
}
