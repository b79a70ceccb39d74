// Shared mappings of files that are written to, on whatever file system /tmp is.
#include "tests/user/tap.h"

#include <sys/stat.h>

enum { pages = 8 };

static char path[64];

static int fresh(size_t bytes) {
    snprintf(path, sizeof path, "/tmp/mapped.%d", getpid());
    const int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0644);
    CHECK(fd >= 0 && ftruncate(fd, bytes) == 0);
    return fd;
}

static char* map_all(int fd) {
    char* at = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void done(int fd, char* at) {
    CHECK(munmap(at, pages * page) == 0 && close(fd) == 0 && unlink(path) == 0);
}

static void stores_are_read_and_writes_are_seen(void) {
    const int fd = fresh(pages * page);
    char* at = map_all(fd);
    char got[16] = {0};
    memcpy(at + 10, "stored", 6);
    CHECK_EQ(pread(fd, got, 6, 10), 6);
    CHECK(!memcmp(got, "stored", 6));
    CHECK_EQ(pwrite(fd, "wrote", 5, 100), 5); // to a page that was stored into
    CHECK_EQ(pwrite(fd, "clean", 5, page + 1), 5);
    CHECK(!memcmp(at + 100, "wrote", 5) && !memcmp(at + page + 1, "clean", 5) && !memcmp(at + 10, "stored", 6));
    CHECK(msync(at, pages * page, MS_SYNC) == 0);
    memcpy(at + 11, "TOR", 3); // after it was written back
    const int other = open(path, O_RDONLY);
    CHECK(other >= 0);
    CHECK_EQ(pread(other, got, 16, 8), 16);
    CHECK(!memcmp(got + 2, "sTORed", 6));
    static char whole[pages * page];
    memset(whole, 7, sizeof whole);
    CHECK_EQ(pwrite(fd, whole, sizeof whole, 0), sizeof whole); // in the place of all
    CHECK(at[10] == 7 && at[pages * page - 1] == 7);
    at[10] = 8;
    CHECK(fsync(fd) == 0);
    CHECK(pread(other, got, 1, 10) == 1 && got[0] == 8);
    close(other);
    done(fd, at);
}

static void processes_share_a_mapping(void) {
    const int fd = fresh(pages * page);
    volatile char* at = map_all(fd);
    IN_CHILD(inherits) {
        while (at[0] != 1)
            sleep_ms(1);
        at[page] = 2;
    }
    IN_CHILD(opens) {
        const int own = open(path, O_RDWR);
        CHECK(own >= 0);
        volatile char* there = map_all(own);
        while (there[page] != 2)
            sleep_ms(1);
        there[2 * page] = 3;
        while (there[0] != 9)
            sleep_ms(1);
        CHECK(msync((char*)there, page, MS_SYNC) == 0);
    }
    at[0] = 1;
    while (at[2 * page] != 3)
        sleep_ms(1);
    CHECK(msync((char*)at, pages * page, MS_SYNC) == 0);
    at[0] = 9;
    CHECK_EQ(EXIT_STATUS(inherits), 0);
    CHECK_EQ(EXIT_STATUS(opens), 0);
    CHECK(at[0] == 9 && at[page] == 2 && at[2 * page] == 3);
    done(fd, (char*)at);
}

static void what_was_stored_outlives_who_stored_it(void) {
    const int fd = fresh(pages * page);
    IN_CHILD(stores) {
        char* at = map_all(fd);
        close(fd);
        for (int i = 0; i < pages; i++)
            at[i * page + i] = 'a' + i;
    }
    CHECK_EQ(EXIT_STATUS(stores), 0);
    for (int i = 0; i < pages; i++) {
        char got = 0;
        CHECK(pread(fd, &got, 1, i * page + i) == 1 && got == 'a' + i);
    }
    CHECK(fsync(fd) == 0 && close(fd) == 0 && unlink(path) == 0);
}

static void a_file_ends_under_its_mapping(void) {
    const int fd = fresh(2 * page + 100);
    char* at = map_all(fd);
    catch_faults();
    at[2 * page + 200] = 1; // behind the end, in the last page
    CHECK_EQ(TRY_FAULT(at[3 * page] = 1), SIGBUS);
    CHECK(ftruncate(fd, pages * page) == 0);
    CHECK(at[2 * page + 200] == 0);
    for (int i = 0; i < pages; i++)
        at[i * page + 50] = 5;
    CHECK(ftruncate(fd, page + 10) == 0); // with pages that were stored into
    CHECK_EQ(TRY_FAULT(at[2 * page] = 1), SIGBUS);
    CHECK_EQ(TRY_FAULT(at[0] = 1), 0);
    CHECK(msync(at, page, MS_SYNC) == 0);
    CHECK(ftruncate(fd, pages * page) == 0);
    CHECK(at[50] == 5 && at[page + 9] == 0 && at[page + 50] == 0 && at[2 * page + 50] == 0);
    at[2 * page] = 6;
    char got = 0;
    CHECK(pread(fd, &got, 1, 2 * page) == 1 && got == 6);
    CHECK(fsync(fd) == 0);
    done(fd, at);
}

static void rights_come_from_how_it_was_opened(void) {
    const int fd = fresh(page), reads = open(path, O_RDONLY);
    CHECK(reads >= 0);
    char* at = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    char* seen = mmap(NULL, page, PROT_READ, MAP_SHARED, reads, 0);
    CHECK(at != MAP_FAILED && seen != MAP_FAILED);
    catch_faults();
    CHECK_EQ(TRY_FAULT(at[0] = 1), SIGSEGV);
    CHECK(mprotect(at, page, PROT_READ | PROT_WRITE) == 0);
    at[0] = 4;
    CHECK(seen[0] == 4);
    CHECK_ERROR(mprotect(seen, page, PROT_READ | PROT_WRITE), EACCES);
    CHECK(mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, reads, 0) == MAP_FAILED && errno == EACCES);
    CHECK(msync(seen, page, MS_SYNC) == 0 && munmap(seen, page) == 0 && close(reads) == 0);
    CHECK(munmap(at, page) == 0 && close(fd) == 0 && unlink(path) == 0);
}

