// Every system call with random and boundary arguments, from an unprivileged process: the kernel must neither die nor
// hang nor keep memory. Environment: fuzz_seconds (5), seed (the time).
//
// A few workers, each a process that calls and calls until it dies, hangs or has done enough; its keeper then starts
// the next. Workers may do to themselves and to each other whatever they can.
#include "tests/user/tap.h"
#include "user/caps.h"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/time.h>

enum { workers = 4, nobody = 54321, calls_of_a_life = 4000, last_call = 460 };
enum { first_own = 1024, last_own = 1035 }; // Nutcracker's own calls (docs/syscalls.md)

struct progress {
    volatile uint64_t calls; // of all lives
    volatile uint64_t good;  // how many did not fail
    volatile uint32_t seed;  // of this life
    volatile int number;     // what it is calling
};
static struct progress* all;
static volatile uint32_t* counts;     // calls by number
static volatile uint32_t* own_counts; // and of our own

static uint32_t state;
static uint32_t draw(void) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

// These would end the test for good reasons, or keep what outlives its process (System V's objects, keys, queues).
static int left_out(int number) {
    switch (number) {
    case SYS_exit:
    case SYS_exit_group:
    case SYS_reboot:
    case SYS_shmget:
    case SYS_msgget:
    case SYS_semget:
    case SYS_mq_open:
    case SYS_add_key:
    case SYS_request_key:
    case SYS_setpgid: // its keeper would not find it any more
    case SYS_setsid: return 1;
    }
    return 0;
}

static char* arena;  // to unmap and protect at will
static char* memory; // some pages: good, read only, not there, shared
static const long interesting[] = {0,
                                   1,
                                   2,
                                   3,
                                   4,
                                   7,
                                   8,
                                   16,
                                   63,
                                   64,
                                   100,
                                   255,
                                   256,
                                   4095,
                                   4096,
                                   4097,
                                   8192,
                                   65535,
                                   65536,
                                   1 << 20,
                                   0x7fffffff,
                                   -0x7fffffff - 1L,
                                   0xffffffff,
                                   0x100000000,
                                   -1,
                                   -2,
                                   -100,
                                   -4095,
                                   -4096,
                                   0x7ffffffff000,
                                   0x7fffffffffff,
                                   0x800000000000,
                                   (long)0x8000000000000000,
                                   0x7fffffffffffffff,
                                   (long)0xffff800000000000,
                                   (long)0xffffffff80000000,
                                   (long)0xfffffffffffff000};

static long address(void) {
    const long inside = (long)memory + (draw() % 6) * page;
    switch (draw() % 8) {
    case 0: return inside + page - draw() % 64; // across an edge
    case 1: return inside + draw() % page;
    case 2: return (long)&inside;
    case 3: return (long)address; // code
    case 4: return (long)arena + draw() % (80 * page);
    default: return inside + (draw() % 64) * 8;
    }
}

static long argument(void) {
    switch (draw() % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: return address();
    case 5:
    case 6: return draw() % 12; // descriptors, small numbers
    case 7: return 1L << draw() % 64;
    case 8: return (long)draw() << 32 | draw();
    case 9: return draw();
    case 10: return -(long)(draw() % 4096);
    case 11: return draw() % 4096;
    default: return interesting[draw() % (sizeof interesting / sizeof interesting[0])];
    }
}

static long call(long number, const long* a) {
    long result;
    register long fourth __asm__("r10") = a[3];
    register long fifth __asm__("r8") = a[4];
    register long sixth __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return result;
}

static void harmless(int number) {}

// --- Calls of our own: what they take is seldom met by chance

static int first_end = -1; // a service, a client of it, a room

static void prepare_ends(void) {
    char name[32];
    snprintf(name, sizeof name, "fuzz.%d", getpid());
    const int service = caps_service(name, CAPS_USER);
    if (service < 0) return; // another kernel
    const int client = caps_connect(name, CAPS_USER, 0), room = caps_room(3 * page, 0);
    if (client == service + 1 && room == client + 1) first_end = service;
}

