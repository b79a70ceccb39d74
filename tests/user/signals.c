// Signals: who gets which, when, in which order, on which stack, and that a handler disturbs nothing.
#include "tests/user/tap.h"

#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <ucontext.h>

static volatile int seen, order[64];
static volatile siginfo_t last;

static void count(int number) {
    order[seen & 63] = number;
    seen++;
}

static void remember(int number, siginfo_t* info, void* context) {
    last = *info;
    count(number);
}

static void handle(int number, int flags, void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(number, &action, NULL) == 0);
}

static sigset_t set_of(int number) {
    sigset_t set;
    sigemptyset(&set);
    if (number) sigaddset(&set, number);
    return set;
}

static void block(int number) {
    const sigset_t set = set_of(number);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

static void unblock(int number) {
    const sigset_t set = set_of(number);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

static void handlers_run(void) {
    handle(SIGUSR1, 0, remember);
    for (int turn = 1; turn <= 1000; turn++) {
        CHECK(raise(SIGUSR1) == 0);
        CHECK_EQ(seen, turn);
    }
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK_EQ(seen, 1001);
    CHECK_EQ(last.si_code, SI_USER);
    CHECK_EQ(last.si_pid, getpid());
    CHECK_EQ(last.si_uid, getuid());
}

static void masks_hold_back(void) {
    sigset_t pending;
    handle(SIGUSR1, 0, remember);
    block(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1); // an ordinary signal waits once only
    CHECK_EQ(seen, 0);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGUSR2));
    unblock(SIGUSR1);
    CHECK_EQ(seen, 1);
    CHECK(sigpending(&pending) == 0 && !sigismember(&pending, SIGUSR1));
    CHECK_ERROR(syscall(SYS_rt_sigprocmask, 7, &pending, NULL, 8), EINVAL);
    CHECK_ERROR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &pending, NULL, 9), EINVAL);
    CHECK_ERROR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8), EFAULT);
}

static void kill_and_stop_cannot_be_changed(void) {
    struct sigaction action = {.sa_handler = SIG_IGN};
    CHECK_ERROR(sigaction(SIGKILL, &action, NULL), EINVAL);
    CHECK_ERROR(sigaction(SIGSTOP, &action, NULL), EINVAL);
    CHECK_ERROR(sigaction(65, &action, NULL), EINVAL);
    CHECK_ERROR(sigaction(0, &action, NULL), EINVAL);
    volatile int* ready = shared(page);
    IN_CHILD(child) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        *ready = 1;
        for (;;)
            pause();
    }
    while (!*ready)
        sleep_ms(1);
    CHECK(kill(child, SIGTERM) == 0);
    sleep_ms(10);
    CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

static volatile int values[64];
static void remember_value(int number, siginfo_t* info, void* context) {
    values[seen & 63] = info->si_value.sival_int;
    count(number);
}

static void realtime_signals_queue_in_order(void) {
    const int low = SIGRTMIN + 1, high = SIGRTMIN + 2;
    handle(low, 0, remember_value);
    handle(high, 0, remember_value);
    sigset_t both = set_of(low);
    sigaddset(&both, high);
    struct sigaction one_at_a_time = {.sa_sigaction = remember_value, .sa_flags = SA_SIGINFO, .sa_mask = both};
    CHECK(sigaction(low, &one_at_a_time, NULL) == 0 && sigaction(high, &one_at_a_time, NULL) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &both, NULL) == 0);
    for (int at = 0; at < 10; at++) {
        CHECK(sigqueue(getpid(), high, (union sigval){.sival_int = 100 + at}) == 0);
        CHECK(sigqueue(getpid(), low, (union sigval){.sival_int = at}) == 0);
    }
    CHECK_EQ(seen, 0);
    CHECK(sigprocmask(SIG_UNBLOCK, &both, NULL) == 0);
    CHECK_EQ(seen, 20);
    for (int at = 0; at < 10; at++) {
        CHECK_EQ(order[at], low); // the lower number first
        CHECK_EQ(values[at], at);
        CHECK_EQ(values[10 + at], 100 + at);
    }
}

