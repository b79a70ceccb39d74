// Large reads and writes, whose pages change hands instead of being copied: nobody may notice.
#include "tests/user/tap.h"

enum { pieces = 4, piece = 96 * page, rounds = 60 };

// A word a page says who wrote it, and when.
static void fill(char* at, unsigned owner, unsigned round) {
    for (long p = 0; p < piece / page; p++) {
        const uint64_t word = (uint64_t)owner << 48 | (uint64_t)round << 24 | (uint64_t)p;
        for (long i = 0; i < page; i += 512)
            memcpy(at + p * page + i, &word, sizeof word);
    }
}

static uint64_t word_at(const char* at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static char* memory(size_t bytes) {
    char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static int file_of_pieces(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/large_moves.%d", getpid());
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && unlink(path) == 0);
    char* buffer = memory(piece);
    for (unsigned owner = 0; owner < pieces; owner++) {
        fill(buffer, owner, 0);
        CHECK_EQ(pwrite(fd, buffer, piece, (off_t)owner * piece), piece);
    }
    CHECK(munmap(buffer, piece) == 0);
    return fd;
}

// Writes its piece again and again, changes the buffer at once, and reads back what it wrote.
static void write_and_look(int fd, unsigned owner, unsigned shift) {
    char* out = memory(piece + page) + shift;
    char* in = memory(piece);
    for (unsigned round = 1; round <= rounds; round++) {
        fill(out, owner, round);
        CHECK_EQ(pwrite(fd, out, piece, (off_t)owner * piece), piece);
        if (round % 3) memset(out, 0xee, piece); // where the buffer is left alone its pages stay shared
        CHECK_EQ(pread(fd, in, piece, (off_t)owner * piece), piece);
        for (long p = 0; p < piece / page; p++)
            CHECK_EQ(word_at(in + p * page), (uint64_t)owner << 48 | (uint64_t)round << 24 | (uint64_t)p);
        if (round % 4 == 0) memset(in, 0xdd, piece); // the reader's own from then on
    }
}

// Reads all of it. What was read is of its writer, and does not change any more.
static void read_and_keep(int fd) {
    const size_t all = (size_t)pieces * piece;
    char* in = memory(all);
    uint64_t* seen = (uint64_t*)memory(all / page * sizeof(uint64_t));
    for (unsigned round = 0; round < rounds / 2; round++) {
        CHECK_EQ(pread(fd, in, all, 0), all);
        for (size_t p = 0; p < all / page; p++) {
            seen[p] = word_at(in + p * page);
            CHECK_EQ(seen[p] >> 48, p * page / piece);
            CHECK_EQ(seen[p] & 0xffffff, p % (piece / page));
        }
        sched_yield();
        for (size_t p = 0; p < all / page; p++)
            CHECK_EQ(word_at(in + p * page), seen[p]);
    }
}

// The same through a mapping: each page is its writer's, and only gets newer.
static void map_and_watch(int fd) {
    const size_t all = (size_t)pieces * piece;
    const char* at = mmap(NULL, all, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    uint64_t* seen = (uint64_t*)memory(all / page * sizeof(uint64_t));
    for (unsigned round = 0; round < rounds / 2; round++) {
        for (size_t p = 0; p < all / page; p++) {
            const uint64_t now = word_at(at + p * page);
            CHECK_EQ(now >> 48, p * page / piece);
            CHECK(now >= seen[p]);
            seen[p] = now;
        }
        sched_yield();
    }
}

static void run_together(unsigned shift) {
    const int fd = file_of_pieces();
    int children = 0;
    for (unsigned owner = 0; owner < pieces; owner++, children++) {
        const int child = fork();
        CHECK(child >= 0);
        if (child) continue;
        write_and_look(fd, owner, shift);
        _exit(0);
    }
    for (int watcher = 0; watcher < 2; watcher++, children++) {
        const int child = fork();
        CHECK(child >= 0);
        if (child) continue;
        watcher ? map_and_watch(fd) : read_and_keep(fd);
        _exit(0);
    }
    for (int status; children; children--) {
        CHECK(wait(&status) > 0);
        CHECK_EQ(status, 0);
    }
}

static void several_writers_and_readers_of_a_file(void) {
    run_together(0);
}
static void the_same_with_odd_addresses(void) {
    run_together(8);
}

// A thread that writes to the buffer while it is written to a file changes what comes after, not what was moved.
static void a_file_keeps_what_it_was_given(void) {
    const int fd = file_of_pieces();
    char* buffer = memory(piece);
    char* again = memory(piece);
    for (unsigned round = 1; round < 40; round++) {
        fill(buffer, 0, round);
        CHECK_EQ(pwrite(fd, buffer, piece, 0), piece);
        buffer[(round * 37 % (piece / page)) * page] ^= 1; // one page of many: they go on being shared
        CHECK_EQ(pread(fd, again, piece, 0), piece);
        for (long p = 0; p < piece / page; p++)
            CHECK_EQ(word_at(again + p * page), (uint64_t)round << 24 | (uint64_t)p);
        // The other way round: a change of the file is not seen in what was read of it.
        const long victim = round * 11 % (piece / page);
        CHECK_EQ(pwrite(fd, "x", 1, victim * page), 1);
        CHECK_EQ(word_at(again + victim * page), (uint64_t)round << 24 | (uint64_t)victim);
        char first;
        CHECK(pread(fd, &first, 1, victim * page) == 1 && first == 'x');
    }
}

// Memory that was given away and taken back is the process's own after a fork, and goes with its mapping.
static void shared_pages_outlive_forks_and_mappings(void) {
    const int fd = file_of_pieces();
    char* buffer = memory(piece);
    CHECK_EQ(pread(fd, buffer, piece, piece), piece);
    IN_CHILD(child) {
        for (long p = 0; p < piece / page; p++)
            CHECK_EQ(word_at(buffer + p * page), (uint64_t)1 << 48 | (uint64_t)p);
        memset(buffer, 1, piece);
        CHECK_EQ(pwrite(fd, buffer, piece, 2 * piece), piece);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(word_at(buffer + 5 * page), (uint64_t)1 << 48 | 5);
    CHECK(ftruncate(fd, 0) == 0);
    CHECK_EQ(word_at(buffer + 6 * page), (uint64_t)1 << 48 | 6);
    CHECK_EQ(pwrite(fd, buffer, piece, 0), piece);
    CHECK(munmap(buffer, piece) == 0);
    char* again = memory(piece);
    CHECK_EQ(pread(fd, again, piece, 0), piece);
    CHECK_EQ(word_at(again + 7 * page), (uint64_t)1 << 48 | 7);
}

TAP_MAIN(T(several_writers_and_readers_of_a_file), T(the_same_with_odd_addresses), T(a_file_keeps_what_it_was_given),
         T(shared_pages_outlive_forks_and_mappings))