// A message that is all good but for a few places.
static long a_message(void) {
    static struct caps_message m;
    static struct caps_item items[CAPS_MOST_ITEMS];
    static struct caps_sender sender;
    m = (struct caps_message){.items = items, .sender = &sender, .timeout_ns = 1 + draw() % 1000000};
    m.id = draw() % 2 ? (uint64_t)argument() : draw() % 4;
    m.text_bytes = draw() % 260;
    m.item_count = draw() % 3;
    m.item_room = draw() % 10;
    m.result = draw() % 8 ? 0 : (int)argument();
    for (int at = 0; at < CAPS_MOST_ITEMS; at++)
        items[at] = (struct caps_item){.kind = draw() % 6,
                                       .fd = draw() % 2 ? -1 : (int)(first_end + draw() % 6),
                                       .at = draw() % 4 ? (uint64_t)address() : 0,
                                       .bytes = draw() % 4 ? 1 + draw() % (4 * page) : (uint64_t)argument(),
                                       .fills = draw() % 10,
                                       .flags = draw() % 2};
    for (int turn = 0; draw() % 4 == 0 && turn < 4; turn++)
        ((uint32_t*)&m)[draw() % 16] = (uint32_t)argument();
    return (long)&m;
}

static long own_call(long* a) {
    const long number = first_own + draw() % (last_own - first_own + 1);
    if (first_end >= 0 && draw() % 2) a[0] = first_end + draw() % 3;
    switch (number) {
    case NUTCRACKER_SYS_caps_service:
    case NUTCRACKER_SYS_caps_connect:
        a[1] = draw() % 4 ? draw() % 64 : a[1];
        a[2] = draw() % 1000000;
        break;
    case NUTCRACKER_SYS_caps_put:
    case NUTCRACKER_SYS_caps_get:
    case NUTCRACKER_SYS_caps_reply:
        if (draw() % 4) a[1] = a_message();
        a[2] = draw() % 4 ? draw() % 16 : a[2];
        break;
    case NUTCRACKER_SYS_caps_call:
    case NUTCRACKER_SYS_caps_reply_wait:
        if (draw() % 4) a[1] = a_message();
        if (draw() % 2) a[2] = a[1];
        a[3] = draw() % 4 ? draw() % 16 : a[3];
        break;
    case NUTCRACKER_SYS_caps_room: a[0] = draw() % 2 ? 1 + draw() % (16 * page) : argument(); break;
    }
    return number;
}

