// A block device: past the cache and through it, and buffers that change while they are written. Writes to the device
// that `disk_test` in the environment names.
#include "tests/user/tap.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

// linux/fs.h is the kernel's, and musl comes without it.
enum { BLKSSZGET = 0x1268 };
static const unsigned long BLKGETSIZE64 = 0x80081272;

enum { large = 1 << 20, words = page / sizeof(uint32_t) };

static int disk(int flags) {
    const char* path = getenv("disk_test");
    if (!path) tap_skip("no disk to write to: disk_test is not set");
    const int fd = open(path, O_RDWR | flags);
    CHECK(fd >= 0);
    return fd;
}

static uint8_t* memory(size_t bytes) {
    uint8_t* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void fill(uint8_t* at, size_t bytes, unsigned seed) {
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)((i * 2654435761u + seed * 40503u) >> 13);
}

static void it_says_what_it_is(void) {
    const int fd = disk(0);
    uint64_t bytes = 0;
    int unit = 0;
    struct stat s;
    CHECK(ioctl(fd, BLKGETSIZE64, &bytes) == 0 && bytes >= 8 * large && bytes % 512 == 0);
    CHECK(ioctl(fd, BLKSSZGET, &unit) == 0 && unit >= 512 && unit <= page);
    CHECK(fstat(fd, &s) == 0 && S_ISBLK(s.st_mode) && s.st_rdev != 0);
    CHECK_EQ(lseek(fd, 0, SEEK_END), bytes);
    char one;
    CHECK_EQ(read(fd, &one, 1), 0);
    CHECK_ERROR(write(fd, &one, 1), ENOSPC);
    CHECK_EQ(pread(fd, &one, 1, bytes - 1), 1);
    CHECK_ERROR(ioctl(fd, 0x5401, &one), ENOTTY);
    CHECK_ERROR(ioctl(fd, BLKGETSIZE64, (void*)16), EFAULT);
}

static void whole_blocks_go_past_the_cache(void) {
    const int fd = disk(O_DIRECT);
    uint8_t *out = memory(large), *in = memory(large);
    fill(out, large, 1);
    CHECK_EQ(pwrite(fd, out, large, large), large);
    CHECK_EQ(pread(fd, in, large, large), large);
    CHECK(memcmp(in, out, large) == 0);
    for (size_t bytes = 512; bytes <= 8192; bytes += 512) {
        CHECK_EQ(pwrite(fd, out + bytes, bytes, large + bytes), bytes);
        CHECK_EQ(pread(fd, in, bytes, large + bytes), bytes);
        CHECK(memcmp(in, out + bytes, bytes) == 0);
    }
    CHECK_ERROR(pwrite(fd, out, 100, 0), EINVAL);
    CHECK_ERROR(pwrite(fd, out, 512, 10), EINVAL);
    CHECK_ERROR(pread(fd, in, 513, 0), EINVAL);
    CHECK_ERROR(pread(fd, (void*)4096, 4096, 0), EFAULT);
}

static void pieces_of_memory_make_one_transfer(void) {
    const int fd = disk(O_DIRECT);
    uint8_t *out = memory(8 * page), *in = memory(8 * page);
    fill(out, 8 * page, 2);
    struct iovec from[] = {{out + page, page}, {out, page}, {out + 4 * page, 2 * page}};
    struct iovec to[] = {{in, 2 * page}, {in + 3 * page, page}, {in + 7 * page, page}};
    CHECK_EQ(pwritev(fd, from, 3, 2 * large), 4 * page);
    CHECK_EQ(preadv(fd, to, 3, 2 * large), 4 * page);
    CHECK(memcmp(in, out + page, page) == 0 && memcmp(in + page, out, page) == 0);
    CHECK(memcmp(in + 3 * page, out + 4 * page, page) == 0 && memcmp(in + 7 * page, out + 5 * page, page) == 0);
}

static void the_cache_and_the_disk_agree(void) {
    const int cached = disk(0), direct = disk(O_DIRECT);
    uint8_t *out = memory(large), *in = memory(large);
    fill(out, large, 3);
    // Odd places and lengths, then what lies on the disk.
    for (size_t at = 0; at + 70001 < large; at += 70001)
        CHECK_EQ(pwrite(cached, out + at, 70001, 3 * large + at), 70001);
    const size_t written = large / 70001 * 70001, whole = written / page * page;
    CHECK_EQ(pread(direct, in, whole, 3 * large), whole); // what is cached comes out first
    CHECK(memcmp(in, out, whole) == 0);
    CHECK_EQ(pread(cached, in, 1000, 3 * large), 1000);
    fill(out, page, 4);
    CHECK_EQ(pwrite(direct, out, page, 3 * large), page); // and what was cached is old now
    CHECK_EQ(pread(cached, in, page, 3 * large), page);
    CHECK(memcmp(in, out, page) == 0);
    CHECK(fsync(cached) == 0 && fdatasync(direct) == 0);
}