static void the_queue_is_bounded(void) {
    const struct rlimit limit = {50, 50};
    const int number = SIGRTMIN + 3;
    CHECK(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
    handle(number, 0, remember_value);
    block(number);
    int queued = 0;
    while (queued < 1000 && sigqueue(getpid(), number, (union sigval){.sival_int = queued}) == 0)
        queued++;
    CHECK_EQ(errno, EAGAIN);
    CHECK(queued > 10 && queued <= 50);
    unblock(number);
    CHECK_EQ(seen, queued);
}

static char other_stack[64 << 10];
static volatile uintptr_t handler_frame;
static volatile int flags_within;

static void where_am_i(int number, siginfo_t* info, void* context) {
    stack_t now;
    handler_frame = (uintptr_t)__builtin_frame_address(0);
    sigaltstack(NULL, &now);
    flags_within = now.ss_flags;
    count(number);
}

static void a_handler_has_its_own_stack(void) {
    stack_t alternate = {.ss_sp = other_stack, .ss_size = sizeof other_stack}, was;
    CHECK(sigaltstack(&alternate, &was) == 0);
    CHECK(was.ss_flags & SS_DISABLE);
    handle(SIGUSR1, SA_ONSTACK, where_am_i);
    handle(SIGUSR2, 0, where_am_i);
    raise(SIGUSR1);
    CHECK(handler_frame > (uintptr_t)other_stack && handler_frame < (uintptr_t)other_stack + sizeof other_stack);
    CHECK(flags_within & SS_ONSTACK);
    raise(SIGUSR2);
    CHECK(handler_frame < (uintptr_t)other_stack || handler_frame >= (uintptr_t)other_stack + sizeof other_stack);
    CHECK(!(flags_within & SS_ONSTACK));
    alternate.ss_size = 100;
    CHECK_ERROR(sigaltstack(&alternate, NULL), ENOMEM);
    alternate.ss_size = sizeof other_stack;
    alternate.ss_flags = 77;
    CHECK_ERROR(sigaltstack(&alternate, NULL), EINVAL);
}

static void restarted_reads_do_not_notice(void) {
    int data[2];
    char byte = 0;
    CHECK(pipe(data) == 0);
    handle(SIGUSR1, SA_RESTART, remember);
    pid_t parent = getpid();
    IN_CHILD(child) {
        for (int turn = 0; turn < 5; turn++) {
            sleep_ms(5);
            kill(parent, SIGUSR1);
        }
        sleep_ms(5);
        CHECK(write(data[1], "x", 1) == 1);
    }
    CHECK_EQ(read(data[0], &byte, 1), 1);
    CHECK_EQ(byte, 'x');
    CHECK(seen >= 1);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void other_reads_end_with_eintr(void) {
    int data[2];
    char byte;
    CHECK(pipe(data) == 0);
    handle(SIGUSR1, 0, remember);
    const pid_t nag = begin_nagging(SIGUSR1);
    CHECK_ERROR(read(data[0], &byte, 1), EINTR);
    CHECK(seen >= 1);
    // Poll is never restarted, whatever the handler wants.
    handle(SIGUSR1, SA_RESTART, remember);
    struct pollfd waiting = {.fd = data[0], .events = POLLIN};
    CHECK_ERROR(poll(&waiting, 1, 60000), EINTR);
    end_nagging(nag);
}

static void ignored_signals_end_nothing(void) {
    int data[2];
    char byte;
    CHECK(pipe(data) == 0);
    signal(SIGUSR1, SIG_IGN);
    pid_t parent = getpid();
    IN_CHILD(child) {
        sleep_ms(10);
        kill(parent, SIGUSR1);
        kill(parent, SIGWINCH); // whose default is to do nothing
        kill(parent, SIGCONT);
        sleep_ms(10);
        CHECK(write(data[1], "x", 1) == 1);
    }
    CHECK_EQ(read(data[0], &byte, 1), 1);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void nest(int number, siginfo_t* info, void* context) {
    count(number);
    if (seen < 5) raise(number);
    order[32 + seen % 16] = seen;
}

static void nodefer_nests(void) {
    handle(SIGUSR1, SA_NODEFER, nest);
    raise(SIGUSR1);
    CHECK_EQ(seen, 5);
    seen = 0;
    handle(SIGUSR2, 0, nest); // without it, one after the other
    raise(SIGUSR2);
    CHECK_EQ(seen, 5);
}

static void resethand_runs_once(void) {
    struct sigaction now;
    handle(SIGUSR1, (int)SA_RESETHAND, remember);
    raise(SIGUSR1);
    CHECK_EQ(seen, 1);
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0);
    CHECK(now.sa_handler == SIG_DFL);
    IN_CHILD(child) raise(SIGUSR1);
    CHECK_EQ(KILLED_BY(child), SIGUSR1);
}

static void suspend_swaps_the_mask(void) {
    const sigset_t none = set_of(0);
    sigset_t now;
    handle(SIGUSR1, 0, remember);
    block(SIGUSR1);
    raise(SIGUSR1);
    CHECK_ERROR(sigsuspend(&none), EINTR);
    CHECK_EQ(seen, 1);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGUSR1));
}

