// The copy ledger (/proc/xio) after transfers that are to copy nothing: not one byte of payload is moved by a CPU. That
// the ledger counts at all is seen by transfers that must copy.
#include "tests/user/ledger.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { mib = 1 << 20 };

// Copied by a call, but for the asking.
#define COPIED_BY(...)                                                                                                 \
    ({                                                                                                                 \
        const long long first_ = copied(), second_ = copied();                                                         \
        __VA_ARGS__;                                                                                                   \
        copied() - second_ - (second_ - first_);                                                                       \
    })

static char base[64];

static char* filled(size_t bytes) {
    char* at = mmap(NULL, bytes + mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    at = (char*)(((uintptr_t)at + mib - 1) & ~(uintptr_t)(mib - 1));
    for (size_t i = 0; i < bytes; i++)
        at[i] = (char)(i * 7 + (i >> 12));
    return at;
}

// An empty file, which is nowhere when it is closed.
static int empty_file(void) {
    const int fd = open("file", O_CREAT | O_EXCL | O_RDWR, 0600);
    CHECK(fd >= 0 && unlink("file") == 0);
    return fd;
}

static int make_file(size_t bytes) {
    const int fd = empty_file();
    char* from = filled(bytes);
    CHECK_EQ(write(fd, from, bytes), (long)bytes);
    CHECK(munmap(from, bytes) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void has_pattern(int fd, size_t bytes) {
    struct stat s;
    CHECK(fstat(fd, &s) == 0);
    CHECK_EQ(s.st_size, (long)bytes);
    char* at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    for (size_t i = 0; i < bytes; i++)
        CHECK(at[i] == (char)(i * 7 + (i >> 12)));
    CHECK(munmap(at, bytes) == 0);
}

static void begin(void) {
    if (copied() < 0) tap_skip("there is no ledger here");
    snprintf(base, sizeof base, "/tmp/ledger.%d", getpid());
    CHECK(mkdir(base, 0700) == 0 && chdir(base) == 0);
}

static void the_ledger_counts_what_is_copied(void) {
    begin();
    const int fd = make_file(mib);
    char few[1000];
    CHECK_EQ(COPIED_BY(CHECK_EQ(read(fd, few, sizeof few), sizeof few)), sizeof few);
    CHECK_EQ(COPIED_BY(CHECK_EQ(write(fd, few, sizeof few), sizeof few)), sizeof few);
    CHECK_EQ(COPIED_BY((void)0), 0);
}

static void files_to_files(void) {
    begin();
    enum { bytes = 4 * mib };
    const int from = make_file(bytes);
    int to = empty_file();
    CHECK_EQ(COPIED_BY(CHECK_EQ(sendfile(to, from, NULL, bytes), bytes)), 0);
    has_pattern(to, bytes);
    to = empty_file();
    off_t at = 0;
    CHECK_EQ(COPIED_BY(CHECK_EQ(syscall(SYS_copy_file_range, from, &at, to, NULL, (size_t)bytes, 0), bytes)), 0);
    has_pattern(to, bytes);
    // In pieces that are no round number of pages it copies at the seams only.
    to = empty_file();
    at = 0;
    const long long some = COPIED_BY({
        while (at < bytes)
            CHECK(syscall(SYS_copy_file_range, from, &at, to, NULL, (size_t)(256 << 10), 0) > 0);
    });
    CHECK_EQ(some, 0);
    has_pattern(to, bytes);
}

static void files_through_a_pipe(void) {
    begin();
    enum { bytes = mib };
    const int from = make_file(bytes), to = empty_file();
    int ends[2];
    CHECK(pipe(ends) == 0);
    const long long some = COPIED_BY({
        for (size_t done = 0; done < bytes;) {
            ssize_t in = splice(from, NULL, ends[1], NULL, bytes - done, SPLICE_F_NONBLOCK);
            CHECK(in > 0);
            done += in;
            while (in) {
                const ssize_t out = splice(ends[0], NULL, to, NULL, in, 0);
                CHECK(out > 0);
                in -= out;
            }
        }
    });
    CHECK_EQ(some, 0);
    has_pattern(to, bytes);
    // And from a file straight into a pipe, which somebody reads into his own pages.
    char* into = filled(bytes);
    memset(into, 0, bytes);
    CHECK(lseek(from, 0, SEEK_SET) == 0);
    const long long more = COPIED_BY({
        for (size_t done = 0; done < bytes;) {
            const ssize_t in = sendfile(ends[1], from, NULL, bytes - done);
            CHECK(in > 0);
            for (size_t end = done + in; done < end;) {
                const ssize_t out = read(ends[0], into + done, end - done);
                CHECK(out > 0);
                done += out;
            }
        }
    });
    CHECK_EQ(more, 0);
    for (size_t i = 0; i < bytes; i++)
        CHECK(into[i] == (char)(i * 7 + (i >> 12)));
}

static void large_aligned_reads_and_writes(void) {
    begin();
    enum { bytes = 4 * mib };
    char* from = filled(bytes);
    int fd = empty_file();
    CHECK_EQ(COPIED_BY(CHECK_EQ(write(fd, from, bytes), bytes)), 0);
    has_pattern(fd, bytes);
    char* into = filled(bytes);
    memset(into, 0, bytes);
    CHECK_EQ(COPIED_BY(CHECK_EQ(pread(fd, into, bytes, 0), bytes)), 0);
    CHECK(!memcmp(from, into, bytes));
    // By vectors as well. (Whoever fills all of a buffer that he shares is served by copying for a while.)
    from[9 * page] = 'y';
    CHECK_EQ(pwrite(fd, "y", 1, 9 * page), 1);
    const struct iovec parts[2] = {{into, mib}, {into + mib, bytes - mib}};
    CHECK_EQ(COPIED_BY(CHECK_EQ(preadv(fd, parts, 2, 0), bytes)), 0);
    CHECK(!memcmp(from, into, bytes));
    // Both sides are their own: each pays when it writes, and only for the page that it writes to.
    CHECK_EQ(COPIED_BY(into[5 * page] = 1), page);
    char got;
    CHECK(pread(fd, &got, 1, 5 * page) == 1 && got == from[5 * page]);
    CHECK_EQ(COPIED_BY(CHECK_EQ(pread(fd, into, bytes, 1), bytes - 1)) >= bytes - 1, 1); // not aligned: copied
}

// What goes in is lent, and what comes out is given.
static void through(int in, int out, size_t bytes, size_t piece) {
    char *from = filled(piece), *into = filled(piece);
    for (size_t done = 0; done < bytes; done += piece) {
        memset(into, 0, piece);
        const long long some = COPIED_BY({
            CHECK_EQ(write(in, from, piece), (long)piece);
            for (size_t have = 0; have < piece;) {
                const ssize_t got = read(out, into + have, piece - have);
                CHECK(got > 0);
                have += got;
            }
        });
        CHECK_EQ(some, 0);
        CHECK(!memcmp(from, into, piece));
    }
}

static void large_writes_to_pipes_and_sockets(void) {
    begin();
    int ends[2];
    CHECK(pipe(ends) == 0);
    through(ends[1], ends[0], 4 * mib, mib);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    through(ends[1], ends[0], 4 * mib, mib);
}

static void files_to_sockets(void) {
    begin();
    enum { bytes = mib };
    const int from = make_file(bytes);
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    char* into = filled(bytes);
    memset(into, 0, bytes);
    const long long some = COPIED_BY({
        CHECK_EQ(sendfile(ends[0], from, NULL, bytes), bytes);
        for (size_t have = 0; have < bytes;) {
            const ssize_t got = recv(ends[1], into + have, bytes - have, 0);
            CHECK(got > 0);
            have += got;
        }
    });
    CHECK_EQ(some, 0);
    for (size_t i = 0; i < bytes; i++)
        CHECK(into[i] == (char)(i * 7 + (i >> 12)));
}

TAP_MAIN(T(the_ledger_counts_what_is_copied), T(files_to_files), T(files_through_a_pipe),
         T(large_aligned_reads_and_writes), T(large_writes_to_pipes_and_sockets), T(files_to_sockets))
