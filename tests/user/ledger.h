// The copy ledger, as programs see it.
#pragma once

#include "tests/user/tap.h"

// What a file of /proc says now; the next call overwrites it. Null: there is none.
static char* proc_text(const char* path) {
    static char text[4096];
    const int fd = open(path, O_RDONLY);
    if (fd < 0) return NULL;
    const ssize_t bytes = read(fd, text, sizeof text - 1);
    CHECK(bytes > 0 && close(fd) == 0);
    text[bytes] = 0;
    return text;
}

// The number in a line of a file of /proc that begins with `line`; -1: there is no such file.
__attribute__((unused)) static long long in_text(const char* path, const char* line) {
    const char* text = proc_text(path);
    if (!text) return -1;
    const char* at = strstr(text, line);
    CHECK(at);
    at += strlen(line);
    return strtoll(at + strcspn(at, "0123456789"), NULL, 10);
}

// Bytes that the ledger has in a line; -1: this kernel keeps no books. What it takes to ask is counted too, the next
// time.
static long long in_ledger(const char* line) {
    return in_text("/proc/xio", line);
}

// Bytes copied since the machine was started, for whatever reason.
__attribute__((unused)) static long long copied(void) {
    return in_ledger("in all");
}
