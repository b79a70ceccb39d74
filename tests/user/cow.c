// Copy-on-write: after a fork each side sees what was there and its own writes, and nobody else's.
#include "tests/user/tap.h"

static int in_data[2000] = {[0 ... 1999] = 7};
static int in_bss[2000];

static void child_and_parent_see_their_own_writes(void) {
    int on_stack[1000];
    int* on_heap = malloc(400000);
    int go[2], done[2];
    char byte;
    CHECK(pipe(go) == 0 && pipe(done) == 0);
    for (int at = 0; at < 1000; at++)
        on_stack[at] = 3;
    for (int at = 0; at < 100000; at++)
        on_heap[at] = 4;
    IN_CHILD(child) {
        for (int at = 0; at < 1000; at++)
            on_stack[at]++, on_heap[at * 100]++, in_data[at]++, in_bss[at]++;
        CHECK(write(done[1], "x", 1) == 1);
        CHECK(read(go[0], &byte, 1) == 1); // now the parent has written
        for (int at = 0; at < 1000; at++) {
            CHECK(on_stack[at] == 4 && on_heap[at * 100] == 5 && in_data[at] == 8 && in_bss[at] == 1);
            CHECK(on_heap[at * 100 + 1] == 4);
        }
    }
    CHECK(read(done[0], &byte, 1) == 1);
    for (int at = 0; at < 1000; at++) {
        CHECK(on_stack[at] == 3 && on_heap[at * 100] == 4 && in_data[at] == 7 && in_bss[at] == 0);
        on_stack[at] = on_heap[at * 100 + 1] = in_data[at] = in_bss[at] = 50;
    }
    CHECK(write(go[1], "x", 1) == 1);
    CHECK_EQ(EXIT_STATUS(child), 0);
    for (int at = 0; at < 1000; at++)
        CHECK(on_stack[at] == 50 && on_heap[at * 100] == 4 && in_data[at] == 50 && in_bss[at] == 50);
}

