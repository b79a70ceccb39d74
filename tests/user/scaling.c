// Processes that work on files of their own do not slow each other: one a CPU, at the same time, they send no messages
// to other CPUs and wait for no lock. /proc/cpus counts both; Linux has no such file, and there the work alone is
// tested.
//
// Other things happen on a CPU now and then, so it is stretches of work that are counted, and most must be quiet.
#include "tests/user/tap.h"

#include <sys/stat.h>

enum { stretches = 30, rounds = 40, most_cpus = 4 };

struct account {
    long long sent, waits;
};

static int find_column(char* header, const char* name) {
    const char* const at = strstr(header, name);
    CHECK(at != NULL);
    return at - header + strlen(name); // columns end where their names do
}

// The number that ends at a column.
static long long number_at(const char* line, int end) {
    int begin = end;
    while (begin > 0 && line[begin - 1] != ' ')
        begin--;
    return strtoll(line + begin, NULL, 10);
}

// Of this CPU. Reading the table asks all others, which is counted by the next look.
static int look(int table, int cpu, struct account* now) {
    if (table < 0) return 0;
    char text[4096];
    const ssize_t count = pread(table, text, sizeof text - 1, 0);
    CHECK(count > 0);
    text[count] = 0;
    char* line = strstr(text, "cpu "); // the model stands above
    while (line && strncmp(line, "cpu ", 4))
        line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
    CHECK(line != NULL);
    const int sent = find_column(line, "ipis sent"), tokens = find_column(line, "tokens"),
              spins = find_column(line, "spins"), sleeps = find_column(line, "sleeps");
    for (int at = 0; at <= cpu; at++) {
        line = strchr(line, '\n') + 1;
        CHECK(line != (char*)1);
    }
    now->sent = number_at(line, sent);
    now->waits = number_at(line, tokens) + number_at(line, spins) + number_at(line, sleeps);
    return 1;
}

static int cpus(void) {
    const long all = sysconf(_SC_NPROCESSORS_ONLN);
    return all < most_cpus ? all : most_cpus;
}

static void stay_on(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
}

static void use_a_file(const char* path) {
    char bytes[512];
    struct stat s;
    const int file = open(path, O_RDWR);
    CHECK(file >= 0);
    CHECK_EQ(pread(file, bytes, sizeof bytes, 100), sizeof bytes);
    CHECK_EQ(pwrite(file, bytes, sizeof bytes, 1000), sizeof bytes);
    CHECK(fstat(file, &s) == 0 && s.st_size == 4096 && stat(path, &s) == 0);
    CHECK(close(file) == 0);
}

static void make_a_file(const char* path) {
    char fresh[64];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    const int file = open(fresh, O_CREAT | O_EXCL | O_WRONLY, 0600);
    CHECK(file >= 0 && close(file) == 0 && unlink(fresh) == 0);
}

struct shared_state {
    int ready, quiet, without_waiting;
    long long sent, waits;
};

// A process on each CPU works `stretches` times; what all have sent and waited for, less what looking costs.
static struct shared_state* run(void (*work)(const char* path)) {
    struct shared_state* all = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(all != MAP_FAILED);
    pid_t children[most_cpus];
    for (int cpu = 0; cpu < cpus(); cpu++) {
        IN_CHILD(child) {
            stay_on(cpu);
            char path[64];
            snprintf(path, sizeof path, "/tmp/scaling.%d", getpid());
            CHECK(mkdir(path, 0700) == 0);
            strcat(path, "/file");
            const int file = open(path, O_CREAT | O_RDWR, 0600), table = open("/proc/cpus", O_RDONLY);
            CHECK(file >= 0 && ftruncate(file, 4096) == 0 && close(file) == 0);
            for (int at = 0; at < 4 * rounds; at++)
                work(path);
            __atomic_add_fetch(&all->ready, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&all->ready, __ATOMIC_SEQ_CST) < cpus())
                sched_yield();
            for (int stretch = 0; stretch < stretches; stretch++) {
                struct account first = {0}, second = {0}, third = {0};
                look(table, cpu, &first);
                look(table, cpu, &second);
                for (int at = 0; at < rounds; at++)
                    work(path);
                look(table, cpu, &third);
                const long long looking = second.sent - first.sent; // and whatever happened meanwhile
                const long long sent = third.sent - second.sent - looking, waits = third.waits - second.waits;
                __atomic_add_fetch(&all->quiet, sent <= 0 && waits == 0, __ATOMIC_SEQ_CST);
                __atomic_add_fetch(&all->without_waiting, waits == 0, __ATOMIC_SEQ_CST);
                __atomic_add_fetch(&all->sent, sent, __ATOMIC_SEQ_CST);
                __atomic_add_fetch(&all->waits, waits, __ATOMIC_SEQ_CST);
            }
            CHECK(unlink(path) == 0);
            *strrchr(path, '/') = 0;
            CHECK(rmdir(path) == 0);
        }
        children[cpu] = child;
    }
    for (int cpu = 0; cpu < cpus(); cpu++)
        CHECK_EQ(EXIT_STATUS(children[cpu]), 0);
    note("%d CPUs, %d stretches of %d rounds: %d quiet, %d without waiting; %lld sent, %lld waits", cpus(),
         cpus() * stretches, rounds, all->quiet, all->without_waiting, all->sent, all->waits);
    return all;
}

static void own_files_are_used_without_others(void) {
    CHECK(run(use_a_file)->quiet * 4 >= cpus() * stretches * 3);
}

// What is removed is freed once all CPUs were asked, many at a time.
static void own_names_are_made_without_waiting(void) {
    const struct shared_state* all = run(make_a_file);
    CHECK(all->without_waiting * 4 >= cpus() * stretches * 3);
    CHECK(all->sent * 4 <= cpus() * stretches * rounds);
}

TAP_MAIN(T(own_files_are_used_without_others), T(own_names_are_made_without_waiting))
