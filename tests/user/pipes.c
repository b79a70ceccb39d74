// Pipes: the bytes that go in come out, once, in order, whatever size, whoever else writes, and whatever becomes of the
// writer's memory after write() has returned. Large aligned writes lend their pages: nobody may notice.
#include "tests/user/ledger.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

// How much a pipe takes is its own affair (what is lent costs it nothing), but `endless` is more than any.
enum { mib = 1 << 20, endless = 8 * mib };

struct two {
    int out, in;
};

static struct two make_pipe(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    return (struct two){ends[0], ends[1]};
}

static unsigned char pattern(size_t at, unsigned seed) {
    return (at * 31 + (at >> 8) * 7 + (at >> 16) + seed * 101) & 0xff;
}

static void fill(void* buffer, size_t bytes, unsigned seed) {
    for (size_t at = 0; at < bytes; at++)
        ((unsigned char*)buffer)[at] = pattern(at, seed);
}

static void write_all(int to, const char* buffer, size_t bytes) {
    while (bytes) {
        const ssize_t count = write(to, buffer, bytes);
        CHECK(count > 0);
        buffer += count;
        bytes -= count;
    }
}

// Reads so many bytes in pieces of at most `piece` and compares them.
static void expect(int from, size_t bytes, size_t piece, unsigned seed) {
    char* buffer = anonymous(piece + page);
    for (size_t at = 0; at < bytes;) {
        const ssize_t count = read(from, buffer, piece < bytes - at ? piece : bytes - at);
        if (count <= 0) note("read gives %zd at byte %zu of %zu", count, at, bytes);
        CHECK(count > 0);
        for (ssize_t offset = 0; offset < count; offset++, at++)
            if ((unsigned char)buffer[offset] != pattern(at, seed)) {
                note("byte %zu of %zu (pieces of %zu) is %d, not %d", at, bytes, piece, (unsigned char)buffer[offset],
                     pattern(at, seed));
                CHECK(0);
            }
    }
    CHECK(munmap(buffer, piece + page) == 0);
}

static void all_sizes_arrive(void) {
    static const size_t sizes[] = {1,    2,     7,     63,    64,    100,   511,   1000,   4095,   4096,   4097, 8192,
                                   8193, 16384, 32767, 32768, 65535, 65536, 65537, 131072, 262145, 524288, mib};
    char* buffer = anonymous(mib + page);
    for (unsigned at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        for (int shift = 0; shift < 2; shift++) {
            struct two ends = make_pipe();
            fill(buffer + shift * 13, sizes[at], at);
            IN_CHILD(child) {
                close(ends.out);
                CHECK_EQ(write(ends.in, buffer + shift * 13, sizes[at]), sizes[at]); // blocks until all is in
            }
            close(ends.in);
            expect(ends.out, sizes[at], (size_t[]){mib, 4096, 1000}[at % 3], at);
            CHECK_EQ(read(ends.out, buffer, 10), 0);
            close(ends.out);
            CHECK_EQ(EXIT_STATUS(child), 0);
        }
    }
}

