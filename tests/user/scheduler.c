// One CPU is shared fairly: who sleeps is served soon, who computes is never starved.
#include "tests/user/tap.h"
#include "user/caps.h"

#include <sched.h>

static void stay_on_cpu_0(void) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    CHECK(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
}

static long long own_cpu_ns(void) {
    struct timespec used;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
    return used.tv_sec * 1000000000LL + used.tv_nsec;
}

// An emulator may stop a CPU for longer than what is measured takes, so the best of some measurements counts.
enum { many_computing = 16, slice_ms = 10, sleeps = 20, attempts = 8 };

static void a_sleeper_does_not_wait_for_all_who_compute(void) {
    stay_on_cpu_0();
    pid_t computing[many_computing];
    for (int at = 0; at < many_computing; at++) {
        IN_CHILD(child) {
            for (;;)
                ;
        }
        computing[at] = child;
    }
    enum { most_ms = sleeps * many_computing * slice_ms / 2 };
    long long took_ms = most_ms;
    for (int at = 0; at < attempts && took_ms >= most_ms; at++) {
        const long long begun = now_ns();
        for (int turn = 0; turn < sleeps; turn++)
            sleep_ms(1);
        took_ms = (now_ns() - begun) / 1000000;
    }
    for (int at = 0; at < many_computing; at++) {
        CHECK(kill(computing[at], SIGKILL) == 0);
        CHECK_EQ(waitpid(computing[at], NULL, 0), computing[at]);
    }
    note("%d sleeps of 1 ms took %lld ms", sleeps, took_ms);
    CHECK(took_ms < most_ms);
}

// Computes for half a second beside `others`, which run until *stop, and wants a share of the CPU.
static void compute_beside(void (*others)(volatile int* stop)) {
    volatile int* stop = shared(page);
    stay_on_cpu_0();
    IN_CHILD(child) others(stop);
    sleep_ms(20);
    long long share = 0;
    for (int at = 0; at < attempts && (share < 15 || share > 85); at++) {
        const long long begun = now_ns(), used = own_cpu_ns();
        while (now_ns() - begun < 500000000)
            ;
        share = (own_cpu_ns() - used) * 100 / (now_ns() - begun);
    }
    *stop = 1;
    CHECK_EQ(EXIT_STATUS(child), 0);
    note("%lld %% of the CPU", share);
    CHECK(share >= 15);
    CHECK(share <= 85); // the others had theirs
}

static void pass_a_byte(volatile int* stop) {
    int there[2], back[2];
    char byte = 0;
    CHECK(pipe(there) == 0 && pipe(back) == 0);
    IN_CHILD(echo) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1)
            CHECK(write(back[1], &byte, 1) == 1);
    }
    while (!*stop)
        CHECK(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1);
    close(there[1]);
    CHECK_EQ(EXIT_STATUS(echo), 0);
}

static void two_that_wake_each_other_starve_nobody(void) {
    compute_beside(pass_a_byte);
}

// Each hands the CPU straight to the other.
static void call_each_other(volatile int* stop) {
    IN_CHILD(server) {
        const int service = caps_service("beside", CAPS_WORLD);
        struct caps_message m = {0};
        for (;;)
            CHECK(service >= 0 && caps_reply_wait(service, &m, &m, 0) == 0);
    }
    const int client = caps_connect("beside", CAPS_WAIT, 0);
    while (!*stop) {
        struct caps_message m = {0};
        CHECK(caps_call(client, &m, &m, 0) == 0);
    }
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
}

static void two_that_call_each_other_starve_nobody(void) {
    if (caps_room(0, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no services");
    compute_beside(call_each_other);
}

static void make_children(volatile int* stop) {
    while (!*stop) {
        IN_CHILD(child) _exit(0);
        CHECK_EQ(EXIT_STATUS(child), 0);
    }
}

static void children_of_one_starve_nobody(void) {
    compute_beside(make_children);
}

// Each makes the next one and ends: none lives as long as a slice.
static void make_a_chain(volatile int* stop) {
    while (!*stop) {
        pid_t next = fork();
        CHECK(next >= 0);
        if (next) _exit(0);
    }
}

static void a_chain_of_forks_starves_nobody(void) {
    compute_beside(make_a_chain);
}

TAP_MAIN(T(a_sleeper_does_not_wait_for_all_who_compute), T(two_that_wake_each_other_starve_nobody),
         T(two_that_call_each_other_starve_nobody), T(children_of_one_starve_nobody),
         T(a_chain_of_forks_starves_nobody))
