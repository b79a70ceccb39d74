// Mapping, unmapping, protecting and moving memory, the stack's growth, and what happens at the edges.
#include "tests/user/tap.h"

#include <sys/auxv.h>

static void private_memory_is_fresh(void) {
    char* memory = anonymous(100 * page);
    for (int at = 0; at < 100 * page; at++)
        CHECK_EQ(memory[at], 0);
    memset(memory, 1, 100 * page);
    CHECK(munmap(memory, 100 * page) == 0);
    memory = anonymous(100 * page);
    for (int at = 0; at < 100 * page; at++)
        CHECK_EQ(memory[at], 0);
}

static void shared_memory_is_seen_after_a_fork(void) {
    volatile int* memory = shared(16 * page);
    memory[0] = 1;
    IN_CHILD(child) {
        CHECK_EQ(memory[0], 1);
        for (int at = 0; at < 16; at++)
            memory[at * page / 4] = at + 10;
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    for (int at = 0; at < 16; at++)
        CHECK_EQ(memory[at * page / 4], at + 10);
}

static void hints_are_taken_if_free(void) {
    char* free_place = anonymous(16 * page);
    CHECK(munmap(free_place, 16 * page) == 0);
    char* at = mmap(free_place, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at == free_place);
    char* other = mmap(free_place, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(other != MAP_FAILED && other != at);
    char* odd = mmap(free_place + 4 * page + 123, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(odd != MAP_FAILED && (uintptr_t)odd % page == 0);
}

static void fixed_replaces(void) {
    char* memory = anonymous(8 * page);
    memset(memory, 5, 8 * page);
    CHECK(mmap(memory + 2 * page, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          memory + 2 * page);
    for (int at = 0; at < 8; at++)
        CHECK_EQ(memory[at * page], at >= 2 && at < 5 ? 0 : 5);
    CHECK_ERROR(
        (intptr_t)mmap(memory + page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000 /* NOREPLACE */, -1, 0),
        EEXIST);
    CHECK_ERROR((intptr_t)mmap(memory + 1, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
}

static void bad_requests_are_refused(void) {
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
    CHECK_ERROR((intptr_t)mmap(NULL, 0, PROT_READ, anon, -1, 0), EINVAL);
    CHECK_ERROR((intptr_t)mmap(NULL, page, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERROR((intptr_t)mmap(NULL, page, PROT_READ, MAP_PRIVATE, 99, 0), EBADF);
    CHECK_ERROR(syscall(SYS_mmap, 0, page, PROT_READ, MAP_PRIVATE, 99, 1), EINVAL);
    CHECK_ERROR(syscall(SYS_mmap, 0, -1L, PROT_READ, anon, -1, 0), ENOMEM);
    CHECK_ERROR(syscall(SYS_mmap, 0, 1L << 62, PROT_READ, anon, -1, 0), ENOMEM);
    CHECK_ERROR(syscall(SYS_mmap, 0xfffffffffff000, 16 * page, PROT_READ, anon | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERROR(syscall(SYS_mmap, 0xffff800000000000, page, PROT_READ, anon | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERROR(syscall(SYS_munmap, 1, page), EINVAL);
    CHECK_ERROR(syscall(SYS_munmap, page, 0), EINVAL);
    CHECK_ERROR(syscall(SYS_munmap, 0xffff800000000000, page), EINVAL);
    CHECK_ERROR(syscall(SYS_munmap, page, -1L & ~4095L), EINVAL);
    CHECK_ERROR(syscall(SYS_mprotect, 1, page, PROT_READ), EINVAL);
    CHECK_ERROR(syscall(SYS_mprotect, 0x10000000000, page, PROT_READ), ENOMEM);
    CHECK_ERROR(syscall(SYS_madvise, 1, page, MADV_DONTNEED), EINVAL);
    CHECK_ERROR(syscall(SYS_madvise, 0x10000000000, page, MADV_DONTNEED), ENOMEM);
}

static void holes_are_holes(void) {
    char* memory = anonymous(9 * page);
    memset(memory, 3, 9 * page);
    CHECK(munmap(memory + 4 * page, page) == 0);
    CHECK(munmap(memory + 4 * page, page) == 0); // nothing there is fine
    catch_faults();
    for (int at = 0; at < 9; at++)
        CHECK_EQ(TRY_FAULT(memory[at * page]++), at == 4 ? SIGSEGV : 0);
    CHECK_EQ(TRY_FAULT(*(volatile char*)(memory + 4 * page + 77)), SIGSEGV);
    CHECK_EQ(fault.address, (uintptr_t)memory + 4 * page + 77);
    CHECK_EQ(fault.code, SEGV_MAPERR);
    CHECK(munmap(memory, 9 * page) == 0); // over the hole
    CHECK_EQ(TRY_FAULT(memory[0]++), SIGSEGV);
}

static void protections_are_kept(void) {
    char* memory = anonymous(6 * page);
    memset(memory, 3, 6 * page);
    catch_faults();
    CHECK(mprotect(memory + page, 2 * page, PROT_READ) == 0);
    CHECK(mprotect(memory + 3 * page, page, PROT_NONE) == 0);
    CHECK_EQ(TRY_FAULT(memory[page + 5] = 1), SIGSEGV);
    CHECK_EQ(fault.code, SEGV_ACCERR);
    CHECK_EQ(fault.address, (uintptr_t)memory + page + 5);
    CHECK_EQ(memory[page + 5], 3);
    CHECK_EQ(TRY_FAULT(*(volatile char*)(memory + 3 * page)), SIGSEGV);
    CHECK_EQ(fault.code, SEGV_ACCERR);
    memory[4 * page] = 4;
    CHECK(mprotect(memory, 6 * page, PROT_READ | PROT_WRITE) == 0);
    CHECK_EQ(memory[3 * page], 3);
    memset(memory, 9, 6 * page);
}

static void code_runs_only_where_it_may(void) {
    unsigned char* memory = (unsigned char*)anonymous(page);
    memcpy(memory, "\xb8\x2a\x00\x00\x00\xc3", 6); // mov $42, %eax; ret
    int (*code)(void) = (int (*)(void))memory;
    catch_faults();
    CHECK_EQ(TRY_FAULT(code()), SIGSEGV);
    CHECK_EQ(fault.address, (uintptr_t)memory);
    CHECK(mprotect(memory, page, PROT_READ | PROT_EXEC) == 0);
    CHECK_EQ(code(), 42);
    CHECK_EQ(TRY_FAULT(memory[0] = 1), SIGSEGV);
}

static void null_is_not_mapped(void) {
    catch_faults();
    CHECK_EQ(TRY_FAULT(*(volatile int*)NULL), SIGSEGV);
    CHECK_EQ(fault.address, 0);
    CHECK_EQ(TRY_FAULT(*(volatile int*)8 = 1), SIGSEGV);
    CHECK_EQ(fault.address, 8);
    CHECK_EQ(TRY_FAULT(*(volatile int*)0xffffffff80000000), SIGSEGV); // the kernel's
    CHECK_EQ(TRY_FAULT(*(volatile int*)0x8000000000000000), SIGSEGV); // no address at all
    CHECK_EQ(TRY_FAULT(((void (*)(void))0xffffffff80000000)()), SIGSEGV);
    CHECK_EQ(TRY_FAULT(((void (*)(void))16)()), SIGSEGV);
}

static void growing_and_shrinking(void) {
    char* memory = anonymous(4 * page);
    for (int at = 0; at < 4; at++)
        memory[at * page] = at + 1;
    char* grown = mremap(memory, 4 * page, 64 * page, MREMAP_MAYMOVE);
    CHECK(grown != MAP_FAILED);
    for (int at = 0; at < 64; at++)
        CHECK_EQ(grown[at * page], at < 4 ? at + 1 : 0);
    catch_faults();
    if (grown != memory) CHECK_EQ(TRY_FAULT(memory[0]++), SIGSEGV);
    grown[63 * page] = 64;
    CHECK(mremap(grown, 64 * page, 2 * page, 0) == grown);
    CHECK_EQ(grown[page], 2);
    CHECK_EQ(TRY_FAULT(grown[2 * page]++), SIGSEGV);
    char* again = mremap(grown, 2 * page, 3 * page, 0); // the place behind it is free again
    CHECK(again == grown);
    CHECK_EQ(again[2 * page], 0);
}

static void moving_to_a_fixed_place(void) {
    char* from = anonymous(4 * page);
    char* to = anonymous(8 * page);
    memset(from, 1, 4 * page);
    memset(to, 2, 8 * page);
    CHECK(mremap(from, 4 * page, 4 * page, MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 * page) == to + 2 * page);
    for (int at = 0; at < 8; at++)
        CHECK_EQ(to[at * page], at >= 2 && at < 6 ? 1 : 2);
    catch_faults();
    CHECK_EQ(TRY_FAULT(from[0]++), SIGSEGV);
    CHECK_ERROR((intptr_t)mremap(to, 4 * page, 4 * page, MREMAP_MAYMOVE | MREMAP_FIXED, to + page), EINVAL); // overlaps
    CHECK_ERROR((intptr_t)mremap(to + 1, page, page, 0), EINVAL);
    CHECK_ERROR((intptr_t)mremap(to, page, 0, 0), EINVAL);
    CHECK_ERROR((intptr_t)mremap((void*)0x10000000000, page, 2 * page, MREMAP_MAYMOVE), EFAULT);
}

static void no_room_in_place(void) {
    char* memory = anonymous(4 * page);
    CHECK_ERROR((intptr_t)mremap(memory, page, 4 * page, 0), ENOMEM);
    char* moved = mremap(memory, page, 4 * page, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved != memory);
}

static void moved_memory_is_still_shared(void) {
    volatile char* memory = shared(2 * page);
    IN_CHILD(child) {
        volatile char* moved =
            mremap((void*)memory, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, anonymous(2 * page));
        CHECK(moved != MAP_FAILED && moved != memory);
        moved[page] = 42;
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(memory[page], 42);
}

static void discarded_memory_is_zero(void) {
    char* memory = anonymous(8 * page);
    memset(memory, 1, 8 * page);
    CHECK(madvise(memory + 2 * page, 3 * page, MADV_DONTNEED) == 0);
    for (int at = 0; at < 8; at++)
        CHECK_EQ(memory[at * page], at >= 2 && at < 5 ? 0 : 1);
    char* all = shared(2 * page);
    memset(all, 7, 2 * page);
    CHECK(madvise(all, 2 * page, MADV_DONTNEED) == 0);
    CHECK_EQ(all[page], 7);                     // shared memory is only forgotten by this process
    for (int advice = 0; advice <= 4; advice++) // normal, random, sequential, willneed, dontneed
        CHECK(madvise(memory, 8 * page, advice) == 0);
    CHECK_ERROR(madvise(memory, page, 999), EINVAL);
}

static void advice_for_forks(void) {
    char* memory = anonymous(4 * page);
    memset(memory, 1, 4 * page);
    CHECK(madvise(memory, page, MADV_DONTFORK) == 0);
    CHECK(madvise(memory + page, page, 18 /* MADV_WIPEONFORK */) == 0);
    catch_faults();
    IN_CHILD(child) {
        CHECK_EQ(TRY_FAULT(*(volatile char*)memory), SIGSEGV);
        CHECK_EQ(memory[page], 0);
        CHECK_EQ(memory[2 * page], 1);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(memory[0] + memory[page], 2);
}

static void residency_is_told(void) {
    unsigned char there[8];
    char* memory = anonymous(8 * page);
    memory[0] = memory[5 * page] = 1;
    CHECK(mincore(memory, 8 * page, there) == 0);
    CHECK((there[0] & 1) && (there[5] & 1));
    CHECK(!(there[3] & 1) && !(there[7] & 1));
    CHECK_ERROR(mincore(memory + 1, page, there), EINVAL);
    CHECK_ERROR(syscall(SYS_mincore, 0x10000000000, page, there), ENOMEM);
    CHECK_ERROR(syscall(SYS_mincore, memory, page, 8), EFAULT);
}

static void locking(void) {
    char* memory = anonymous(4 * page);
    unsigned char there[4] = {0};
    CHECK(mlock(memory, 4 * page) == 0);
    CHECK(mincore(memory, 4 * page, there) == 0);
    CHECK(there[0] & there[1] & there[2] & there[3] & 1);
    CHECK(munlock(memory, 4 * page) == 0);
    CHECK_ERROR(mlock((void*)0x10000000000, page), ENOMEM);
    CHECK(munmap(memory, 4 * page) == 0);
    char* populated = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(populated != MAP_FAILED);
    CHECK(mincore(populated, 4 * page, there) == 0);
    CHECK(there[0] & there[1] & there[2] & there[3] & 1);
    CHECK(msync(populated, 4 * page, MS_SYNC) == 0);
    CHECK_ERROR(msync((void*)0x10000000000, page, MS_SYNC), ENOMEM);
}

static void the_break_moves(void) {
    char* first = (char*)syscall(SYS_brk, 0);
    CHECK((char*)syscall(SYS_brk, first + 10 * page) == first + 10 * page);
    for (int at = 0; at < 10 * page; at++)
        CHECK_EQ(first[at], 0);
    memset(first, 1, 10 * page);
    CHECK((char*)syscall(SYS_brk, first + 2 * page) == first + 2 * page);
    CHECK((char*)syscall(SYS_brk, first + 10 * page) == first + 10 * page);
    CHECK_EQ(first[page], 1);
    CHECK_EQ(first[5 * page], 0);                                        // given back, and fresh
    CHECK((char*)syscall(SYS_brk, 1) == first + 10 * page);              // refused: says where it is
    CHECK((char*)syscall(SYS_brk, 0x7fffffffffff) == first + 10 * page); // no room
    CHECK((char*)syscall(SYS_brk, first) == first);
    catch_faults();
    CHECK_EQ(TRY_FAULT(first[page]++), SIGSEGV);
}

static __attribute__((noinline)) int deep(int depth, volatile char* above) {
    volatile char frame[1000];
    frame[0] = depth;
    frame[999] = *above;
    return depth ? deep(depth - 1, frame) + frame[0] : frame[999];
}

static void the_stack_grows(void) {
    volatile char top = 3;
    IN_CHILD(child) {
        deep(7000, &top); // of 8 MiB
        char* far = __builtin_alloca(500000);
        far[0] = 1; // a jump downwards at once, too
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void endless_recursion_is_caught_on_another_stack(void) {
    static char other[64 << 10];
    const stack_t alternate = {.ss_sp = other, .ss_size = sizeof other};
    volatile char top = 3;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
    CHECK(sigaltstack(&alternate, NULL) == 0);
    catch_faults();
    const uintptr_t here = (uintptr_t)&top;
    CHECK_EQ(TRY_FAULT(deep(1 << 30, &top)), SIGSEGV);
    CHECK(fault.address < here && here - fault.address <= limit.rlim_cur + (1 << 20));
    CHECK(here - fault.address > limit.rlim_cur / 2);
    CHECK_EQ(TRY_FAULT(deep(1 << 30, &top)), SIGSEGV); // and again
}

static void endless_recursion_ends_the_process(void) {
    volatile char top = 3;
    IN_CHILD(child) deep(1 << 30, &top);
    CHECK_EQ(KILLED_BY(child), SIGSEGV);
    catch_faults(); // a handler without a stack to run on is no help
    IN_CHILD(other) deep(1 << 30, &top);
    CHECK_EQ(KILLED_BY(other), SIGSEGV);
}

static void a_lower_stack_limit_counts(void) {
    IN_CHILD(child) {
        const struct rlimit limit = {256 << 10, 256 << 10};
        char* arguments[] = {tap_arguments[0], "--recurse", NULL};
        CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
        execv(arguments[0], arguments);
    }
    CHECK_EQ(KILLED_BY(child), SIGSEGV);
}

// Takes address space until there is no more, and stays alive.
static void address_space_runs_out(void) {
    const struct rlimit limit = {1L << 40, 1L << 40};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    int count = 0;
    for (;; count++) {
        char* at = mmap(NULL, 1L << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) break;
        CHECK(count < 20);
    }
    CHECK_EQ(errno, ENOMEM);
    CHECK(count >= 10);
    char* little = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (little != MAP_FAILED) little[0] = 1;
}

// Uses up all memory there is: whoever does that may be killed or refused, and nobody else suffers.
static void memory_runs_out(void) {
    struct sysinfo info, after;
    CHECK(sysinfo(&info) == 0);
    if ((info.totalram * info.mem_unit) >> 30 >= 2) tap_skip("too much memory to use it all up");
    volatile long* reached = shared(page);
    IN_CHILD(child) {
        for (;;) {
            char* at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (at == MAP_FAILED) _exit(errno == ENOMEM ? 0 : 1);
            for (int offset = 0; offset < 1 << 20; offset += page) {
                at[offset] = 1;
                ++*reached;
            }
        }
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) ? WTERMSIG(status) != SIGABRT : WEXITSTATUS(status) == 0);
    CHECK(*reached * page > (long)(info.freeram * info.mem_unit / 2));
    for (int turn = 0; turn < 100; turn++) {
        CHECK(sysinfo(&after) == 0);
        if (after.freeram * after.mem_unit + (8 << 20) >= info.freeram * info.mem_unit) return;
        sleep_ms(50);
    }
    note("free before: %lu, after: %lu", info.freeram, after.freeram);
    CHECK(0);
}

static void memory_files_are_shared(void) {
    const int file = syscall(SYS_memfd_create, "test", 1 /* cloexec */);
    CHECK(file >= 0);
    CHECK(ftruncate(file, 4 * page) == 0);
    char* one = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char* two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, page);
    char* own = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    CHECK(one != MAP_FAILED && two != MAP_FAILED && own != MAP_FAILED);
    one[page + 3] = 42;
    CHECK_EQ(two[3], 42);
    CHECK_EQ(own[page + 3], 42);
    own[page + 3] = 7;
    CHECK_EQ(one[page + 3], 42);
    IN_CHILD(child) {
        two[page] = 9;
        own[0] = 1;
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(one[2 * page], 9);
    CHECK_EQ(own[0], 0);
    CHECK(close(file) == 0); // the mappings hold it
    CHECK_EQ(two[3], 42);
}

// The bytes of a call lie in the very file that it moves them to or from; pages may not be there yet.
static void a_file_is_written_from_and_read_into_its_own_mapping(void) {
    enum { pages = 32, half = pages / 2 * page };
    const int file = syscall(SYS_memfd_create, "test", 0);
    CHECK(file >= 0 && ftruncate(file, 2 * half) == 0);
    char* memory = mmap(NULL, 2 * half, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(memory != MAP_FAILED);
    for (int at = 0; at < half; at++)
        memory[at] = at * 7 + at / page;
    CHECK_EQ(pwrite(file, memory, half, half), half);
    CHECK(!memcmp(memory, memory + half, half));
    memset(memory, 0, half);
    CHECK_EQ(pread(file, memory, half, half), half);
    CHECK(!memcmp(memory, memory + half, half));
    CHECK_EQ(pwrite(file, memory, half, 0), half); // each byte onto itself
    CHECK(!memcmp(memory, memory + half, half));
}

static void memory_files_end(void) {
    const int file = syscall(SYS_memfd_create, "test", 0);
    CHECK(file >= 0);
    CHECK(ftruncate(file, page + 100) == 0);
    char* memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(memory != MAP_FAILED);
    catch_faults();
    memory[2 * page - 1] = 1; // the last page is whole
    CHECK_EQ(TRY_FAULT(memory[2 * page] = 1), SIGBUS);
    CHECK_EQ(fault.address, (uintptr_t)memory + 2 * page);
    CHECK_EQ(fault.code, BUS_ADRERR);
    CHECK(ftruncate(file, 4 * page) == 0);
    memory[2 * page] = 1;
}

enum { no_access, reading, writing };

static void check_access(volatile char* byte, int access, char content, char fresh) {
    CHECK_EQ(TRY_FAULT(CHECK_EQ(*byte, content)), access == no_access ? SIGSEGV : 0);
    CHECK_EQ(TRY_FAULT(*byte = fresh), access == writing ? 0 : SIGSEGV);
}

static void neighbours_split_and_merge(void) {
    enum { count = 64 };
    char* memory = anonymous(count * page);
    char model[count], access[count];
    unsigned seed = 99;
    catch_faults();
    memset(model, 0, sizeof model);
    memset(access, writing, sizeof access);
    for (int turn = 0; turn < 300; turn++) {
        seed = seed * 1103515245 + 12345;
        const int from = seed >> 16 & (count - 1), pages = 1 + (seed >> 8 & 7), what = seed >> 24 & 3;
        const int end = from + pages < count ? from + pages : count;
        if (what == 3) {
            CHECK(mmap(memory + from * page, (end - from) * page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
        } else {
            CHECK(mprotect(memory + from * page, (end - from) * page,
                           (int[]){PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE}[what]) == 0);
        }
        for (int at = from; at < end; at++) {
            access[at] = what == 3 ? writing : what;
            if (what == 3) model[at] = 0;
        }
        for (int at = 0; at < count; at += 3) {
            check_access(memory + at * page + at, access[at], model[at], turn);
            if (access[at] == writing) model[at] = turn;
        }
    }
}

static void places_are_random(void) {
    // Where things lie differs between two runs of a program: of some tries, not all are alike.
    uintptr_t seen[4];
    for (int at = 0; at < 4; at++) {
        int answer[2];
        char number[16];
        CHECK(pipe(answer) == 0);
        snprintf(number, sizeof number, "%d", answer[1]);
        IN_CHILD(child) execl(tap_arguments[0], tap_arguments[0], "--where", number, (char*)NULL);
        CHECK(read(answer[0], &seen[at], sizeof seen[at]) == sizeof seen[at]);
        CHECK_EQ(EXIT_STATUS(child), 0);
    }
    CHECK(seen[0] != seen[1] || seen[1] != seen[2] || seen[2] != seen[3]);
}

static const struct tap_test tests[] = {
    T(private_memory_is_fresh),
    T(shared_memory_is_seen_after_a_fork),
    T(hints_are_taken_if_free),
    T(fixed_replaces),
    T(bad_requests_are_refused),
    T(holes_are_holes),
    T(protections_are_kept),
    T(code_runs_only_where_it_may),
    T(null_is_not_mapped),
    T(growing_and_shrinking),
    T(moving_to_a_fixed_place),
    T(no_room_in_place),
    T(moved_memory_is_still_shared),
    T(discarded_memory_is_zero),
    T(advice_for_forks),
    T(residency_is_told),
    T(locking),
    T(the_break_moves),
    T(the_stack_grows),
    T(endless_recursion_is_caught_on_another_stack),
    T(endless_recursion_ends_the_process),
    T(a_lower_stack_limit_counts),
    T(address_space_runs_out),
    T(memory_runs_out),
    T(memory_files_are_shared),
    T(a_file_is_written_from_and_read_into_its_own_mapping),
    T(memory_files_end),
    T(neighbours_split_and_merge),
    T(places_are_random),
};

int main(int count, char** arguments) {
    volatile char top = 3;
    if (count > 1 && !strcmp(arguments[1], "--recurse")) return deep(2000, &top);
    if (count > 2 && !strcmp(arguments[1], "--where")) {
        const uintptr_t where = (uintptr_t)&top ^ (uintptr_t)anonymous(page);
        return write(atoi(arguments[2]), &where, sizeof where) != sizeof where;
    }
    return tap_main(count, arguments, tests, sizeof tests / sizeof tests[0]);
}