static void random_sizes_match(void) {
    struct two ends = make_pipe();
    enum { total = 4 * mib };
    IN_CHILD(child) {
        char* buffer = anonymous(256 << 10);
        unsigned seed = 7;
        close(ends.out);
        for (size_t at = 0; at < total;) {
            seed = seed * 1103515245 + 12345;
            size_t count = (seed >> 8) % (1 << (seed >> 28)) + 1, shift = seed >> 6 & 4095;
            if (seed & 32) shift = 0, count = (count * 16 + page - 1) & ~(size_t)(page - 1); // whole pages
            if (count > (200 << 10)) count = 200 << 10;
            if (count > total - at) count = total - at;
            for (size_t offset = 0; offset < count; offset++)
                buffer[shift + offset] = pattern(at + offset, 3);
            CHECK_EQ(write(ends.in, buffer + shift, count), count);
            at += count;
        }
    }
    close(ends.in);
    char* buffer = anonymous(256 << 10);
    unsigned seed = 99;
    for (size_t at = 0; at < total;) {
        seed = seed * 1103515245 + 12345;
        size_t wished = (seed >> 8) % (1 << (seed >> 28)) + 1, shift = seed >> 6 & 4095;
        if (seed & 32) shift = 0, wished = (wished * 16 + page - 1) & ~(size_t)(page - 1);
        if (wished > (200 << 10)) wished = 200 << 10;
        const ssize_t count = read(ends.out, buffer + shift, wished);
        CHECK(count > 0 && (size_t)count <= wished);
        for (ssize_t offset = 0; offset < count; offset++, at++)
            CHECK_EQ((unsigned char)buffer[shift + offset], pattern(at, 3));
    }
    CHECK_EQ(read(ends.out, buffer, 1), 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void small_writes_do_not_mix(void) {
    struct two ends = make_pipe();
    pid_t writers[4];
    enum { turns = 100, bytes = 4096 /* PIPE_BUF */ };
    for (int at = 0; at < 4; at++) {
        IN_CHILD(child) {
            char* buffer = anonymous(2 * page);
            close(ends.out);
            // Two of them with whole pages, two across a page's edge.
            memset(buffer + at % 2 * 100, 'a' + at, bytes);
            for (int turn = 0; turn < turns; turn++)
                CHECK_EQ(write(ends.in, buffer + at % 2 * 100, bytes), bytes);
        }
        writers[at] = child;
    }
    close(ends.in);
    int counts[4] = {0};
    for (int record = 0; record < 4 * turns; record++) {
        char buffer[bytes];
        size_t have = 0;
        while (have < bytes) {
            const ssize_t count = read(ends.out, buffer + have, bytes - have);
            CHECK(count > 0);
            have += count;
        }
        for (int at = 1; at < bytes; at++)
            CHECK_EQ(buffer[at], buffer[0]);
        counts[buffer[0] - 'a']++;
    }
    for (int at = 0; at < 4; at++) {
        CHECK_EQ(counts[at], turns);
        CHECK_EQ(EXIT_STATUS(writers[at]), 0);
    }
}

static void the_end_is_seen(void) {
    struct two ends = make_pipe();
    char buffer[10];
    CHECK(write(ends.in, "abc", 3) == 3);
    CHECK(close(ends.in) == 0);
    CHECK_EQ(read(ends.out, buffer, 10), 3);
    CHECK_EQ(read(ends.out, buffer, 10), 0);
    CHECK_EQ(read(ends.out, buffer, 10), 0);
    ends = make_pipe();
    IN_CHILD(child) {
        close(ends.in);
        CHECK_EQ(read(ends.out, buffer, 10), 0); // sleeps until the other end goes
    }
    sleep_ms(20);
    CHECK(close(ends.in) == 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static volatile int seen;
static void count(int number) {
    seen++;
}

static void nobody_reads(void) {
    struct two ends = make_pipe();
    CHECK(close(ends.out) == 0);
    signal(SIGPIPE, SIG_IGN);
    CHECK_ERROR(write(ends.in, "x", 1), EPIPE);
    signal(SIGPIPE, count);
    CHECK_ERROR(write(ends.in, "x", 1), EPIPE);
    CHECK_EQ(seen, 1);
    IN_CHILD(child) {
        signal(SIGPIPE, SIG_DFL);
        write(ends.in, "x", 1);
    }
    CHECK_EQ(KILLED_BY(child), SIGPIPE);
    ends = make_pipe();
    signal(SIGPIPE, SIG_IGN);
    IN_CHILD(writer) {
        close(ends.out);
        char* buffer = anonymous(endless);
        const ssize_t written = write(ends.in, buffer, endless); // it sleeps when the reader goes
        CHECK(written > 0 ? written < endless : errno == EPIPE);
    }
    sleep_ms(20);
    CHECK(close(ends.out) == 0);
    CHECK_EQ(EXIT_STATUS(writer), 0);
}

static void wrong_ends_are_refused(void) {
    struct two ends = make_pipe();
    char byte;
    CHECK_ERROR(write(ends.out, "x", 1), EBADF);
    CHECK_ERROR(read(ends.in, &byte, 1), EBADF);
    CHECK_ERROR(lseek(ends.in, 0, SEEK_SET), ESPIPE);
    CHECK_ERROR(pread(ends.out, &byte, 1, 0), ESPIPE);
    CHECK_ERROR(syscall(SYS_pipe2, 8, 0), EFAULT);
    int raw[2];
    CHECK_ERROR(syscall(SYS_pipe2, raw, 0x1234567), EINVAL);
    CHECK_EQ(write(ends.in, "", 0), 0);
}

static void without_blocking(void) {
    int raw[2];
    char* buffer = anonymous(endless);
    CHECK(pipe2(raw, O_NONBLOCK) == 0);
    CHECK_ERROR(read(raw[0], buffer, 1), EAGAIN);
    fill(buffer, endless, 1);
    size_t written = 0;
    for (;;) {
        const ssize_t count = write(raw[1], buffer + written, endless - written);
        if (count < 0) break;
        written += count;
        CHECK(written < endless);
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK(written >= 4096);
    CHECK_ERROR(write(raw[1], buffer, 4096), EAGAIN);
    int waiting = 0;
    CHECK(ioctl(raw[0], FIONREAD, &waiting) == 0);
    CHECK_EQ(waiting, written);
    expect(raw[0], written, 5000, 1);
    CHECK_ERROR(read(raw[0], buffer, 1), EAGAIN);
    CHECK_EQ(write(raw[1], "x", 1), 1); // there is room again
}

static void a_blocked_write_can_be_interrupted(void) {
    struct two ends = make_pipe();
    char* buffer = anonymous(endless);
    const struct sigaction action = {.sa_handler = count};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    fill(buffer, endless, 2);
    const pid_t nag = begin_nagging(SIGUSR1);
    const ssize_t written = write(ends.in, buffer, endless);
    CHECK(written > 0 ? written < endless : errno == EINTR); // what has gone in counts
    CHECK(seen >= 1);
    end_nagging(nag);
    CHECK(close(ends.in) == 0);
    if (written > 0) expect(ends.out, written, mib, 2);
    CHECK_EQ(read(ends.out, buffer, 1), 0);
}

// The heart of lending: the writer's changes after write() are not seen by the reader.
static void a_buffer_may_be_changed_at_once(void) {
    static const size_t sizes[] = {8192, 16384, 32768, 65536};
    char* buffer = anonymous(65536);
    for (unsigned at = 0; at < 4; at++) {
        for (int turn = 0; turn < 10; turn++) {
            struct two ends = make_pipe();
            fill(buffer, sizes[at], turn);
            CHECK_EQ(write(ends.in, buffer, sizes[at]), sizes[at]);
            memset(buffer, 0xee, sizes[at]);
            expect(ends.out, sizes[at], turn % 2 ? 65536 : 1234, turn);
            for (size_t byte = 0; byte < sizes[at]; byte++)
                CHECK_EQ((unsigned char)buffer[byte], 0xee);
            close(ends.in);
            close(ends.out);
        }
    }
}

static void a_buffer_may_be_changed_while_another_reads(void) {
    struct two ends = make_pipe();
    IN_CHILD(child) {
        close(ends.in);
        for (int turn = 0; turn < 20; turn++)
            expect(ends.out, mib / 4, mib, turn);
    }
    close(ends.out);
    char* buffer = anonymous(mib / 4);
    for (int turn = 0; turn < 20; turn++) {
        fill(buffer, mib / 4, turn);
        CHECK_EQ(write(ends.in, buffer, mib / 4), mib / 4);
        memset(buffer, 0xee, mib / 4);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void a_buffer_may_vanish_at_once(void) {
    for (int turn = 0; turn < 20; turn++) {
        struct two ends = make_pipe();
        char* buffer = anonymous(65536);
        fill(buffer, 65536, turn);
        CHECK_EQ(write(ends.in, buffer, 65536), 65536);
        if (turn % 4 == 0) CHECK(munmap(buffer, 65536) == 0);
        if (turn % 4 == 1) CHECK(madvise(buffer, 65536, MADV_DONTNEED) == 0);
        if (turn % 4 == 2) CHECK(mprotect(buffer, 65536, PROT_NONE) == 0);
        if (turn % 4 == 3) CHECK(mremap(buffer, 65536, 4096, 0) == buffer);
        char* other = anonymous(mib); // takes what is free now
        memset(other, 0xdd, mib);
        expect(ends.out, 65536, 65536, turn);
        CHECK(munmap(other, mib) == 0);
        close(ends.in);
        close(ends.out);
    }
}

static volatile int over;
static void* unmap_again_and_again(void* buffer) {
    while (!over) {
        munmap(buffer, 65536);
        CHECK(mmap(buffer, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == buffer);
        memset(buffer, 0x11, 65536);
    }
    return NULL;
}

static void a_buffer_may_vanish_meanwhile(void) {
    struct two ends = make_pipe();
    char *buffer = anonymous(65536), *to = anonymous(65536);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, unmap_again_and_again, buffer), 0);
    for (int turn = 0; turn < 300; turn++) {
        const ssize_t written = write(ends.in, buffer, 65536);
        CHECK(written > 0 || errno == EFAULT);
        for (ssize_t have = 0; have < written;) {
            const ssize_t count = read(ends.out, to, written - have);
            CHECK(count > 0);
            for (ssize_t at = 0; at < count; at++)
                CHECK(to[at] == 0 || to[at] == 0x11); // nobody else's bytes
            have += count;
        }
    }
    over = 1;
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void a_writer_may_end_at_once(void) {
    for (int turn = 0; turn < 10; turn++) {
        struct two ends = make_pipe();
        IN_CHILD(child) {
            char* buffer = anonymous(65536);
            fill(buffer, 65536, turn);
            CHECK_EQ(write(ends.in, buffer, 65536), 65536);
            if (turn % 2) kill(getpid(), SIGKILL);
        }
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(turn % 2 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
        close(ends.in);
        expect(ends.out, 65536, 65536, turn);
        char byte;
        CHECK_EQ(read(ends.out, &byte, 1), 0);
        close(ends.out);
    }
}

static void a_fork_between_write_and_read(void) {
    for (int turn = 0; turn < 10; turn++) {
        struct two ends = make_pipe();
        char* buffer = anonymous(65536);
        fill(buffer, 65536, turn);
        CHECK_EQ(write(ends.in, buffer, 65536), 65536);
        IN_CHILD(child) {
            // All three differ: what is in the pipe, the child's, the parent's.
            for (size_t at = 0; at < 65536; at++)
                CHECK_EQ((unsigned char)buffer[at], pattern(at, turn));
            memset(buffer, 0xcc, 65536);
            if (turn % 2) expect(ends.out, 65536, 65536, turn);
            for (size_t at = 0; at < 65536; at++)
                CHECK_EQ((unsigned char)buffer[at], 0xcc);
        }
        if (turn % 4 < 2) memset(buffer, 0xbb, 65536);
        CHECK_EQ(EXIT_STATUS(child), 0);
        if (turn % 2 == 0) expect(ends.out, 65536, 65536, turn);
        for (size_t at = 0; at < 65536; at++)
            CHECK_EQ((unsigned char)buffer[at], turn % 4 < 2 ? 0xbb : pattern(at, turn));
        CHECK(munmap(buffer, 65536) == 0);
        close(ends.in);
        close(ends.out);
    }
}

static void one_buffer_in_two_pipes(void) {
    struct two first = make_pipe(), second = make_pipe();
    char* buffer = anonymous(65536);
    fill(buffer, 65536, 1);
    CHECK_EQ(write(first.in, buffer, 65536), 65536);
    CHECK_EQ(write(second.in, buffer, 65536), 65536); // lent twice
    memset(buffer, 0xaa, 32768);
    expect(first.out, 65536, 4096, 1);
    memset(buffer, 0xaa, 65536);
    expect(second.out, 65536, 65536, 1);
}

static void shared_memory_through_a_pipe(void) {
    struct two ends = make_pipe();
    char* buffer = shared(65536);
    fill(buffer, 65536, 1);
    CHECK_EQ(write(ends.in, buffer, 65536), 65536);
    IN_CHILD(child) memset(buffer, 0xaa, 65536); // another process changes the same page
    CHECK_EQ(EXIT_STATUS(child), 0);
    expect(ends.out, 65536, 65536, 1);
    for (size_t at = 0; at < 65536; at++)
        CHECK_EQ((unsigned char)buffer[at], 0xaa);
}

static void a_read_only_buffer(void) {
    struct two ends = make_pipe();
    char* buffer = anonymous(32768);
    fill(buffer, 32768, 4);
    CHECK(mprotect(buffer, 32768, PROT_READ) == 0);
    CHECK_EQ(write(ends.in, buffer, 32768), 32768);
    CHECK(mprotect(buffer, 32768, PROT_READ | PROT_WRITE) == 0);
    memset(buffer, 1, 32768);
    expect(ends.out, 32768, 32768, 4);
    char* zeroes = anonymous(32768); // never touched
    CHECK_EQ(write(ends.in, zeroes, 32768), 32768);
    memset(zeroes, 1, 32768);
    CHECK_EQ(read(ends.out, buffer, 32768), 32768);
    for (int at = 0; at < 32768; at++)
        CHECK_EQ(buffer[at], 0);
}

static void what_was_read_is_the_readers_own(void) {
    struct two ends = make_pipe();
    char *from = anonymous(65536), *to = anonymous(65536);
    fill(from, 65536, 1);
    CHECK_EQ(write(ends.in, from, 65536), 65536);
    expect(ends.out, 100, 100, 1);
    ssize_t have = 0;
    while (have < 65436) {
        const ssize_t count = read(ends.out, to + have, 65436 - have);
        CHECK(count > 0);
        have += count;
    }
    memset(to, 0x99, 65536);
    for (size_t at = 0; at < 65536; at++)
        CHECK_EQ((unsigned char)from[at], pattern(at, 1));
    fill(from, 65536, 2);
    CHECK_EQ(write(ends.in, from, 65536), 65536);
    CHECK_EQ(read(ends.out, to, 65536), 65536); // aligned on both sides
    memset(from, 0x88, 65536);
    for (size_t at = 0; at < 65536; at++)
        CHECK_EQ((unsigned char)to[at], pattern(at, 2));
    memset(to, 0x77, 65536);
    for (size_t at = 0; at < 65536; at++)
        CHECK_EQ((unsigned char)from[at], 0x88);
}

static void two_readers_get_each_byte_once(void) {
    struct two ends = make_pipe();
    volatile unsigned* sums = shared(page);
    pid_t readers[2];
    for (int at = 0; at < 2; at++) {
        IN_CHILD(child) {
            char* buffer = anonymous(32768);
            ssize_t count;
            close(ends.in);
            while ((count = read(ends.out, buffer, 32768)) > 0)
                for (ssize_t byte = 0; byte < count; byte++)
                    sums[at * 8] += (unsigned char)buffer[byte], sums[at * 8 + 1]++;
            CHECK_EQ(count, 0);
        }
        readers[at] = child;
    }
    close(ends.out);
    char* buffer = anonymous(65536);
    unsigned sum = 0;
    for (int turn = 0; turn < 50; turn++) {
        fill(buffer, 65536, turn);
        const size_t bytes = 65536 - turn * 700;
        for (size_t at = 0; at < bytes; at++)
            sum += (unsigned char)buffer[at];
        write_all(ends.in, buffer, bytes);
    }
    close(ends.in);
    for (int at = 0; at < 2; at++)
        CHECK_EQ(EXIT_STATUS(readers[at]), 0);
    CHECK_EQ(sums[1] + sums[9], 50 * 65536 - 700 * 49 * 25);
    CHECK_EQ(sums[0] + sums[8], sum);
}

static void vectors_are_gathered(void) {
    struct two ends = make_pipe();
    char* buffer = anonymous(65536);
    fill(buffer, 65536, 6);
    struct iovec parts[] = {
        {buffer, 100}, {NULL, 0}, {buffer + 100, 5000}, {buffer + 5100, 32768}, {buffer + 37868, 1}};
    CHECK_EQ(writev(ends.in, parts, 5), 37869);
    expect(ends.out, 37869, 10000, 6);
    CHECK_EQ(writev(ends.in, parts, 4), 37868);
    char* to = anonymous(65536);
    struct iovec wanted[] = {{to + 3, 1000}, {to + 1003, 1}, {to + 1004, 60000}};
    CHECK_EQ(readv(ends.out, wanted, 3), 37868);
    for (size_t at = 0; at < 37868; at++)
        CHECK_EQ((unsigned char)to[3 + at], pattern(at, 6));
}

static void a_long_chain(void) {
    // Each stage reads and writes on: 8 processes, 2 MiB.
    enum { stages = 8, bytes = 2 * mib };
    struct two first = make_pipe(), from = first;
    for (int stage = 0; stage < stages; stage++) {
        struct two to = make_pipe();
        IN_CHILD(child) {
            char* buffer = anonymous(65536);
            close(first.in);
            close(to.out);
            for (;;) {
                const ssize_t count = read(from.out, buffer, 65536);
                CHECK(count >= 0);
                if (!count) break;
                write_all(to.in, buffer, count);
            }
        }
        close(from.out);
        close(to.in);
        from = to;
    }
    IN_CHILD(writer) {
        char* buffer = anonymous(bytes);
        fill(buffer, bytes, 5);
        close(from.out);
        write_all(first.in, buffer, bytes);
    }
    close(first.in);
    expect(from.out, bytes, 65536, 5);
    for (int stage = 0; stage <= stages; stage++) {
        int status;
        CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void lent_pages_are_bounded(void) {
    // Many full pipes at once: lending must have a limit beyond which bytes are copied, and lose nothing.
    enum { pipes = 64 };
    struct two all[pipes];
    char* buffer = anonymous(65536);
    for (int at = 0; at < pipes; at++) {
        all[at] = make_pipe();
        CHECK(fcntl(all[at].in, F_SETFL, O_NONBLOCK) == 0);
    }
    for (int turn = 0; turn < 3; turn++) {
        size_t written[pipes];
        for (int at = 0; at < pipes; at++) {
            fill(buffer, 65536, at);
            const ssize_t count = write(all[at].in, buffer, 65536);
            CHECK(count > 0 || errno == EAGAIN);
            written[at] = count > 0 ? count : 0;
        }
        CHECK(written[0] > 0);
        memset(buffer, 0, 65536);
        for (int at = 0; at < pipes; at++)
            expect(all[at].out, written[at], 65536, at);
    }
}

// Loans end: what nobody reads for long is the pipe's own.

enum { too_long_ms = 700 };

// Until so much that was lent has become a copy: a while, and longer on a busy machine. What was not lent at all ends
// the waiting in five seconds more.
static void wait_for_ends_of_loans(long long before, long long bytes) {
    sleep_ms(too_long_ms);
    for (int turn = 0; turn < 100 && before >= 0 && in_ledger("loan ended") < before + bytes; turn++)
        sleep_ms(50);
}

// A pipe with room for a mebibyte, lent or copied.
static struct two make_wide_pipe(void) {
    struct two ends = make_pipe();
    CHECK(fcntl(ends.in, 1031 /* F_SETPIPE_SZ */, mib) == mib);
    return ends;
}

static long free_pages(void) {
    struct sysinfo info;
    CHECK(sysinfo(&info) == 0);
    return info.freeram * info.mem_unit / page;
}

// Writes to a mebibyte that was touched before and is nobody else's: no pages are needed for that.
static void expect_rewriting_takes_no_pages(char* buffer) {
    const long before = free_pages();
    memset(buffer, 0xee, mib);
    const long taken = before - free_pages();
    if (taken >= 64) note("%ld pages were taken", taken);
    CHECK(taken < 64);
}

static void what_nobody_reads_for_long_is_the_writers_again(void) {
    struct two ends = make_wide_pipe();
    char* buffer = anonymous(mib);
    fill(buffer, mib, 1);
    long long before = in_ledger("loan ended");
    CHECK_EQ(write(ends.in, buffer, mib), mib);
    wait_for_ends_of_loans(before, mib);
    expect_rewriting_takes_no_pages(buffer);
    expect(ends.out, mib, 100000, 1);
    fill(buffer, mib, 2); // and so it is when half of it was read
    before = in_ledger("loan ended");
    CHECK_EQ(write(ends.in, buffer, mib), mib);
    expect(ends.out, mib / 2, 100000, 2);
    wait_for_ends_of_loans(before, mib / 2);
    expect_rewriting_takes_no_pages(buffer);
    char* rest = anonymous(mib);
    for (size_t have = 0; have < mib / 2;) {
        const ssize_t count = read(ends.out, rest + have, mib / 2 - have);
        CHECK(count > 0);
        have += count;
    }
    for (size_t at = 0; at < mib / 2; at++)
        CHECK_EQ((unsigned char)rest[at], pattern(mib / 2 + at, 2));
}

static void a_stopped_reader_holds_nobodys_memory(void) {
    struct two ends = make_wide_pipe(), ready = make_pipe();
    char *buffer = anonymous(mib), byte;
    IN_CHILD(child) {
        close(ends.in);
        CHECK(write(ready.in, "x", 1) == 1);
        raise(SIGSTOP);
        expect(ends.out, mib, mib, 3);
    }
    int status;
    CHECK(read(ready.out, &byte, 1) == 1);
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status));
    fill(buffer, mib, 3); // also its own again after the fork
    const long long before = in_ledger("loan ended");
    CHECK_EQ(write(ends.in, buffer, mib), mib);
    wait_for_ends_of_loans(before, mib);
    expect_rewriting_takes_no_pages(buffer);
    CHECK(kill(child, SIGCONT) == 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void what_a_writer_left_behind_can_be_read_long_after(void) {
    struct two ends = make_wide_pipe();
    char byte;
    const long long ended_before = in_ledger("loan ended");
    IN_CHILD(child) {
        char* buffer = anonymous(mib);
        fill(buffer, mib, 4);
        CHECK_EQ(write(ends.in, buffer, mib), mib);
    }
    close(ends.in);
    CHECK_EQ(EXIT_STATUS(child), 0);
    const long before = free_pages();
    wait_for_ends_of_loans(ended_before, mib);
    CHECK(free_pages() > before - 64); // one mebibyte waits there, not two
    expect(ends.out, mib, 65536, 4);
    CHECK_EQ(read(ends.out, &byte, 1), 0);
}

static void readers_come_when_loans_end(void) {
    enum { pairs = 12, turns = 3, bytes = 256 << 10 };
    pid_t readers[pairs];
    for (int pair = 0; pair < pairs; pair++) {
        IN_CHILD(child) {
            char *buffer = anonymous(bytes), *to = anonymous(bytes);
            for (int turn = 0; turn < turns; turn++) {
                struct two ends = make_wide_pipe();
                fill(buffer, bytes, pair + turn);
                CHECK_EQ(write(ends.in, buffer, bytes), bytes);
                for (int part = 0; part < 4; part++) {
                    sleep_ms(part ? 1 : 490 + pair * 5); // loans end after 500 ms
                    memset(buffer + part * bytes / 4, turn, bytes / 4);
                    for (size_t have = 0; have < bytes / 4;) {
                        const ssize_t count = read(ends.out, to + part * bytes / 4 + have, bytes / 4 - have);
                        CHECK(count > 0);
                        have += count;
                    }
                }
                for (size_t at = 0; at < bytes; at++)
                    CHECK_EQ((unsigned char)to[at], pattern(at, pair + turn));
                close(ends.out);
                close(ends.in);
            }
        }
        readers[pair] = child;
    }
    for (int pair = 0; pair < pairs; pair++)
        CHECK_EQ(EXIT_STATUS(readers[pair]), 0);
}

static void sizes_can_be_asked_and_set(void) {
    struct two ends = make_pipe();
    const int was = fcntl(ends.in, 1032 /* F_GETPIPE_SZ */);
    CHECK(was >= 4096);
    const int now = fcntl(ends.in, 1031 /* F_SETPIPE_SZ */, 262144);
    CHECK(now >= 262144);
    char* buffer = anonymous(262144);
    fill(buffer, 262144, 3);
    CHECK_EQ(write(ends.in, buffer, 262144), 262144); // does not block
    expect(ends.out, 262144, 262144, 3);
}

static void random_loans_match_a_model(void) {
    // One process plays writer, reader, owner and parent at random; a byte array is what must be true.
    enum { pages = 32, bytes = pages * page };
    unsigned char *memory = (unsigned char*)anonymous(bytes), *model = (unsigned char*)malloc(bytes);
    static unsigned char expected[endless], got[bytes];
    size_t queued = 0;
    struct two ends = make_pipe();
    CHECK(fcntl(ends.in, F_SETFL, O_NONBLOCK) == 0 && fcntl(ends.out, F_SETFL, O_NONBLOCK) == 0);
    unsigned seed = now_ns();
    note("seed %u", seed);
    memset(model, 0, bytes);
    for (int turn = 0; turn < 2000; turn++) {
        seed = seed * 1103515245 + 12345;
        const size_t first = seed >> 8 & (pages - 1), count = 1 + (seed >> 16) % (pages - first), what = seed >> 28;
        if (what < 5) {
            for (size_t at = first; at < first + count; at++)
                memory[at * page + turn % page] = model[at * page + turn % page] = seed >> 3;
        } else if (what < 9) {
            const size_t shift = what == 8 ? turn % page : 0;
            const ssize_t written = write(ends.in, memory + first * page + shift, count * page - shift);
            CHECK(written > 0 || errno == EAGAIN);
            if (written > 0) {
                CHECK(queued + written <= sizeof expected);
                memcpy(expected + queued, model + first * page + shift, written);
                queued += written;
            }
        } else if (what < 12) {
            const ssize_t have = read(ends.out, got, count * page);
            CHECK(have > 0 || errno == EAGAIN);
            if (have > 0) {
                CHECK((size_t)have <= queued);
                CHECK(!memcmp(got, expected, have));
                memmove(expected, expected + have, queued - have);
                queued -= have;
            }
        } else if (what == 12) {
            // Straight into the memory itself.
            const ssize_t have = read(ends.out, memory + first * page, count * page);
            if (have > 0) {
                memcpy(model + first * page, expected, have);
                memmove(expected, expected + have, queued - have);
                queued -= have;
            }
        } else if (what == 13) {
            CHECK(madvise(memory + first * page, count * page, MADV_DONTNEED) == 0);
            memset(model + first * page, 0, count * page);
        } else if (what == 14 && turn % 4 == 0) {
            IN_CHILD(child) {
                CHECK(!memcmp(memory, model, bytes));
                memset(memory, 1, bytes);
            }
            CHECK_EQ(EXIT_STATUS(child), 0);
        } else if (turn % 16 == 0) {
            CHECK(!memcmp(memory, model, bytes));
        }
    }
    CHECK(!memcmp(memory, model, bytes));
}

// --- Packets

static struct two make_packet_pipe(int flags) {
    int ends[2];
    CHECK(pipe2(ends, O_DIRECT | flags) == 0);
    CHECK(!(fcntl(ends[0], F_GETFL) & O_DIRECT) && (fcntl(ends[1], F_GETFL) & O_DIRECT));
    return (struct two){ends[0], ends[1]};
}

static void each_read_takes_a_packet(void) {
    const struct two ends = make_packet_pipe(O_NONBLOCK);
    char got[2 * page];
    int bytes;
    CHECK_EQ(write(ends.in, "one", 3), 3);
    CHECK_EQ(write(ends.in, "three", 5), 5);
    CHECK_EQ(write(ends.in, "", 0), 0); // there are no empty ones
    CHECK_EQ(write(ends.in, "x", 1), 1);
    CHECK(ioctl(ends.out, FIONREAD, &bytes) == 0);
    CHECK_EQ(bytes, 9);
    CHECK_EQ(read(ends.out, got, sizeof got), 3);
    CHECK(!memcmp(got, "one", 3));
    // What has no room is lost.
    CHECK_EQ(read(ends.out, got, 2), 2);
    CHECK(!memcmp(got, "th", 2));
    CHECK_EQ(read(ends.out, got, sizeof got), 1);
    CHECK(got[0] == 'x');
    CHECK_ERROR(read(ends.out, got, sizeof got), EAGAIN);
    // A vector is one packet, and is read as one.
    struct iovec parts[2] = {{"ab", 2}, {"cde", 3}}, into[3] = {{got, 1}, {got + 1, 2}, {got + 3, 1}};
    CHECK_EQ(writev(ends.in, parts, 2), 5);
    CHECK_EQ(readv(ends.out, into, 3), 4);
    CHECK(!memcmp(got, "abcd", 4));
    CHECK_ERROR(read(ends.out, got, 1), EAGAIN);
    // Bad memory loses nothing.
    CHECK_EQ(write(ends.in, "kept", 4), 4);
    CHECK_ERROR(read(ends.out, (void*)16, 4), EFAULT);
    CHECK_EQ(read(ends.out, got, sizeof got), 4);
    CHECK_ERROR(write(ends.in, (void*)16, 4), EFAULT);
    CHECK_ERROR(read(ends.out, got, sizeof got), EAGAIN);
    CHECK_EQ(write(ends.in, "last", 4), 4);
    close(ends.in);
    CHECK_EQ(read(ends.out, got, sizeof got), 4);
    CHECK_EQ(read(ends.out, got, sizeof got), 0);
}

static void long_writes_become_several_packets(void) {
    const struct two ends = make_packet_pipe(0);
    char *buffer = anonymous(4 * page), *got = anonymous(4 * page);
    fill(buffer, 4 * page, 1);
    CHECK_EQ(write(ends.in, buffer, 2 * page + 100), 2 * page + 100);
    CHECK_EQ(write(ends.in, buffer, page), page);
    CHECK_EQ(read(ends.out, got, 4 * page), page);
    CHECK_EQ(read(ends.out, got + page, 4 * page), page);
    CHECK_EQ(read(ends.out, got + 2 * page, page), 100);
    CHECK(!memcmp(buffer, got, 2 * page + 100));
    CHECK_EQ(read(ends.out, got, 4 * page), page);
    // So large that it would be lent: it is packets all the same, and the reader makes room for the rest.
    enum { large = 256 << 10 };
    buffer = anonymous(large);
    fill(buffer, large, 2);
    IN_CHILD(writer) CHECK_EQ(write(ends.in, buffer, large), large);
    for (size_t at = 0; at < large; at += page) {
        CHECK_EQ(read(ends.out, got, 4 * page), page);
        CHECK(!memcmp(buffer + at, got, page));
    }
    CHECK_EQ(EXIT_STATUS(writer), 0);
}

// Each has a page, so there are as many as there is room for pages, however small they are.
static void small_packets_are_bounded(void) {
    const struct two ends = make_packet_pipe(O_NONBLOCK);
    int count = 0;
    while (write(ends.in, "x", 1) == 1)
        count++;
    CHECK(errno == EAGAIN);
    CHECK_EQ(count, fcntl(ends.in, F_GETPIPE_SZ) / page);
    CHECK_ERROR(fcntl(ends.in, F_SETPIPE_SZ, page), EBUSY);
    char got[10];
    CHECK_EQ(read(ends.out, got, 10), 1);
    CHECK_EQ(write(ends.in, "yz", 2), 2);
    for (; count > 1; count--)
        CHECK_EQ(read(ends.out, got, 10), 1);
    CHECK_EQ(read(ends.out, got, 10), 2);
    CHECK_EQ(write(ends.in, got, 10), 10);
}

static void packet_mode_is_switched_on_and_off(void) {
    const struct two ends = make_pipe();
    char got[100];
    CHECK(fcntl(ends.in, F_SETFL, O_DIRECT) == 0);
    CHECK_EQ(write(ends.in, "ab", 2), 2);
    CHECK_EQ(write(ends.in, "cd", 2), 2);
    CHECK(fcntl(ends.in, F_SETFL, 0) == 0);
    CHECK_EQ(write(ends.in, "ef", 2), 2);
    CHECK_EQ(write(ends.in, "gh", 2), 2);
    CHECK_EQ(read(ends.out, got, sizeof got), 2);
    CHECK_EQ(read(ends.out, got, sizeof got), 2);
    CHECK_EQ(read(ends.out, got, sizeof got), 4);
    CHECK(!memcmp(got, "efgh", 4));
}

static void packets_of_many_writers_stay_whole(void) {
    const struct two ends = make_packet_pipe(0);
    enum { writers = 3, each = 300 };
    for (int who = 0; who < writers; who++) {
        IN_CHILD(child) {
            char packet[200];
            for (int at = 0; at < each; at++) {
                memset(packet, 'a' + who, sizeof packet);
                const int bytes = 1 + (at * 7 + who) % 200;
                CHECK_EQ(write(ends.in, packet, bytes), bytes);
            }
        }
        (void)child;
    }
    close(ends.in);
    int seen[writers] = {0};
    char got[page];
    for (ssize_t bytes; (bytes = read(ends.out, got, sizeof got)) > 0;) {
        const int who = got[0] - 'a';
        CHECK(who >= 0 && who < writers);
        CHECK_EQ(bytes, 1 + (seen[who] * 7 + who) % 200);
        for (ssize_t at = 0; at < bytes; at++)
            CHECK(got[at] == got[0]);
        seen[who]++;
    }
    for (int who = 0; who < writers; who++)
        CHECK_EQ(seen[who], each);
}

TAP_MAIN(T(each_read_takes_a_packet), T(long_writes_become_several_packets), T(small_packets_are_bounded),
         T(packet_mode_is_switched_on_and_off), T(packets_of_many_writers_stay_whole), T(all_sizes_arrive),
         T(random_sizes_match), T(small_writes_do_not_mix), T(the_end_is_seen), T(nobody_reads),
         T(wrong_ends_are_refused), T(without_blocking), T(a_blocked_write_can_be_interrupted),
         T(a_buffer_may_be_changed_at_once), T(a_buffer_may_be_changed_while_another_reads),
         T(a_buffer_may_vanish_at_once), T(a_buffer_may_vanish_meanwhile), T(a_writer_may_end_at_once),
         T(a_fork_between_write_and_read), T(one_buffer_in_two_pipes), T(shared_memory_through_a_pipe),
         T(a_read_only_buffer), T(what_was_read_is_the_readers_own), T(two_readers_get_each_byte_once),
         T(vectors_are_gathered), T(a_long_chain), T(lent_pages_are_bounded),
         T(what_nobody_reads_for_long_is_the_writers_again), T(a_stopped_reader_holds_nobodys_memory),
         T(what_a_writer_left_behind_can_be_read_long_after), T(readers_come_when_loans_end),
         T(sizes_can_be_asked_and_set), T(random_loans_match_a_model))