static void prepare_life(void) {
    struct sigaction action = {.sa_handler = harmless};
    const struct itimerval often = {{0, 3000}, {0, 3000}};
    const struct rlimit few = {64, 64}, space = {64 << 20, 64 << 20}, none = {0, 0}, soon = {20, 20};
    setpgid(0, 0);
    if (geteuid() == 0) {
        setgroups(0, NULL);
        if (setgid(nobody) < 0 || setuid(nobody) < 0) _exit(3);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    setrlimit(RLIMIT_NPROC, &few);
    setrlimit(RLIMIT_AS, &space);
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);
    setrlimit(RLIMIT_CPU, &soon);
    setrlimit(RLIMIT_NOFILE, &few);
    // Calls that sleep are woken.
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGPIPE, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    memory = mmap(NULL, 6 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    arena = mmap(NULL, 80 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || arena == MAP_FAILED) _exit(3);
    for (int at = 0; at < 6 * page; at += 4)
        *(uint32_t*)(memory + at) = draw() % 3 ? draw() % 8 : draw();
    mprotect(memory + 2 * page, page, PROT_READ);
    mprotect(memory + 4 * page, page, PROT_NONE);
    mmap(memory + 5 * page, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    // Some files to play with in the place of the console.
    int ends[2];
    for (int turn = 0; turn < 3; turn++)
        if (pipe2(ends, turn ? O_NONBLOCK : 0) < 0) _exit(3);
    syscall(SYS_eventfd2, 1, 0);
    syscall(SYS_epoll_create1, 0);
    syscall(SYS_timerfd_create, 1, 0);
    syscall(SYS_memfd_create, "fuzz", 0);
    prepare_ends();
    dup2(3, 0);
    dup2(4, 1);
    dup2(6, 2);
}

// A life that unmaps itself or sleeps for ever is a short one: most of the time such calls get something else to do.
static long spare_this_life(long number, long* a) {
    if (draw() % 64 == 0) return number;
    switch (number) {
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_mremap:
    case SYS_madvise:
    case SYS_mmap:
    case SYS_remap_file_pages:
    case 329: // pkey_mprotect
        a[0] = (long)arena + (draw() % 64) * page + (draw() % 16 ? 0 : draw() % page);
        a[1] = draw() % (16 * page);
        if (number == SYS_mremap) a[4] = (long)arena + (draw() % 64) * page, a[2] = draw() % (16 * page);
        break;
    case SYS_brk: a[0] = 0; break;
    case SYS_arch_prctl:
    case SYS_seccomp:
    case SYS_prctl:
    case SYS_setrlimit:
    case SYS_prlimit64:
        if (draw() % 4) a[0] = a[1] = -1; // refused
        break;
    case SYS_kill:
    case SYS_tkill:
    case SYS_rt_sigqueueinfo: a[1] = draw() % 2 ? 0 : SIGALRM; break;
    case SYS_tgkill:
    case SYS_rt_tgsigqueueinfo: a[2] = draw() % 2 ? 0 : SIGALRM; break;
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigreturn:
    case 335: return SYS_sched_yield; // the last one kills on Linux
    }
    return number;
}

static void live(struct progress* mine, uint32_t seed) {
    state = seed | 1;
    prepare_life();
    const long self = getpid();
    for (int turn = 0; turn < calls_of_a_life; turn++) {
        long number = draw() % (last_call + 1), a[6];
        for (int at = 0; at < 6; at++)
            a[at] = argument();
        if (draw() % 8 == 0) number = own_call(a);
        // Now and then numbers that are none.
        if (draw() % 256 == 0) number = argument();
        if (left_out(number)) continue;
        if (number == SYS_kill || number == SYS_tkill || number == SYS_rt_sigqueueinfo)
            a[0] = draw() % 8 ? 0x3ffffff0 : self;
        if (number == SYS_tgkill || number == SYS_rt_tgsigqueueinfo) a[0] = a[1] = self;
        if (number == SYS_kill || number == SYS_tkill || number == SYS_rt_sigqueueinfo) a[1] %= 70;
        number = spare_this_life(number, a);
        mine->number = number;
        if (number >= 0 && number <= last_call) counts[number]++;
        if (number >= first_own && number <= last_own) own_counts[number - first_own]++;
        const long result = call(number, a);
        if ((number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == SYS_clone3) && result == 0)
            call(SYS_exit, a);
        mine->good += result >= 0 || result < -4095;
        mine->calls++;
    }
    call(SYS_exit_group, (long[6]){0});
}

// Keeps one worker running until the time is over. A life that makes no progress for a while is ended.
static void keep(int which, uint32_t seed, long long deadline) {
    struct progress* mine = &all[which];
    int hangs = 0, deaths = 0, ends = 0;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (uint32_t life = 0; now_ns() < deadline; life++) {
        mine->seed = seed + which * 1000003 + life * 7919;
        pid_t child = fork();
        if (child == 0) live(mine, mine->seed);
        if (child < 0) {
            sleep_ms(5);
            continue;
        }
        uint64_t was = mine->calls;
        long long progressed = now_ns();
        for (int pause = 1;; pause = pause < 20 ? pause * 2 : 20) {
            int status;
            const pid_t ended = waitpid(child, &status, WNOHANG);
            if (ended == child) {
                WIFSIGNALED(status) ? deaths++ : ends++;
                break;
            }
            if (mine->calls != was) was = mine->calls, progressed = now_ns();
            if (now_ns() - progressed > 300000000) {
                hangs++;
                kill(child, SIGKILL);
                if (waitpid(child, &status, 0) == child) break;
            }
            sleep_ms(pause);
        }
        kill(-child, SIGKILL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    note("worker %d: %llu calls, %llu good; %d lives ended, %d were killed, %d stood still", which,
         (unsigned long long)mine->calls, (unsigned long long)mine->good, ends, deaths, hangs);
}

// All that the workers left behind, whatever it made of itself: one of them may signal what its user may.
static void sweep(void) {
    if (geteuid() != 0) return;
    IN_CHILD(broom) {
        if (setgid(nobody) < 0 || setuid(nobody) < 0) _exit(3);
        kill(-1, SIGKILL);
    }
    int status;
    waitpid(broom, &status, 0);
    while (waitpid(-1, &status, WNOHANG) > 0)
        ;
}

static long long free_bytes(void) {
    struct sysinfo info;
    CHECK(sysinfo(&info) == 0);
    return (long long)info.freeram * info.mem_unit;
}

// What the workers share and must not be written by a call that runs over a buffer's end.
static void* guarded(void) {
    char* at = shared(3 * page);
    CHECK(mprotect(at, page, PROT_NONE) == 0 && mprotect(at + 2 * page, page, PROT_NONE) == 0);
    return at + page;
}

int main(void) {
    const char* text = getenv("fuzz_seconds");
    const long seconds = text ? atol(text) : 5;
    text = getenv("seed");
    const uint32_t seed = text ? strtoul(text, NULL, 0) : (uint32_t)now_ns();
    pid_t keepers[workers];
    if (write(1, "1..3\n", 5) < 0 || chdir("/") < 0) return 2;
    note("seed %u, %ld s, %s", seed, seconds, geteuid() ? "as who called" : "as nobody");
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    all = guarded();
    counts = guarded();
    own_counts = guarded();
    const long long before = free_bytes(), deadline = now_ns() + seconds * 1000000000LL;
    for (int at = 0; at < workers; at++) {
        keepers[at] = fork();
        CHECK(keepers[at] >= 0);
        if (keepers[at] == 0) {
            keep(at, seed, deadline);
            _exit(0);
        }
    }
    int kept = 0;
    for (int at = 0; at < workers; at++) {
        int status;
        kept += waitpid(keepers[at], &status, 0) == keepers[at] && status == 0;
    }
    sweep();
    uint64_t calls = 0, good = 0, numbers = 0, own_numbers = 0, own_calls = 0;
    for (int at = 0; at < workers; at++)
        calls += all[at].calls, good += all[at].good;
    for (int at = 0; at <= last_call; at++)
        numbers += counts[at] > 0;
    for (int at = 0; at <= last_own - first_own; at++)
        own_numbers += own_counts[at] > 0, own_calls += own_counts[at];
    note("%llu calls of %llu numbers, %llu good; %llu of %llu numbers of our own", (unsigned long long)calls,
         (unsigned long long)numbers, (unsigned long long)good, (unsigned long long)own_calls,
         (unsigned long long)own_numbers);
    dprintf(1, "%sok 1 - workers_are_kept\n", kept == workers ? "" : "not ");
    const int enough = calls > 1000 && numbers > 300 && own_numbers == last_own - first_own + 1;
    dprintf(1, "%sok 2 - calls_are_made\n", enough ? "" : "not ");
    long long missing = 0;
    for (int turn = 0; turn < 100; turn++) {
        missing = before - free_bytes();
        if (missing < (8 << 20)) break;
        sleep_ms(50);
    }
    if (missing >= 8 << 20) note("%lld KiB are missing", missing >> 10);
    dprintf(1, "%sok 3 - memory_comes_back\n", missing < (8 << 20) ? "" : "not ");
    return !(kept == workers && enough && missing < (8 << 20));
}