// A call's bytes lie in the very file that it moves them to or from.
static void a_file_is_read_into_its_own_mapping(void) {
    enum { half = pages / 2 * page };
    const int fd = fresh(2 * half);
    char* at = map_all(fd);
    for (int i = 0; i < half; i++)
        at[i] = (char)(i * 7 + i / page);
    CHECK_EQ(pwrite(fd, at, half, half), half);
    CHECK(msync(at, 2 * half, MS_SYNC) == 0);
    CHECK(!memcmp(at, at + half, half));
    memset(at, 0, half);
    CHECK_EQ(pread(fd, at, half, half), half);
    CHECK(!memcmp(at, at + half, half));
    CHECK(fsync(fd) == 0);
    done(fd, at);
}

static void a_range_may_show_several_files(void) {
    char* at = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    const int fd = fresh(page);
    char second[80];
    snprintf(second, sizeof second, "%s.2", path);
    const int other = open(second, O_CREAT | O_RDWR, 0600);
    CHECK(other >= 0 && ftruncate(other, 2 * page) == 0);
    const int access = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_FIXED;
    CHECK(mmap(at, page, access, how, fd, 0) == at && mmap(at + page, page, access, how, other, page) == at + page);
    CHECK(mmap(at + 3 * page, page, access, how, other, 0) == at + 3 * page);
    at[0] = 1, at[page] = 2, at[3 * page] = 3;
    CHECK(msync(at, 4 * page, MS_SYNC) == 0);
    char got[3] = {0};
    CHECK(pread(fd, got, 1, 0) == 1 && pread(other, got + 1, 1, page) == 1 && pread(other, got + 2, 1, 0) == 1);
    CHECK(got[0] == 1 && got[1] == 2 && got[2] == 3);
    CHECK(munmap(at + 2 * page, page) == 0);
    CHECK_ERROR(msync(at, 4 * page, MS_SYNC), ENOMEM);
    CHECK_ERROR(msync(at, page, MS_SYNC | MS_ASYNC), EINVAL);
    CHECK(msync(at, page, MS_ASYNC) == 0);
    CHECK(munmap(at, 4 * page) == 0 && close(fd) == 0 && close(other) == 0 && unlink(path) == 0 && unlink(second) == 0);
}

TAP_MAIN(T(stores_are_read_and_writes_are_seen), T(processes_share_a_mapping),
         T(what_was_stored_outlives_who_stored_it), T(a_file_ends_under_its_mapping),
         T(rights_come_from_how_it_was_opened), T(a_file_is_read_into_its_own_mapping),
         T(a_range_may_show_several_files))