static void waited_signals_are_taken(void) {
    const sigset_t one = set_of(SIGUSR1);
    const struct timespec soon = {.tv_nsec = 10000000}, bad = {.tv_nsec = -1};
    siginfo_t info;
    handle(SIGUSR1, 0, remember);
    block(SIGUSR1);
    CHECK_ERROR(sigtimedwait(&one, &info, &soon), EAGAIN);
    CHECK_ERROR(sigtimedwait(&one, &info, &bad), EINVAL);
    raise(SIGUSR1);
    CHECK_EQ(sigtimedwait(&one, &info, &soon), SIGUSR1);
    CHECK_EQ(info.si_signo, SIGUSR1);
    pid_t parent = getpid();
    IN_CHILD(child) {
        sleep_ms(10);
        sigqueue(parent, SIGUSR1, (union sigval){.sival_int = 77});
    }
    CHECK_EQ(sigwaitinfo(&one, &info), SIGUSR1);
    CHECK_EQ(info.si_value.sival_int, 77);
    CHECK_EQ(info.si_pid, child);
    CHECK_EQ(info.si_code, SI_QUEUE);
    CHECK_EQ(seen, 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

// The compiler knows better ways to divide by a constant than to divide.
static void divide_by_zero(void) {
    __asm__ volatile("xor %%ecx, %%ecx\n\tmov $1, %%eax\n\tcltd\n\tidiv %%ecx" ::: "eax", "ecx", "edx", "cc");
}

static void faults_tell_where(void) {
    catch_faults();
    CHECK_EQ(TRY_FAULT(divide_by_zero()), SIGFPE);
    CHECK_EQ(fault.code, FPE_INTDIV);
    CHECK(fault.address != 0);
    CHECK_EQ(TRY_FAULT(__asm__ volatile("ud2")), SIGILL);
    CHECK(fault.address != 0);
    CHECK_EQ(TRY_FAULT(*(volatile int*)0x123450 = 1), SIGSEGV);
    CHECK_EQ(fault.address, 0x123450);
    CHECK_EQ(TRY_FAULT(__asm__ volatile("hlt")), SIGSEGV); // privileged
    CHECK_EQ(TRY_FAULT(__asm__ volatile("cli")), SIGSEGV);
    CHECK_EQ(TRY_FAULT(__asm__ volatile("outb %%al, $0x80" ::: "memory")), SIGSEGV);
    CHECK_EQ(TRY_FAULT(__asm__ volatile("mov %%cr3, %%rax" ::: "rax")), SIGSEGV);
    CHECK_EQ(TRY_FAULT(__asm__ volatile("wrmsr" ::"c"(0xc0000082), "a"(0), "d"(0))), SIGSEGV);
    CHECK_EQ(TRY_FAULT(__asm__ volatile("int $0x20")), SIGSEGV);
    CHECK_EQ(TRY_FAULT(__asm__ volatile("int $14")), SIGSEGV);
}

static void breakpoints_and_steps_trap(void) {
    handle(SIGTRAP, 0, remember);
    __asm__ volatile("int3");
    CHECK_EQ(seen, 1);
    // One step: the trap flag set for one instruction.
    __asm__ volatile(
        "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tnop" ::
            : "memory", "cc");
    CHECK(seen >= 2);
}

// The step flag over a system call must not trap the kernel.
static void a_step_into_the_kernel_is_harmless(void) {
    handle(SIGTRAP, 0, remember);
    long result;
    __asm__ volatile(
        "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tsyscall\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tnop"
        : "=a"(result)
        : "a"(SYS_getpid)
        : "rcx", "r11", "memory", "cc");
    CHECK_EQ(result, getpid());
    CHECK(seen >= 1);
}

static void faults_without_a_handler_kill(void) {
    static const int numbers[] = {SIGSEGV, SIGFPE, SIGILL};
    for (int at = 0; at < 3; at++) {
        IN_CHILD(child) {
            signal(numbers[at], SIG_IGN); // of no use
            if (at == 0) *(volatile int*)16 = 1;
            if (at == 1) divide_by_zero();
            if (at == 2) __asm__ volatile("ud2");
        }
        CHECK_EQ(KILLED_BY(child), numbers[at]);
    }
    IN_CHILD(blocked) {
        handle(SIGSEGV, 0, remember);
        block(SIGSEGV);
        *(volatile int*)16 = 1;
    }
    CHECK_EQ(KILLED_BY(blocked), SIGSEGV);
}

static void stop_and_continue(void) {
    volatile int* counter = shared(page);
    int status;
    IN_CHILD(child) for (;;)++* counter;
    sleep_ms(10);
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status));
    const int was = *counter;
    sleep_ms(30);
    CHECK_EQ(*counter, was);
    CHECK(kill(child, SIGCONT) == 0);
    CHECK_EQ(waitpid(child, &status, WCONTINUED), child);
    while (*counter == was)
        sleep_ms(1);
    CHECK(kill(child, SIGTERM) == 0);
    CHECK_EQ(KILLED_BY(child), SIGTERM);
}

