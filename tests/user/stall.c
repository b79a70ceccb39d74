// Who writes to a disk is not held up, and the disk has what stood there when he wrote: a buffer of 1 MiB is changed at
// once while it is on its way, past the cache (O_DIRECT) and through it (fsync in another thread). Each version carries
// its number at both ends of every 512 bytes. Only on a disk file system, and only here: elsewhere O_DIRECT promises
// nothing of the kind.
#include "tests/user/ledger.h"

#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statfs.h>

enum {
    bytes = 1 << 20,
    sector = 512,
    sectors = bytes / sector,
    words = sector / sizeof(uint32_t),
    pages = bytes / page
};
enum { disk_magic = 0xef53, most_rounds = 20000 };

static uint32_t *buffer, *seen;
static int cached, direct; // the same file

static uint8_t* memory(void) {
    uint8_t* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void stamp(uint32_t* at, unsigned number, uint32_t version) {
    volatile uint32_t* one = at + number * words;
    one[0] = version;
    one[words - 1] = version;
}

static void begin(void) {
    static char name[64];
    struct statfs f;
    CHECK(statfs("/tmp", &f) == 0);
    if (f.f_type != disk_magic || access("/proc/xio", R_OK) < 0) tap_skip("no disk file system of this kernel's");
    snprintf(name, sizeof name, "/tmp/stall.%d", getpid());
    CHECK((cached = open(name, O_CREAT | O_RDWR, 0600)) >= 0);
    CHECK((direct = open(name, O_RDWR | O_DIRECT)) >= 0);
    CHECK(unlink(name) == 0);
    buffer = (uint32_t*)memory();
    seen = (uint32_t*)memory();
    for (unsigned i = 0; i < bytes / sizeof(uint32_t); i++)
        buffer[i] = i * 2654435761u;
    for (unsigned s = 0; s < sectors; s++)
        stamp(buffer, s, 0);
    CHECK_EQ(pwrite(cached, buffer, bytes, 0), bytes); // the file has its blocks
    CHECK(fsync(cached) == 0);
}

// What moves a file's payload, if a CPU does.
static long long copied_payload(void) {
    static const char* const reasons[] = {"file write", "too small", "over limit", "not lendable", "bounced"};
    long long sum = 0;
    for (unsigned i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        sum += in_ledger(reasons[i]);
    return sum;
}

// --- The other thread, which waits for the disk

static struct {
    int past_the_cache; // else it syncs what was written
    volatile int wanted, begun, done;
    volatile long long begun_ns, ended_ns;
    int failed;
} io;

static void* wait_for_the_disk(void* none) {
    for (int round = 1;; round++) {
        while (io.wanted < round) {
            if (io.wanted < 0) return none;
            sched_yield();
        }
        io.begun_ns = now_ns();
        __sync_synchronize();
        io.begun = round;
        if (io.past_the_cache)
            io.failed |= pwrite(direct, buffer, bytes, 0) != bytes;
        else
            io.failed |= fsync(cached) != 0;
        io.ended_ns = now_ns();
        __sync_synchronize();
        io.done = round;
    }
}

// Requests that the disks have and have not answered.
static int in_flight(void) {
    char* text = proc_text("/proc/diskstats");
    CHECK(text);
    int sum = 0;
    for (char* line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        int number;
        CHECK(sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d", &number) == 1);
        sum += number;
    }
    return sum;
}

// --- What the disk has

enum outcome { one_version, one_moment, torn };

// Sectors are changed one after the other: at any moment some first ones are of the next version.
static enum outcome judge(uint32_t version, unsigned* first_wrong) {
    enum outcome found = one_version;
    unsigned s = 0;
    CHECK_EQ(pread(direct, seen, bytes, 0), bytes);
    while (s < sectors && seen[s * words] == version + 1 && seen[(s + 1) * words - 1] == version + 1)
        s++;
    if (s) found = one_moment;
    if (s < sectors && seen[s * words] == version + 1 && seen[(s + 1) * words - 1] == version) s++, found = one_moment;
    for (; s < sectors; s++) {
        if (seen[s * words] == version && seen[(s + 1) * words - 1] == version) continue;
        *first_wrong = s;
        return torn;
    }
    for (unsigned i = 0; i < bytes / sizeof(uint32_t); i++)
        if (i % words && i % words != words - 1) CHECK(seen[i] == i * 2654435761u);
    return found;
}

static int by_length(const void* a, const void* b) {
    const long long x = *(const long long*)a, y = *(const long long*)b;
    return (x > y) - (x < y);
}

// Every page is changed, from the very start / a few are, once the pages are certainly lent.
static void check(int past_the_cache, int few) {
    static long long first_ns[most_rounds], io_ns[most_rounds];
    begin();
    const char* more = getenv("stall_rounds");
    int rounds = more ? atoi(more) : 10;
    if (rounds > most_rounds) rounds = most_rounds;
    enum { changed_pages = 16 };
    pthread_t thread;
    io.past_the_cache = past_the_cache;
    CHECK(pthread_create(&thread, NULL, wait_for_the_disk, NULL) == 0);
    int slow = 0, meanwhile = 0, kinds[3] = {0};
    long long copies = 0, broken = 0;
    uint32_t version = 0;
    for (int n = 1; n <= rounds; n++) {
        const long long copied_before = copied_payload(), broken_before = in_ledger("copy on write");
        if (!past_the_cache) CHECK_EQ(pwrite(cached, buffer, bytes, 0), bytes);
        const long long lent_before = in_ledger("bytes lent");
        io.wanted = n;
        while (io.begun < n)
            sched_yield();
        while (few && io.done < n && !(past_the_cache ? in_ledger("bytes lent") >= lent_before + bytes : in_flight()))
            sched_yield();
        const long long asked = now_ns();
        stamp(buffer, 0, version + 1);
        first_ns[n - 1] = few ? now_ns() - asked : now_ns() - io.begun_ns;
        const int before_the_disk = io.done < n;
        const unsigned step = few ? sectors / changed_pages : 1;
        for (unsigned s = step; s < sectors; s += step)
            stamp(buffer, s, version + 1);
        while (io.done < n)
            sched_yield();
        copies += copied_payload() - copied_before;
        broken += in_ledger("copy on write") - broken_before;
        io_ns[n - 1] = io.ended_ns - io.begun_ns;
        const int is_slow = io_ns[n - 1] >= 50 * 1000000LL;
        slow += is_slow;
        meanwhile += is_slow && before_the_disk;
        unsigned wrong = 0;
        const enum outcome is = judge(version, &wrong);
        if (is == torn)
            note("round %d, version %u: sector %u has %u and %u", n, version, wrong, seen[wrong * words],
                 seen[(wrong + 1) * words - 1]);
        kinds[is]++;
        CHECK(is != torn);
        version++;
        for (unsigned s = 0; s < sectors; s++) // the next version is whole
            stamp(buffer, s, version);
    }
    io.wanted = -1;
    CHECK(pthread_join(thread, NULL) == 0 && !io.failed);
    qsort(first_ns, rounds, sizeof first_ns[0], by_length);
    qsort(io_ns, rounds, sizeof io_ns[0], by_length);
    note("%d writes of 1 MiB: the disk takes %lld us, the first change is done after %lld us (the slowest %lld us), in "
         "%d of %d rounds before the disk was done; %d were of one version, %d of one moment",
         rounds, io_ns[rounds / 2] / 1000, first_ns[rounds / 2] / 1000, first_ns[rounds - 1] / 1000, meanwhile, slow,
         kinds[one_version], kinds[one_moment]);
    note("copied a round: %lld bytes because they were changed, %lld for other reasons", broken / rounds,
         copies / rounds);
    // From the very start on counts what it takes to lend 256 pages, too, on a machine that may be busy with others.
    CHECK(first_ns[rounds / 2] < io_ns[rounds / 2] / (few ? 4 : 2));
    // After a pause, as the first time, the host takes one write at once.
    CHECK(slow >= rounds / 2);
    CHECK(meanwhile >= (few ? slow * 9 / 10 : slow / 2));
    // Who changes all of it every time is served by copying, where nothing is promised but the bytes of that moment.
    if (few) CHECK(copies / rounds < page);
    if (few) CHECK(broken / rounds <= (changed_pages + 4) * page);
    if (!past_the_cache || few) CHECK(kinds[one_version] >= rounds * 9 / 10);
}

static void a_buffer_changes_while_it_goes_past_the_cache(void) {
    check(1, 0);
}
static void a_few_pages_change_while_it_goes_past_the_cache(void) {
    check(1, 1);
}
static void a_buffer_changes_while_it_is_synced(void) {
    check(0, 0);
}
static void a_few_pages_change_while_it_is_synced(void) {
    check(0, 1);
}

// What O_DIRECT reads and writes and what others see is one file, whatever of it is in memory; of a length that is no
// multiple of a page, too.
static void past_the_cache_is_the_same_file(void) {
    begin();
    uint8_t *model = memory(), *out = memory(), *in = memory();
    CHECK_EQ(pread(cached, model, bytes, 0), bytes);
    char* map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cached, 0);
    CHECK(map != MAP_FAILED);
    unsigned state = 1;
    for (int n = 0; n < 400; n++) {
        state = state * 1664525u + 1013904223u;
        const size_t at = (state >> 8) % sectors * sector;
        size_t length = ((state >> 20) % 128 + 1) * (n % 3 ? sector : page);
        if (length > bytes - at) length = bytes - at;
        uint8_t* from = out + (n % 2 ? sector : 0);
        if (length > bytes - sector) length = bytes - sector;
        for (size_t i = 0; i < length; i += 97)
            from[i] = (uint8_t)(state >> 3) + i;
        switch (n % 5) {
        case 0:
        case 1:
            CHECK_EQ(pwrite(direct, from, length, at), length);
            memcpy(model + at, from, length);
            break;
        case 2:
            CHECK_EQ(pwrite(cached, from, length, at), length);
            memcpy(model + at, from, length);
            break;
        case 3: map[at] = model[at] = (uint8_t)n; break;
        default: break;
        }
        CHECK_EQ(pread(n % 2 ? direct : cached, in, length, at), length);
        CHECK(memcmp(in, model + at, length) == 0);
    }
    CHECK(memcmp(map, model, bytes) == 0);
    CHECK_ERROR(pwrite(direct, out, 100, 0), EINVAL);
    CHECK_ERROR(pwrite(direct, out, sector, 7), EINVAL);
    CHECK_ERROR(pread(direct, in, 513, 0), EINVAL);
    CHECK_ERROR(pread(direct, in, sector, 1), EINVAL);
    CHECK_ERROR(pread(direct, (void*)4096, page, 0), EFAULT);
    CHECK_ERROR(pwrite(direct, (void*)4096, page, 0), EFAULT);
    CHECK_EQ(pread(direct, in, page, bytes), 0);
    CHECK_EQ(pwrite(direct, out, 3 * sector, bytes), 3 * sector); // it grows
    CHECK_EQ(pread(direct, in, page, bytes), 3 * sector);
    CHECK(memcmp(in, out, 3 * sector) == 0);
}

TAP_MAIN(T(a_buffer_changes_while_it_goes_past_the_cache), T(a_few_pages_change_while_it_goes_past_the_cache),
         T(a_buffer_changes_while_it_is_synced), T(a_few_pages_change_while_it_is_synced),
         T(past_the_cache_is_the_same_file))