static void much_memory_is_forked(void) {
    const size_t bytes = memory_for(64 << 20), words = bytes / sizeof(size_t), step = page / sizeof(size_t);
    size_t* memory = (size_t*)anonymous(bytes);
    for (size_t at = 0; at < words; at += step)
        memory[at] = at;
    IN_CHILD(child) {
        for (size_t at = 0; at < words; at += step)
            CHECK_EQ(memory[at], at);
        for (size_t at = 0; at < words; at += 7 * step)
            memory[at] = ~at;
        for (size_t at = 0; at < words; at += step)
            CHECK_EQ(memory[at], at / step % 7 ? at : ~at);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    for (size_t at = 0; at < words; at += step)
        CHECK_EQ(memory[at], at);
}

static void nested_forks_keep_each_generation(void) {
    int* memory = (int*)anonymous(64 * page);
    for (int at = 0; at < 64; at++)
        memory[at * page / 4] = 0;
    pid_t children[8];
    // Each generation changes its own pages and checks those of the ones before.
    for (int depth = 0; depth < 8; depth++) {
        for (int at = depth; at < 64; at += 8)
            memory[at * page / 4] = 100 + depth;
        children[depth] = fork();
        CHECK(children[depth] >= 0);
        if (children[depth] == 0) continue;
        const int status = EXIT_STATUS(children[depth]);
        for (int at = 0; at < 64; at++)
            CHECK_EQ(memory[at * page / 4], at % 8 <= depth ? 100 + at % 8 : 0);
        if (depth) _exit(status);
        CHECK_EQ(status, 0);
        return;
    }
    _exit(0);
}

static void writes_after_the_childs_end_are_the_parents(void) {
    char* memory = anonymous(256 * page);
    memset(memory, 1, 256 * page);
    for (int turn = 0; turn < 10; turn++) {
        IN_CHILD(child) memset(memory + turn * page, 99, page);
        CHECK_EQ(EXIT_STATUS(child), 0);
        for (int at = 0; at < 256; at++)
            CHECK_EQ(memory[at * page + 5], 1 + (at % 10 == 0 ? turn : 0));
        for (int at = 0; at < 256; at += 10)
            memory[at * page + 5]++;
    }
}

static void writes_after_the_parents_end_are_the_childs(void) {
    int word[2];
    char answer;
    CHECK(pipe(word) == 0);
    IN_CHILD(child) {
        char* memory = anonymous(64 * page);
        memset(memory, 5, 64 * page);
        pid_t parent = getpid();
        pid_t inner = fork();
        CHECK(inner >= 0);
        if (inner) _exit(0);
        while (getppid() == parent)
            sleep_ms(1);
        int good = 1;
        for (int at = 0; at < 64 * page; at++) {
            good &= memory[at] == 5;
            memory[at] = 6;
        }
        CHECK(write(word[1], good ? "y" : "n", 1) == 1);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(read(word[0], &answer, 1) == 1 && answer == 'y');
}

static void pages_never_touched_stay_zero_on_both_sides(void) {
    char* memory = anonymous(128 * page);
    IN_CHILD(child) {
        for (int at = 0; at < 128; at++) {
            CHECK_EQ(memory[at * page], 0);
            memory[at * page] = 1;
        }
    }
    for (int at = 0; at < 128; at += 2) {
        CHECK_EQ(memory[at * page], 0);
        memory[at * page] = 2;
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    for (int at = 0; at < 128; at++)
        CHECK_EQ(memory[at * page], at % 2 ? 0 : 2);
}

static void many_children_share_one_page(void) {
    int* memory = (int*)anonymous(page);
    pid_t children[20];
    memory[0] = 1000;
    for (int at = 0; at < 20; at++) {
        IN_CHILD(child) {
            sleep_ms(at % 5);
            CHECK_EQ(memory[0], 1000 + at);
            memory[0] = -1;
            CHECK_EQ(memory[0], -1);
        }
        children[at] = child;
        memory[0]++;
    }
    for (int at = 0; at < 20; at++)
        CHECK_EQ(EXIT_STATUS(children[at]), 0);
    CHECK_EQ(memory[0], 1020);
}

static void the_kernel_writes_into_the_callers_copy(void) {
    char* memory = anonymous(4 * page);
    int data[2];
    memset(memory, 'a', 4 * page);
    CHECK(pipe(data) == 0);
    IN_CHILD(child) {
        // A system call's copy breaks the sharing just as a store does.
        CHECK(write(data[1], "0123456789", 10) == 10);
        CHECK(read(data[0], memory + page - 5, 10) == 10);
        CHECK(!memcmp(memory + page - 5, "0123456789", 10));
        CHECK_EQ(memory[page - 6], 'a');
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    for (int at = 0; at < 4 * page; at++)
        CHECK_EQ(memory[at], 'a');
}

static void protections_survive_a_fork(void) {
    char* memory = anonymous(3 * page);
    memset(memory, 1, 3 * page);
    CHECK(mprotect(memory + page, page, PROT_READ) == 0);
    catch_faults();
    IN_CHILD(child) {
        memory[0] = 2;
        CHECK_EQ(TRY_FAULT(memory[page] = 2), SIGSEGV);
        CHECK(mprotect(memory + page, page, PROT_READ | PROT_WRITE) == 0);
        memory[page] = 3;
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_EQ(memory[page], 1);
    CHECK_EQ(TRY_FAULT(memory[page] = 2), SIGSEGV);
}

static void random_writes_match_a_model(void) {
    enum { pages = 64, generations = 5 };
    unsigned char* memory = (unsigned char*)anonymous(pages * page);
    unsigned char model[pages] = {0};
    unsigned seed = 12345;
    for (int generation = 0; generation < generations; generation++) {
        for (int turn = 0; turn < 100; turn++) {
            seed = seed * 1103515245 + 12345;
            const int at = seed >> 16 & (pages - 1);
            model[at] = memory[at * page + at] = seed >> 24;
        }
        pid_t child = fork();
        CHECK(child >= 0);
        for (int at = 0; at < pages; at++)
            CHECK_EQ(memory[at * page + at], model[at]);
        if (child == 0) {
            seed += 99; // goes another way than its parent
            continue;
        }
        const int status = EXIT_STATUS(child);
        for (int at = 0; at < pages; at++)
            CHECK_EQ(memory[at * page + at], model[at]);
        CHECK_EQ(status, 0);
    }
    (void)seed;
}

TAP_MAIN(T(child_and_parent_see_their_own_writes), T(much_memory_is_forked), T(nested_forks_keep_each_generation),
         T(writes_after_the_childs_end_are_the_parents), T(writes_after_the_parents_end_are_the_childs),
         T(pages_never_touched_stay_zero_on_both_sides), T(many_children_share_one_page),
         T(the_kernel_writes_into_the_callers_copy), T(protections_survive_a_fork), T(random_writes_match_a_model))