static void parents_hear_of_stops(void) {
    handle(SIGCHLD, SA_RESTART, remember);
    IN_CHILD(child) raise(SIGSTOP);
    while (seen < 1)
        sleep_ms(1);
    CHECK_EQ(last.si_code, CLD_STOPPED);
    CHECK_EQ(last.si_status, SIGSTOP);
    CHECK_EQ(last.si_pid, child);
    CHECK(kill(child, SIGCONT) == 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(seen >= 2); // that it goes on or has ended, or both in one
    CHECK(last.si_code == CLD_EXITED || last.si_code == CLD_CONTINUED);
}

static void only_the_own_may_be_killed(void) {
    if (geteuid() != 0) tap_skip("not the superuser");
    IN_CHILD(victim) for (;;) pause();
    IN_CHILD(child) {
        CHECK(setgid(54321) == 0 && setuid(54321) == 0);
        CHECK_ERROR(kill(victim, SIGTERM), EPERM);
        CHECK_ERROR(kill(victim, 0), EPERM);
        CHECK_ERROR(kill(1, SIGTERM), EPERM);
        CHECK_ERROR(kill(0x3fffffff, 0), ESRCH);
        CHECK_ERROR(kill(getpid(), 65), EINVAL);
        CHECK_ERROR(setuid(0), EPERM);
        CHECK_EQ(getuid(), 54321);
        IN_CHILD(own) for (;;) pause();
        CHECK(kill(own, SIGKILL) == 0);
        CHECK_EQ(KILLED_BY(own), SIGKILL);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(kill(victim, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(victim), SIGKILL);
}

static void sleep_tells_the_rest(void) {
    const struct timespec wished = {.tv_sec = 5};
    struct timespec left = {0};
    handle(SIGUSR1, SA_RESTART, remember);
    const pid_t nag = begin_nagging(SIGUSR1);
    long long least = -1; // a busy machine may let us wait before or after
    for (int turn = 0; turn < 20 && (turn < 2 || least >= 500000000); turn++) {
        const long long begun = now_ns();
        CHECK_ERROR(nanosleep(&wished, &left), EINTR);
        const long long slept = now_ns() - begun, rest = left.tv_sec * 1000000000LL + left.tv_nsec;
        CHECK(rest > 0 && rest < 5000000000LL);
        CHECK(slept + rest >= 5000000000LL - 50000000);
        const long long off = slept + rest - 5000000000LL;
        if (least < 0 || off < least) least = off;
    }
    end_nagging(nag);
    note("what was slept and what was left differ by %lld us from what was wished for", least / 1000);
    CHECK(least < 500000000);
}

static void a_stopped_sleep_goes_on(void) {
    IN_CHILD(child) {
        const struct timespec wished = {.tv_nsec = 150000000};
        CHECK(nanosleep(&wished, NULL) == 0); // restarted in the kernel, not EINTR
    }
    sleep_ms(10);
    CHECK(kill(child, SIGSTOP) == 0);
    sleep_ms(20);
    CHECK(kill(child, SIGCONT) == 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

// All of SSE (and AVX where there is) overwritten by the handler, and what the caller had is still there.
static int have_avx(void) {
    return __builtin_cpu_supports("avx");
}

__attribute__((target("avx"))) static void scribble_avx(void) {
    __asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n\tvinsertf128 $1, %%xmm0, %%ymm0, %%ymm0\n\t"
                     "vmovaps %%ymm0, %%ymm5\n\tvmovaps %%ymm0, %%ymm15" ::
                         : "xmm0", "xmm5", "xmm15");
}

static void scribble(int number, siginfo_t* info, void* context) {
    __asm__ volatile(
        "fninit\n\tfld1\n\tfld1\n\tpcmpeqd %%xmm1, %%xmm1\n\tmovaps %%xmm1, %%xmm7\n\tmovaps %%xmm1, %%xmm8" ::
            : "xmm1", "xmm7", "xmm8", "st", "st(1)");
    if (have_avx()) scribble_avx();
    uint32_t control = 0x9fc0;
    __asm__ volatile("ldmxcsr %0" ::"m"(control));
    count(number);
}

#define SYSCALL2(result, number, first, second)                                                                        \
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory")

static void registers_survive_a_handler(void) {
    handle(SIGUSR1, 0, scribble);
    const long pid = getpid();
    for (int turn = 0; turn < 100; turn++) {
        uint64_t in[4] = {turn, ~turn, 0x1234567890abcdef, turn * 77}, out[4] = {0};
        uint32_t control_in = 0x1f80, control_out = 0;
        double half = 0;
        long result;
        __asm__ volatile(
            "fninit\n\tfldpi\n\tldmxcsr %[ci]\n\tmovups %[i], %%xmm1\n\tmovups %[i2], %%xmm8\n\tsyscall\n\t"
            "movups %%xmm1, %[o]\n\tmovups %%xmm8, %[o2]\n\tstmxcsr %[co]\n\tfstpl %[h]"
            : "=a"(result), [o] "=m"(*(char(*)[16])out), [o2] "=m"(*(char(*)[16])(out + 2)), [co] "=m"(control_out),
              [h] "=m"(half)
            : "a"(SYS_kill), "D"(pid),
              "S"(SIGUSR1), [i] "m"(*(char(*)[16])in), [i2] "m"(*(char(*)[16])(in + 2)), [ci] "m"(control_in)
            : "rcx", "r11", "memory", "xmm1", "xmm8", "st");
        CHECK_EQ(result, 0);
        CHECK_EQ(seen, turn + 1);
        CHECK(!memcmp(in, out, sizeof in));
        CHECK_EQ(control_in, control_out);
        CHECK(half > 3.14159 && half < 3.1416);
    }
}

__attribute__((target("avx"))) static void avx_survives(void) {
    const long pid = getpid();
    for (int turn = 0; turn < 50; turn++) {
        uint64_t in[4] = {turn, ~turn, 0x1234567890abcdef, turn * 77}, out[4] = {0};
        long result;
        __asm__ volatile("vmovups %[i], %%ymm5\n\tvmovups %[i], %%ymm15\n\tsyscall\n\tvandps %%ymm15, %%ymm5, "
                         "%%ymm5\n\tvmovups %%ymm5, %[o]"
                         : "=a"(result), [o] "=m"(out)
                         : "a"(SYS_kill), "D"(pid), "S"(SIGUSR1), [i] "m"(in)
                         : "rcx", "r11", "memory", "xmm5", "xmm15");
        CHECK_EQ(result, 0);
        CHECK(!memcmp(in, out, sizeof in));
    }
}

static void vector_registers_survive_a_handler(void) {
    if (!have_avx()) tap_skip("no AVX");
    handle(SIGUSR1, 0, scribble);
    avx_survives();
    CHECK_EQ(seen, 50);
}

// General registers and flags, changed by a timer's signal at any instruction, are as before.
static void tick(int number, siginfo_t* info, void* context) {
    __asm__ volatile(
        "xor %%eax, %%eax\n\tmov $-1, %%rbx\n\tmov $-1, %%r8\n\tmov $-1, %%r9\n\tmov $-1, %%r12\n\tstc\n\tstd\n\tcld" ::
            : "rax", "rbx", "r8", "r9", "r12", "cc");
    count(number);
}

static void registers_survive_interruption(void) {
    const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    handle(SIGALRM, SA_RESTART, tick);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    const long long deadline = now_ns() + 300000000;
    while (now_ns() < deadline || seen < 10) {
        uint64_t sum;
        // Adds 1..1000 with a carry that is kept over the whole loop in a register of its own.
        __asm__ volatile(
            "mov $1000, %%r8\n\txor %%r9, %%r9\n\txor %%r12, %%r12\n\t1: add %%r8, %%r9\n\tadc $0, %%r12\n\t"
            "dec %%r8\n\tjnz 1b\n\tadd %%r12, %%r9\n\tmov %%r9, %0"
            : "=r"(sum)
            :
            : "r8", "r9", "r12", "cc");
        CHECK_EQ(sum, 500500);
        volatile double product = 1;
        for (int at = 0; at < 20; at++)
            product *= 1.5;
        CHECK(product > 3325.2 && product < 3325.3);
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

// A system call changes rax, rcx and r11 and nothing else, whether it goes straight back, sleeps, is interrupted, or
// gives the CPU to somebody whose registers hold something else.
static uint64_t registers_wrong_after(long number, uint64_t mark) {
    uint64_t wrong;
    __asm__ volatile(
        "push %%rbp\n\tmov %[n], %%rax\n\tmov %[m], %%rbx\n\t"
        "lea 1(%%rbx), %%rbp\n\tlea 2(%%rbx), %%r12\n\tlea 3(%%rbx), %%r13\n\tlea 4(%%rbx), %%r14\n\t"
        "lea 5(%%rbx), %%r15\n\tlea 6(%%rbx), %%rdx\n\tlea 7(%%rbx), %%r8\n\tlea 8(%%rbx), %%r9\n\t"
        "lea 9(%%rbx), %%r10\n\txor %%edi, %%edi\n\txor %%esi, %%esi\n\tmovq %%rsp, %%mm0\n\tstd\n\tsyscall\n\t"
        "pushf\n\tpop %%rax\n\tcld\n\tand $0x400, %%eax\n\txor $0x400, %%eax\n\t"
        "movq %%mm0, %%rcx\n\tsub %%rsp, %%rcx\n\tor %%rcx, %%rax\n\tor %%rdi, %%rax\n\tor %%rsi, %%rax\n\t"
        "lea -1(%%rbp), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -2(%%r12), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -3(%%r13), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -4(%%r14), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -5(%%r15), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -6(%%rdx), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -7(%%r8), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -8(%%r9), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\t"
        "lea -9(%%r10), %%rcx\n\tsub %%rbx, %%rcx\n\tor %%rcx, %%rax\n\temms\n\tpop %%rbp"
        : "=a"(wrong)
        : [n] "r"(number), [m] "r"(mark)
        : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory");
    return wrong;
}

static void registers_survive_every_way_through_a_call(void) {
    const struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    const long calls[] = {SYS_getppid, SYS_sched_yield, SYS_nanosleep /* of nothing: EFAULT */, SYS_pause, 999};
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    CHECK(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
    IN_CHILD(neighbour) for (uint64_t mark = 1ull << 40;; mark += 16) CHECK(!registers_wrong_after(SYS_getppid, mark));
    handle(SIGALRM, SA_RESTART, tick);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    const long long deadline = now_ns() + 500000000;
    for (uint64_t mark = 1; now_ns() < deadline || seen < 100; mark += 16) {
        const long number = calls[mark / 16 % (mark / 16 % 97 ? 3 : 5)]; // pause now and then
        CHECK_EQ(registers_wrong_after(number, mark), 0);
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(kill(neighbour, SIGKILL) == 0);
    CHECK_EQ(waitpid(neighbour, NULL, 0), neighbour);
}

static void change_context(int number, siginfo_t* info, void* context) {
    ucontext_t* user = context;
    user->uc_mcontext.gregs[REG_RIP] += 2; // over the ud2
    user->uc_mcontext.gregs[REG_RBX] = 4321;
    sigaddset(&user->uc_sigmask, SIGUSR2);
    count(number);
}

static void handlers_may_change_the_context(void) {
    uint64_t value = 1;
    sigset_t now;
    handle(SIGILL, 0, change_context);
    __asm__ volatile("ud2" : "+b"(value)::"memory");
    CHECK_EQ(value, 4321);
    CHECK_EQ(seen, 1);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, SIGUSR2));
}

static volatile int damage;

static void damage_context(int number, siginfo_t* info, void* context) {
    ucontext_t* user = context;
    if (damage == 0) user->uc_mcontext.gregs[REG_RIP] = 0x8000000000000000; // not an address
    if (damage == 1) user->uc_mcontext.gregs[REG_RSP] = 0xffffffff80000000;
    if (damage == 2) user->uc_mcontext.gregs[REG_CSGSFS] = 0; // segments
    if (damage == 3) user->uc_mcontext.gregs[REG_EFL] = -1;
    if (damage == 4) user->uc_mcontext.fpregs = (void*)8;
    if (damage == 5) memset(user->uc_mcontext.fpregs, 0xff, 512);
    if (damage == 6) user->uc_mcontext.gregs[REG_RIP] = 0xffffffff80000000;
}

// Whatever stands in a frame, the kernel is not hurt: the process may die or go on.
static void damaged_contexts_hurt_nobody_else(void) {
    for (damage = 0; damage < 7; damage++) {
        int status;
        IN_CHILD(child) {
            handle(SIGUSR1, 0, damage_context);
            raise(SIGUSR1);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        if (damage == 0 || damage == 6) CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
    IN_CHILD(child) {
        __asm__ volatile("xor %%esp, %%esp\n\tmov $15, %%eax\n\tsyscall" ::
                             : "rax", "memory"); // rt_sigreturn from nothing
    }
    CHECK_EQ(KILLED_BY(child), SIGSEGV);
    IN_CHILD(full) {
        // A handler whose frame has no stack to stand on.
        handle(SIGUSR1, 0, remember);
        const long pid = getpid();
        __asm__ volatile("mov $4096, %%rsp\n\tsyscall\n\tud2" ::"a"(SYS_kill), "D"(pid), "S"(SIGUSR1) : "memory");
    }
    CHECK_EQ(KILLED_BY(full), SIGSEGV);
}

static pthread_t waiting[2];
static volatile pthread_t got;

static void who(int number, siginfo_t* info, void* context) {
    got = pthread_self();
    count(number);
}

static void* wait_unblocked(void* nothing) {
    unblock(SIGUSR1);
    while (!seen)
        sleep_ms(1);
    return NULL;
}

static void threads_get_their_own_signals(void) {
    handle(SIGUSR1, 0, who);
    for (int at = 0; at < 2; at++)
        CHECK_EQ(pthread_create(&waiting[at], NULL, wait_unblocked, NULL), 0);
    sleep_ms(5);
    CHECK_EQ(pthread_kill(waiting[1], SIGUSR1), 0);
    for (int at = 0; at < 2; at++)
        CHECK_EQ(pthread_join(waiting[at], NULL), 0);
    CHECK(got == waiting[1]);
}

static void the_processes_signal_goes_to_who_takes_it(void) {
    handle(SIGUSR1, 0, who);
    block(SIGUSR1);
    CHECK_EQ(pthread_create(&waiting[0], NULL, wait_unblocked, NULL), 0);
    sleep_ms(5);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK_EQ(pthread_join(waiting[0], NULL), 0);
    CHECK(got == waiting[0]);
}

static void a_storm_of_signals(void) {
    volatile int* done = shared(page);
    pid_t senders[4], parent = getpid();
    handle(SIGUSR1, SA_RESTART, remember);
    handle(SIGUSR2, SA_RESTART, remember);
    for (int at = 0; at < 4; at++) {
        IN_CHILD(child) {
            for (int turn = 0; turn < 1000; turn++) {
                kill(parent, at % 2 ? SIGUSR1 : SIGUSR2);
                if (turn % 8 == 0) sched_yield();
            }
            __atomic_add_fetch(done, 1, __ATOMIC_SEQ_CST);
        }
        senders[at] = child;
    }
    while (*done < 4) {
        int data[2];
        char byte = 0;
        CHECK(pipe(data) == 0);
        CHECK(write(data[1], "y", 1) == 1 && read(data[0], &byte, 1) == 1 && byte == 'y');
        CHECK(close(data[0]) == 0 && close(data[1]) == 0);
    }
    for (int at = 0; at < 4; at++)
        CHECK_EQ(EXIT_STATUS(senders[at]), 0);
    CHECK(seen > 0); // many have become one
}

TAP_MAIN(T(handlers_run), T(masks_hold_back), T(kill_and_stop_cannot_be_changed), T(realtime_signals_queue_in_order),
         T(the_queue_is_bounded), T(a_handler_has_its_own_stack), T(restarted_reads_do_not_notice),
         T(other_reads_end_with_eintr), T(ignored_signals_end_nothing), T(nodefer_nests), T(resethand_runs_once),
         T(suspend_swaps_the_mask), T(waited_signals_are_taken), T(faults_tell_where), T(breakpoints_and_steps_trap),
         T(a_step_into_the_kernel_is_harmless), T(faults_without_a_handler_kill), T(stop_and_continue),
         T(parents_hear_of_stops), T(only_the_own_may_be_killed), T(sleep_tells_the_rest), T(a_stopped_sleep_goes_on),
         T(registers_survive_a_handler), T(vector_registers_survive_a_handler), T(registers_survive_interruption),
         T(registers_survive_every_way_through_a_call), T(handlers_may_change_the_context),
         T(damaged_contexts_hurt_nobody_else), T(threads_get_their_own_signals),
         T(the_processes_signal_goes_to_who_takes_it), T(a_storm_of_signals))
