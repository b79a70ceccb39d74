#include "kernel/lwkt/scheduler_priv.h"
#include "kernel/lwkt/token.h"
#include "kernel/lwkt/trace.h"
#include "kernel/mem/slab.h"
#include "kernel/time/callout.h"

#include <cstring>

namespace lwkt {

namespace {

std::atomic<scheduler*> schedulers[arch::max_cpus]; // set once, when the CPU starts

void charge(user_part& user, k::u64 cycles) {
    user.run_cycles.store(user.run_cycles.load(std::memory_order_relaxed) + cycles, std::memory_order_release);
    user.slice_cycles += cycles;
}

k::u64 ns_of(k::u64 cycles) {
    return cycles * 1000 / (arch::clock::cycles_hz() / 1'000'000);
}

// Memory's chores for when there is nothing else to do. True while there is more.
bool idle_chores() {
    mem::exchange_frees();
    if (local_scheduler().dead_count > 4) {
        reap_threads(4);
        return true;
    }
    return vm::zero_ahead();
}

} // namespace

static void share_with(const thread& t, thread& running, scheduler& s) noexcept;
static void share_with_ready(thread& running, scheduler& s) noexcept;

scheduler* scheduler_of(unsigned cpu) noexcept {
    return cpu < arch::max_cpus ? schedulers[cpu].load(std::memory_order_acquire) : nullptr;
}

bool is_running(unsigned cpu) noexcept {
    return scheduler_of(cpu) != nullptr;
}

static void see_off(scheduler& s) noexcept;

void finish_switch() noexcept {
    arch::cpu::local().critical = self().critical_depth;
    scheduler& s = local_scheduler(); // not the one before the switch, if this thread was handed over
    if (s.departed_how != departure::none) [[unlikely]]
        see_off(s);
}

// `to` is another one; `idle`: one of the two may be the idle thread.
[[gnu::always_inline]] static inline void change_threads(scheduler& s, thread& from, thread& to, bool idle) noexcept {
    to.state = thread_state::running;
    const k::u64 now = arch::clock::cycles();
    if (from.user) {
        s.running_user.store(scheduler::changing(), std::memory_order_relaxed);
        charge(*from.user, now - s.switched_at.load(std::memory_order_relaxed));
    }
    s.switched_at.store(now, std::memory_order_release);
    s.running_user.store(to.user, std::memory_order_release);
    if (idle) s.idling.store(&to == s.idle, std::memory_order_relaxed);
    arch::cpu_local& cpu = arch::cpu::local();
    from.critical_depth = cpu.critical;
    cpu.thread = &to;
    s.counters.switches++;
    to.switches++;
    to.preempted = false;
    to.passed = 0;
    if (to.user && s.top() >= user_priority) [[unlikely]]
        share_with_ready(to, s);
    trace::note(trace::event::switched, reinterpret_cast<k::u64>(&to), reinterpret_cast<k::u64>(&from), to.name);
    arch::context::switch_to(from.context, to.context,
                             from.state == thread_state::dead ? arch::leaving::for_good : arch::leaving::for_now);
    finish_switch();
}

void switch_away() noexcept {
    scheduler& s = local_scheduler();
    thread &from = self(), &to = s.pop();
    if (&to == &from)
        to.state = thread_state::running;
    else
        change_threads(s, from, to, true);
}

// The thread that was left for good, or for another CPU.
static void see_off(scheduler& s) noexcept {
    thread& gone = *s.departed;
    const departure how = std::exchange(s.departed_how, departure::none);
    if (how == departure::dead) {
        s.dead.push_front(gone);
        s.dead_count++;
        return;
    }
    s.counters.handed_over++;
    gone.home.store(s.departed_to, std::memory_order_relaxed);
    send(
        s.departed_to, [](void* t) { adopt(*static_cast<thread*>(t)); }, &gone);
}

void adopt(thread& t) noexcept {
    local_scheduler().all.push_back(t);
    wake_local(t);
}

void wake_local(thread& t) noexcept {
    scheduler& s = local_scheduler();
    kassert(t.home.load(std::memory_order_relaxed) == arch::cpu::id() && t.state == thread_state::blocked);
    t.state = thread_state::ready;
    if (t.user) t.level = enter_turn(*t.user);
    s.push_back(t);
    thread& running = self();
    if (&running == s.idle || (t.level >= interrupt_priority && t.level > running.level))
        arch::cpu::local().pending.fetch_or(arch::event_resched, std::memory_order_relaxed);
    else if (running.user && t.level >= user_priority)
        share_with(t, running, s);
}

// A user thread runs: one that is better gets the CPU as soon as that can be, another one when the slice is over.
static void share_with(const thread& t, thread& running, scheduler& s) noexcept {
    if (t.level > running.level)
        running.user->attention.fetch_or(attention_turn, std::memory_order_relaxed);
    else if (!s.turn.armed())
        s.turn.arm(ktime::after(slice_ns));
}

// The same for one that starts to run, or starts to be a user thread, while others are ready.
static void share_with_ready(thread& running, scheduler& s) noexcept {
    if (s.top() >= user_priority) share_with(s.ready[s.top()].front(), running, s);
}

// Looks who runs when a slice may be over. Threads that sleep before that never pay for arming: the callout stays as it
// is for whoever runs then, and only here it is found out how long that has been.
void end_turn(ktime::callout& c) noexcept {
    scheduler& s = local_scheduler();
    const thread& running = self();
    if (!running.user || s.top() < user_priority) return; // wake_local() or a switch will arm it again
    const k::u64 had_ns = ns_of(slice_used());
    if (had_ns >= slice_ns * 9 / 10) running.user->attention.fetch_or(attention_turn, std::memory_order_relaxed);
    c.arm(ktime::after(had_ns >= slice_ns * 9 / 10 ? slice_ns : slice_ns - had_ns));
}

priority enter_turn(user_part& user) noexcept {
    // As ns_of() says, without dividing.
    if (user.slice_cycles < slice_ns / 1000 * (arch::clock::cycles_hz() / 1'000'000)) return fresh_user_priority;
    user.slice_cycles = 0;
    return user_priority;
}

k::u64 slice_used() noexcept {
    critical section;
    return self().user->slice_cycles + arch::clock::cycles() -
           local_scheduler().switched_at.load(std::memory_order_relaxed);
}

void set_user(user_part* user) noexcept {
    critical section;
    scheduler& s = local_scheduler();
    self().user = user;
    s.running_user.store(user, std::memory_order_release);
    if (user) share_with_ready(self(), s); // as it got the CPU it had no turn yet that could end
}

void settle() noexcept {
    critical section;
    scheduler& s = local_scheduler();
    user_part& user = *self().user;
    const k::u64 now = arch::clock::cycles();
    s.running_user.store(scheduler::changing(), std::memory_order_relaxed);
    charge(user, now - s.switched_at.load(std::memory_order_relaxed));
    s.switched_at.store(now, std::memory_order_release);
    s.running_user.store(&user, std::memory_order_release);
}

// It is asked without a lock: what was read counts if the same thread has run, since the same moment, all the while.
k::u64 cycles_of(const user_part& of, const std::atomic<unsigned>& home) noexcept {
    for (;;) {
        const unsigned cpu = home.load(std::memory_order_acquire);
        const scheduler& s = *scheduler_of(cpu);
        const user_part* const runs = s.running_user.load(std::memory_order_acquire);
        const k::u64 since = s.switched_at.load(std::memory_order_acquire);
        const k::u64 before = of.run_cycles.load(std::memory_order_acquire), now = arch::clock::cycles();
        if (runs != scheduler::changing() && s.running_user.load(std::memory_order_acquire) == runs &&
            s.switched_at.load(std::memory_order_relaxed) == since && home.load(std::memory_order_relaxed) == cpu)
            return before + (runs == &of && now > since ? now - since : 0);
        arch::cpu::relax();
    }
}

k::u32 load_of(unsigned cpu) noexcept {
    const scheduler* s = scheduler_of(cpu);
    if (!s) return ~k::u32{0};
    return s->ready_count.load(std::memory_order_relaxed) + !s->idling.load(std::memory_order_relaxed);
}

void wake(thread& t) noexcept {
    critical section;
    const unsigned home = t.home.load(std::memory_order_relaxed);
    if (home == arch::cpu::id()) return wake_local(t);
    send(
        home, [](void* woken) { wake_local(*static_cast<thread*>(woken)); }, &t);
}

void wake_next(thread& t) noexcept {
    critical section;
    if (t.home.load(std::memory_order_relaxed) != arch::cpu::id()) return wake(t);
    scheduler& s = local_scheduler();
    kassert(t.state == thread_state::blocked);
    t.state = thread_state::ready;
    if (t.user) t.level = enter_turn(*t.user);
    s.push(t, s.passes_equals(t));
    const thread& running = self();
    if (t.level >= interrupt_priority && t.level > running.level)
        arch::cpu::local().pending.fetch_or(arch::event_resched, std::memory_order_relaxed);
    else if (running.user && t.level >= user_priority && !s.turn.armed())
        s.turn.arm(ktime::after(slice_ns)); // in case that the caller does not sleep after all
}

void block() noexcept {
    thread& t = self();
    token_hold* tokens = t.tokens;
    t.state = thread_state::blocked; // from here on the wake-up may come
    if (t.user) t.user->sleeps.store(t.user->sleeps.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (tokens) [[unlikely]]
        release_for_blocking();
    switch_away();
    if (tokens) [[unlikely]]
        take_again();
}

void block_for(thread& next) noexcept {
    scheduler& s = local_scheduler();
    thread& t = self();
    if (t.tokens || next.home.load(std::memory_order_relaxed) != arch::cpu::id()) [[unlikely]] {
        wake_next(next);
        return block();
    }
    kassert(next.state == thread_state::blocked);
    if (next.user) next.level = enter_turn(*next.user);
    if (s.top() >= next.level) [[unlikely]] { // others wait who are better, or as good
        const bool first = s.passes_equals(next);
        if (!first || s.top() > next.level) {
            next.state = thread_state::ready;
            s.push(next, first);
            return block();
        }
    }
    t.state = thread_state::blocked;
    if (t.user) t.user->sleeps.store(t.user->sleeps.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    change_threads(s, t, next, false);
}

void yield() noexcept {
    critical section;
    scheduler& s = local_scheduler();
    thread& t = self();
    if (&t == s.idle) return;
    const bool interrupted = t.user && s.top() > t.level; // its turn goes on when the better ones are done
    if (t.user && !interrupted) {
        t.user->slice_cycles = 0;
        t.level = user_priority;
    }
    if (s.top() < t.level) return;
    token_hold* tokens = t.tokens;
    if (tokens) [[unlikely]]
        release_for_blocking();
    t.state = thread_state::ready;
    if (interrupted)
        s.push_front(t);
    else
        s.push_back(t);
    switch_away();
    if (tokens) [[unlikely]]
        take_again();
}

void preempt_if_due() noexcept {
    scheduler& s = local_scheduler();
    thread& t = self();
    const int top = s.top();
    if (&t == s.idle) {
        if (top < 0) return;
        t.state = thread_state::blocked; // the idle thread stands in no queue
    } else {
        if (top < interrupt_priority || top <= t.level) return;
        t.state = thread_state::ready; // and keeps its tokens: it has not blocked
        t.preempted = true;
        s.push_front(t);
        s.counters.preemptions++;
    }
    switch_away();
}

k::status hand_over(unsigned cpu) noexcept {
    assert_may_block();
    if (!scheduler_of(cpu)) return k::error::inval;
    critical section;
    scheduler& s = local_scheduler();
    thread& t = self();
    if (cpu == arch::cpu::id()) return {};
    token_hold* tokens = t.tokens;
    if (tokens) release_for_blocking();
    t.state = thread_state::blocked;
    s.all.erase(s.all.iterator_to(t));
    s.departed = &t;
    s.departed_how = departure::handed_over;
    s.departed_to = cpu;
    switch_away();
    if (tokens) take_again();
    return {};
}

k::status hand_over(thread& t, unsigned cpu) noexcept {
    if (!scheduler_of(cpu)) return k::error::inval;
    critical section;
    if (t.home.load(std::memory_order_relaxed) != arch::cpu::id() || t.state != thread_state::ready || t.preempted)
        return k::error::busy;
    if (cpu == arch::cpu::id()) return {};
    scheduler& s = local_scheduler();
    s.remove(t);
    s.all.erase(s.all.iterator_to(t));
    t.state = thread_state::blocked;
    s.counters.handed_over++;
    t.home.store(cpu, std::memory_order_relaxed);
    send(
        cpu, [](void* moved) { adopt(*static_cast<thread*>(moved)); }, &t);
    return {};
}

void sleep_for(k::u64 ns) noexcept {
    assert_may_block();
    struct alarm {
        ktime::callout callout{[](ktime::callout& c) { wake_local(*reinterpret_cast<alarm&>(c).sleeper); }};
        thread* sleeper;
    } a{.sleeper = &self()};
    critical section;
    a.callout.arm(ktime::after(ns));
    block();
}

void assert_may_block() noexcept {
    check_may_block(self());
}

void adopt_boot_flow(std::string_view name, arch::vaddr stack, std::size_t size) {
    auto* s = mem::make<scheduler>();
    auto* t = mem::make<thread>();
    if (!s || !t || !ktime::make_wheel()) k::panic("no memory for CPU {}'s scheduler", arch::cpu::id());
    name.copy(t->name, sizeof(t->name) - 1);
    t->home = arch::cpu::id();
    t->state = thread_state::running;
    t->level = normal_priority;
    t->context.adopt(stack, size);
    arch::cpu_local& cpu = arch::cpu::local();
    cpu.kernel = s;
    cpu.thread = t;
    s->all.push_back(*t);
    s->idle = t;
    schedulers[cpu.id].store(s, std::memory_order_release);
}

void become_idle() noexcept {
    thread& t = self();
    t.level = idle_priority;
    kassert(&t == local_scheduler().idle);
    arch::cpu::critical_exit();
    for (;;) {
        if (!local_scheduler().ready_levels && idle_chores()) continue;
        critical section;
        scheduler& s = local_scheduler();
        if (s.ready_levels) {
            t.state = thread_state::blocked;
            switch_away();
        } else {
            const k::u64 before = ktime::now();
            arch::cpu::wait_for_event();
            s.counters.idle_ns += ktime::now() - before;
        }
    }
}

void visit_threads(void (*visit)(const thread&, void*), void* argument) noexcept {
    critical section;
    for (const thread& t : local_scheduler().all)
        visit(t, argument);
}

scheduler_counters scheduler_statistics(unsigned cpu) noexcept {
    scheduler_counters counters{};
    auto read = [](void* out) { *static_cast<scheduler_counters*>(out) = local_scheduler().counters; };
    if (scheduler_of(cpu)) call_on(cpu, read, &counters);
    return counters;
}

} // namespace lwkt