static void appending_makes_no_disk_longer(void) {
    const int fd = disk(0);
    uint64_t bytes = 0;
    CHECK(ioctl(fd, BLKGETSIZE64, &bytes) == 0);
    uint8_t* out = memory(2 * page);
    CHECK_EQ(pwrite(fd, out, 2 * page, bytes - 512), 512);
    CHECK_ERROR(pwrite(fd, out, 1, bytes), ENOSPC);
    CHECK_ERROR(ftruncate(fd, 0), EINVAL);
}

// --- The buffer changes at once

struct scribbler {
    uint32_t* at;
    volatile int stop;
    volatile unsigned long rounds;
    long long longest_ns; // that a change of one page took
};

// Word after word gets the next number: at any moment a page is some words of n + 1 and then words of n.
static void* scribble(void* argument) {
    struct scribbler* s = argument;
    for (uint32_t n = 1; !s->stop; n++) {
        for (unsigned p = 0; p < large / page && !s->stop; p++) {
            const long long begun = now_ns();
            for (unsigned i = 0; i < words; i++)
                ((volatile uint32_t*)s->at)[p * words + i] = n;
            const long long took = now_ns() - begun;
            if (took > s->longest_ns) s->longest_ns = took;
        }
        s->rounds++;
    }
    return NULL;
}

static int is_of_one_moment(const uint32_t* block) {
    for (unsigned i = 1; i < words; i++)
        if (block[i] > block[i - 1]) return 0;
    return block[0] - block[words - 1] <= 1;
}

static void check_snapshots(int direct) {
    const int fd = disk(direct ? O_DIRECT : 0), look = disk(O_DIRECT);
    const char* more = getenv("stall_rounds");
    const int rounds = more ? atoi(more) : 60;
    struct scribbler s = {.at = (uint32_t*)memory(large)};
    uint32_t* seen = (uint32_t*)memory(large);
    memset(s.at, 0, large);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, scribble, &s) == 0);
    while (!s.rounds)
        sleep_ms(1);
    const unsigned long before = s.rounds;
    long long spent = 0;
    for (int n = 0; n < rounds; n++) {
        const long long begun = now_ns();
        CHECK_EQ(pwrite(fd, s.at, large, 4 * large), large);
        if (!direct) CHECK(fsync(fd) == 0);
        spent += now_ns() - begun;
        CHECK_EQ(pread(look, seen, large, 4 * large), large);
        for (unsigned p = 0; p < large / page; p++)
            CHECK(is_of_one_moment(seen + p * words));
    }
    s.stop = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    note("a write of 1 MiB took %lld us; meanwhile the buffer changed %lu times, and a page never took longer than "
         "%lld us",
         spent / rounds / 1000, s.rounds - before, s.longest_ns / 1000);
    CHECK(s.rounds > before);
}

static void a_buffer_may_change_while_it_is_written_past_the_cache(void) {
    check_snapshots(1);
}
static void a_buffer_may_change_while_it_is_written_and_synced(void) {
    check_snapshots(0);
}

static void threads_may_write_side_by_side(void) {
    const int fd = disk(O_DIRECT);
    for (int n = 0; n < 4; n++) {
        if (fork()) continue;
        uint8_t *out = memory(16 * page), *in = memory(16 * page);
        for (int round = 0; round < 30; round++) {
            fill(out, 16 * page, n * 100 + round);
            const off_t at = 5 * large + n * 16 * page;
            CHECK_EQ(pwrite(fd, out, 16 * page, at), 16 * page);
            CHECK_EQ(pread(fd, in, 16 * page, at), 16 * page);
            CHECK(memcmp(in, out, 16 * page) == 0);
        }
        _exit(0);
    }
    for (int n = 0; n < 4; n++) {
        int status;
        CHECK(wait(&status) > 0 && status == 0);
    }
}

TAP_MAIN(T(it_says_what_it_is), T(whole_blocks_go_past_the_cache), T(pieces_of_memory_make_one_transfer),
         T(the_cache_and_the_disk_agree), T(appending_makes_no_disk_longer),
         T(a_buffer_may_change_while_it_is_written_past_the_cache),
         T(a_buffer_may_change_while_it_is_written_and_synced), T(threads_may_write_side_by_side))
