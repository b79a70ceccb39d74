// CPUs: pthreads that latch events for each other.
//
// Law of the latch: whoever sets a bit in `pending` looks at `asleep` afterwards, and a CPU sets `asleep` before
// it looks at `pending` a last time. Both are sequentially consistent, so one of the two sees the other.
#include "arch/host/host_priv.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern "C" {
__thread arch::host::cpu_state* host_local = nullptr;
}

namespace arch {

host::cpu_state host::cpu_states[max_cpus];
unsigned host::cpu_count;

void host::latch(cpu_state& whom, event what) noexcept {
    whom.pending.fetch_or(what, std::memory_order_seq_cst);
    if (whom.asleep.load(std::memory_order_seq_cst) != 0) futex_wake(whom.pending);
}

void host::become_cpu(unsigned id) {
    cpu_state& me = cpu_states[id];
    me.self = &me;
    me.id = id;
    me.critical = 1;
    me.interrupts_on = true;
    me.deadline_ns.store(never, std::memory_order_relaxed);
    me.pthread = pthread_self();
    host_local = &me;
    give_signal_stack();
    prctl(PR_SET_TIMERSLACK, 1000); // ns; the default of 50 us would show in every timed wait
    me.running.store(true, std::memory_order_release);
}

void host::start_helper(void* (*body)(void*)) {
    pthread_t created;
    if (pthread_create(&created, nullptr, body, nullptr) != 0) cpu::die("pthread_create failed");
    pthread_detach(created);
}

namespace {

void* secondary_cpu(void* id) {
    host::become_cpu(static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(id)));
    host::leave_pthread_stack(host::this_cpu()->start_stack_top, upcall::boot_secondary);
}

} // namespace

bool cpu::start(unsigned id, vaddr stack_top) {
    host::cpu_state& target = host::cpu_states[id];
    target.start_stack_top = stack_top;
    pthread_t created;
    if (pthread_create(&created, nullptr, secondary_cpu, reinterpret_cast<void*>(std::uintptr_t{id})) != 0)
        return false;
    pthread_detach(created);
    while (!target.running.load(std::memory_order_acquire))
        sched_yield();
    return true;
}

unsigned cpu::count() noexcept {
    return host::cpu_count;
}

void cpu::send_ipi(unsigned id) noexcept {
    host::latch(host::cpu_states[id], event_ipi);
}

void interrupts::raise(unsigned cpu, unsigned number) noexcept {
    host::cpu_state& whom = host::cpu_states[cpu];
    whom.devices.fetch_or(std::uint64_t{1} << number, std::memory_order_release);
    host::latch(whom, event_device);
}

void cpu::relax() noexcept {
    // There are more CPUs than cores: the one that is waited for may need this core.
    constexpr unsigned rounds_between_yields = 32;
    __builtin_ia32_pause();
    host::cpu_state& me = *host::this_cpu();
    if (++me.relaxed % rounds_between_yields == 0) {
        host::fire_if_due(me, clock::now_ns());
        sched_yield();
    }
    if (host::events_due(me)) upcall::deliver_events();
}

void cpu::wait_for_event() noexcept {
    host::cpu_state& me = *host::this_cpu();
    me.asleep.store(1, std::memory_order_seq_cst);
    if (me.pending.load(std::memory_order_seq_cst) == 0) {
        host::futex_wait(me.pending, 0, me.deadline_ns.load(std::memory_order_relaxed));
        host::fire_if_due(me, clock::now_ns());
    }
    me.asleep.store(0, std::memory_order_relaxed);
}

void host::futex_wake(std::atomic<std::uint32_t>& word) noexcept {
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void host::futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t deadline_ns) noexcept {
    constexpr std::uint64_t second = 1'000'000'000;
    std::uint64_t until = deadline_ns + boot_time_ns;
    timespec at = {static_cast<time_t>(until / second), static_cast<long>(until % second)};
    bool forever = deadline_ns > never - boot_time_ns || until > std::uint64_t{1} << 62;
    // FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC.
    syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected, forever ? nullptr : &at, nullptr,
            FUTEX_BITSET_MATCH_ANY);
}

} // namespace arch
