// The vDSO: found as libc finds it, it tells what the system calls tell, and nobody can change it for others.
#include "tests/user/tap.h"

#include <elf.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/time.h>

typedef int clock_function(int, struct timespec*);

static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC,       CLOCK_MONOTONIC_RAW,
                             CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE,
                             CLOCK_TAI};
enum { clock_count = sizeof clocks / sizeof clocks[0] };

static char* image(void) {
    char* at = (char*)getauxval(AT_SYSINFO_EHDR);
    if (!at) tap_skip("no vDSO");
    return at;
}

// The entry of a tag in the dynamic section; null if there is none.
static Elf64_Dyn* dynamic_entry(char* base, Elf64_Sxword tag) {
    const Elf64_Ehdr* head = (void*)base;
    const Elf64_Phdr* part = (void*)(base + head->e_phoff);
    for (int at = 0; at < head->e_phnum; at++)
        if (part[at].p_type == PT_DYNAMIC)
            for (Elf64_Dyn* entry = (void*)(base + part[at].p_vaddr); entry->d_tag; entry++)
                if (entry->d_tag == tag) return entry;
    return NULL;
}

static void* table(char* base, Elf64_Sxword tag) {
    Elf64_Dyn* entry = dynamic_entry(base, tag);
    CHECK(entry);
    return base + entry->d_un.d_ptr;
}

static int has_version(char* base, int index, const char* version) {
    const char* texts = table(base, DT_STRTAB);
    for (char* at = table(base, DT_VERDEF);;) {
        const Elf64_Verdef* definition = (void*)at;
        if (!(definition->vd_flags & VER_FLG_BASE) && definition->vd_ndx == (index & 0x7fff))
            return !strcmp(texts + ((Elf64_Verdaux*)(at + definition->vd_aux))->vda_name, version);
        if (!definition->vd_next) return 0;
        at += definition->vd_next;
    }
}

static void* find(const char* name) {
    char* base = image();
    const uint32_t* hash = table(base, DT_HASH);
    const Elf64_Sym* symbols = table(base, DT_SYMTAB);
    const char* texts = table(base, DT_STRTAB);
    const uint16_t* versions = table(base, DT_VERSYM);
    for (uint32_t at = 0; at < hash[1]; at++)
        if (symbols[at].st_shndx && !strcmp(texts + symbols[at].st_name, name) &&
            has_version(base, versions[at], "LINUX_2.6"))
            return base + symbols[at].st_value;
    return NULL;
}

static clock_function* reader(void) {
    clock_function* found = find("__vdso_clock_gettime");
    CHECK(found);
    return found;
}

static long long ns(struct timespec t) {
    CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long by_vdso(clock_function* read, int clock) {
    struct timespec now;
    CHECK_EQ(read(clock, &now), 0);
    return ns(now);
}

static long long by_call(int clock) {
    struct timespec now;
    CHECK(syscall(SYS_clock_gettime, clock, &now) == 0);
    return ns(now);
}

static int cpus(void) {
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    return CPU_COUNT(&set);
}

static void stay_on(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
}

static void libc_finds_all_it_looks_for(void) {
    char* base = image();
    const Elf64_Ehdr* head = (void*)base;
    CHECK((uintptr_t)base % page == 0);
    CHECK(!memcmp(head->e_ident, ELFMAG, SELFMAG));
    CHECK(head->e_type == ET_DYN && head->e_machine == EM_X86_64);
    const Elf64_Phdr* part = (void*)(base + head->e_phoff);
    int loads = 0;
    for (int at = 0; at < head->e_phnum; at++) {
        if (part[at].p_type != PT_LOAD) continue;
        loads++;
        CHECK(part[at].p_offset == 0 && part[at].p_vaddr == 0 && part[at].p_flags == (PF_R | PF_X));
    }
    CHECK_EQ(loads, 1);
    CHECK(dynamic_entry(base, DT_GNU_HASH) && dynamic_entry(base, DT_SONAME));
    CHECK(!dynamic_entry(base, DT_RELA) && !dynamic_entry(base, DT_REL) && !dynamic_entry(base, DT_NEEDED));
    CHECK(find("__vdso_clock_gettime") && find("__vdso_gettimeofday") && find("__vdso_time"));
    CHECK(find("__vdso_clock_getres") && find("__vdso_getcpu"));
    CHECK(!find("__vdso_no_such_thing"));
}

static void readings_lie_between_those_of_calls(void) {
    clock_function* read = reader();
    for (int turn = 0; turn < 2000; turn++)
        for (int at = 0; at < clock_count; at++) {
            const long long before = by_call(clocks[at]), mine = by_vdso(read, clocks[at]), after = by_call(clocks[at]);
            CHECK(before <= mine && mine <= after);
        }
}

static void other_clocks_are_asked_for(void) {
    clock_function *read = reader(), *resolution = find("__vdso_clock_getres");
    struct timespec now;
    CHECK(by_vdso(read, CLOCK_PROCESS_CPUTIME_ID) <= by_vdso(read, CLOCK_PROCESS_CPUTIME_ID));
    CHECK(by_vdso(read, CLOCK_THREAD_CPUTIME_ID) <= by_call(CLOCK_THREAD_CPUTIME_ID));
    static const int none[] = {99, 24, 31, 32, 33, 1 << 30, -1, -6, (int)0x80000000};
    for (unsigned at = 0; at < sizeof none / sizeof none[0]; at++) {
        const long call = syscall(SYS_clock_gettime, none[at], &now) == 0 ? 0 : -errno;
        CHECK_EQ(read(none[at], &now), call);
        const long call_resolution = syscall(SYS_clock_getres, none[at], &now) == 0 ? 0 : -errno;
        CHECK_EQ(resolution(none[at], &now), call_resolution);
    }
}

static void its_other_functions_agree_with_calls(void) {
    clock_function* resolution = find("__vdso_clock_getres");
    int (*day)(struct timeval*, struct timezone*) = find("__vdso_gettimeofday");
    time_t (*seconds)(time_t*) = find("__vdso_time");
    CHECK(resolution && day && seconds);
    for (int at = 0; at < clock_count; at++) {
        struct timespec mine = {9, 9}, call = {8, 8};
        CHECK_EQ(resolution(clocks[at], &mine), 0);
        CHECK(syscall(SYS_clock_getres, clocks[at], &call) == 0);
        CHECK(mine.tv_sec == call.tv_sec && mine.tv_nsec == call.tv_nsec);
        CHECK_EQ(resolution(clocks[at], NULL), 0);
    }
    for (int turn = 0; turn < 1000; turn++) {
        struct timeval before, mine, after;
        CHECK(syscall(SYS_gettimeofday, &before, NULL) == 0);
        CHECK_EQ(day(&mine, NULL), 0);
        CHECK(syscall(SYS_gettimeofday, &after, NULL) == 0);
        CHECK(!timercmp(&before, &mine, >) && !timercmp(&mine, &after, >));
        time_t stored;
        const time_t first = syscall(SYS_time, NULL), second = seconds(&stored), third = seconds(NULL);
        CHECK(second == stored && first <= second && second <= third && third <= syscall(SYS_time, NULL));
    }
    struct timezone zone = {7, 7};
    CHECK(day(NULL, &zone) == 0 && zone.tz_minuteswest == 0 && day(NULL, NULL) == 0);
}

static void the_cpu_is_known(void) {
    int (*which)(unsigned*, unsigned*, void*) = find("__vdso_getcpu");
    CHECK(which);
    for (int turn = 0; turn < 5; turn++)
        for (int cpu = 0; cpu < cpus(); cpu++) {
            IN_CHILD(child) {
                unsigned mine = 99, node = 99;
                stay_on(cpu);
                CHECK_EQ(which(&mine, &node, NULL), 0);
                CHECK(mine == (unsigned)cpu && node == 0);
                CHECK_EQ(which(NULL, NULL, NULL), 0);
            }
            CHECK_EQ(EXIT_STATUS(child), 0);
        }
}

// --- Several CPUs.

static volatile long long latest;

static void* read_in_turns(void* number) {
    clock_function* read = reader();
    stay_on((long)number % cpus());
    for (int turn = 0; turn < 25000; turn++) {
        const long long other = __atomic_load_n(&latest, __ATOMIC_SEQ_CST);
        const long long mine = turn % 2 ? by_call(CLOCK_MONOTONIC) : by_vdso(read, CLOCK_MONOTONIC);
        CHECK(mine >= other);
        __atomic_store_n(&latest, mine, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void time_never_goes_back_whoever_reads_it(void) {
    pthread_t threads[4];
    image();
    const int all = cpus();
    note("%d CPUs", all);
    for (long at = 0; at < 4; at++)
        CHECK_EQ(pthread_create(&threads[at], NULL, read_in_turns, (void*)at), 0);
    for (int at = 0; at < 4; at++)
        CHECK_EQ(pthread_join(threads[at], NULL), 0);
}

static void set_time(long long to) {
    const struct timespec t = {.tv_sec = to / 1000000000, .tv_nsec = to % 1000000000};
    CHECK(clock_settime(CLOCK_REALTIME, &t) == 0);
}

static void a_new_time_is_seen_at_once(void) {
    if (geteuid() != 0) tap_skip("not the superuser");
    enum { steps = 200 };
    const long long step = 1000000000000LL;
    clock_function* read = reader();
    struct {
        long long set, done;
    } volatile* common = shared(page);
    const long long real = by_call(CLOCK_REALTIME), offset = real - by_call(CLOCK_MONOTONIC);
    pid_t children[4];
    common->set = real;
    for (int at = 0; at < 4; at++) {
        IN_CHILD(child) {
            stay_on(at % cpus());
            long long was = 0;
            while (!__atomic_load_n(&common->done, __ATOMIC_SEQ_CST)) {
                const long long least = __atomic_load_n(&common->set, __ATOMIC_SEQ_CST);
                const long long mine = by_vdso(read, CLOCK_REALTIME), call = by_call(CLOCK_REALTIME);
                CHECK(mine >= least && mine >= was && call >= mine);
                was = call;
            }
        }
        children[at] = child;
    }
    for (int turn = 1; turn <= steps; turn++) {
        set_time(real + turn * step);
        CHECK(by_vdso(read, CLOCK_REALTIME) >= real + turn * step);
        CHECK(time(NULL) >= (real + turn * step) / 1000000000);
        __atomic_store_n(&common->set, real + turn * step, __ATOMIC_SEQ_CST);
        if (turn % 20 == 0) sched_yield();
    }
    __atomic_store_n(&common->done, 1, __ATOMIC_SEQ_CST);
    int good = 1;
    for (int at = 0; at < 4; at++)
        good &= EXIT_STATUS(children[at]) == 0;
    set_time(by_call(CLOCK_MONOTONIC) + offset); // now that nobody looks any more
    CHECK(good);
    const long long now = by_vdso(read, CLOCK_REALTIME);
    CHECK(now >= real && now < real + step);
}

// --- What may be done to it.

static void nobody_writes_to_it(void) {
    char *code = image(), *clock = code - page;
    clock_function* read = reader();
    int ends[2];
    catch_faults();
    CHECK_EQ(TRY_FAULT(*(volatile char*)code = 1), SIGSEGV);
    CHECK_EQ(TRY_FAULT(*(volatile char*)clock = 1), SIGSEGV);
    CHECK_ERROR(mprotect(clock, page, PROT_READ | PROT_WRITE), EACCES);
    CHECK_ERROR(mprotect(clock, page, PROT_READ | PROT_EXEC), EACCES);
    CHECK(pipe(ends) == 0 && write(ends[1], "bytes", 5) == 5);
    CHECK_ERROR(syscall(SYS_read, ends[0], clock, 5), EFAULT);
    CHECK_ERROR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, clock), EFAULT);
    CHECK(by_vdso(read, CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
}

static void who_changes_the_code_changes_his_own(void) {
    char* code = image();
    const char was = code[EI_PAD];
    IN_CHILD(child) {
        if (mprotect(code, page, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) _exit(tap_skipped);
        code[EI_PAD] = was + 1;
        CHECK(code[EI_PAD] == (char)(was + 1));
        IN_CHILD(grandchild) {
            CHECK(code[EI_PAD] == (char)(was + 1));
        }
        CHECK_EQ(EXIT_STATUS(grandchild), 0);
        CHECK(by_vdso(reader(), CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
    }
    const int status = EXIT_STATUS(child);
    CHECK(code[EI_PAD] == was);
    if (status == tap_skipped) tap_skip("it cannot be changed at all");
    CHECK_EQ(status, 0);
}

static void it_can_be_moved_and_taken_away(void) {
    char *code = image(), *clock = code - page;
    catch_faults();
    IN_CHILD(mover) {
        char* elsewhere = mremap(code, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, anonymous(page));
        if (elsewhere == MAP_FAILED) _exit(tap_skipped);
        CHECK(!memcmp(elsewhere, ELFMAG, SELFMAG));
        char* longer = mremap(clock, page, 2 * page, MREMAP_MAYMOVE);
        if (longer != MAP_FAILED) CHECK_EQ(TRY_FAULT((void)*(volatile char*)(longer + page)), SIGBUS);
    }
    const int status = EXIT_STATUS(mover);
    if (status == tap_skipped) tap_skip("it stays where it is");
    CHECK_EQ(status, 0);
    IN_CHILD(child) {
        CHECK(munmap(clock, 2 * page) == 0);
        CHECK_EQ(TRY_FAULT((void)*(volatile char*)code), SIGSEGV);
        CHECK_EQ(TRY_FAULT((void)*(volatile char*)clock), SIGSEGV);
        CHECK(by_call(CLOCK_MONOTONIC) > 0);
        // Another program has it again.
        execl(tap_arguments[0], tap_arguments[0], "--check", (char*)NULL);
        _exit(127);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(by_vdso(reader(), CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
}

static uintptr_t place_in_another_program(void) {
    int ends[2];
    uintptr_t place = 0;
    CHECK(pipe(ends) == 0);
    IN_CHILD(child) {
        CHECK(dup2(ends[1], 1) == 1);
        execl(tap_arguments[0], tap_arguments[0], "--place", (char*)NULL);
        _exit(127);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(read(ends[0], &place, sizeof place), sizeof place);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
    return place;
}

static void its_place_cannot_be_guessed(void) {
    uintptr_t seen[8];
    int same = 0;
    image();
    for (int at = 0; at < 8; at++) {
        seen[at] = place_in_another_program();
        CHECK(seen[at] && seen[at] % page == 0);
        if (at) same += seen[at] == seen[at - 1];
    }
    if (same == 7) tap_skip("randomisation is off");
    CHECK(same <= 1);
}

static const struct tap_test tests[] = {
    T(libc_finds_all_it_looks_for),
    T(readings_lie_between_those_of_calls),
    T(other_clocks_are_asked_for),
    T(its_other_functions_agree_with_calls),
    T(the_cpu_is_known),
    T(time_never_goes_back_whoever_reads_it),
    T(a_new_time_is_seen_at_once),
    T(nobody_writes_to_it),
    T(who_changes_the_code_changes_his_own),
    T(it_can_be_moved_and_taken_away),
    T(its_place_cannot_be_guessed),
};

int main(int count, char** arguments) {
    const uintptr_t place = getauxval(AT_SYSINFO_EHDR);
    if (count == 2 && !strcmp(arguments[1], "--place")) return write(1, &place, sizeof place) != sizeof place;
    if (count == 2 && !strcmp(arguments[1], "--check")) return libc_finds_all_it_looks_for(), 0;
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
