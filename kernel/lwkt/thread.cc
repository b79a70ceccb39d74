// The life of threads: made, ended, and kept for the next one. A dead thread's structure and stack stay on the
// CPU it died on, so that making a thread is usually taking one from a list.
#include "kernel/lwkt/thread.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/scheduler_priv.h"
#include "kernel/mem/slab.h"
#include "kernel/time/callout.h"

#include <algorithm>

namespace lwkt {

namespace {

std::atomic<k::u64> alive;
per_cpu<unsigned> in_hand; // dead threads whose memory is being given back right now

void start(void* argument) {
    finish_switch();
    thread& t = *static_cast<thread*>(argument);
    arch::cpu::critical_exit();
    t.entry(t.argument);
    exit();
}

// One that died here, or null.
thread* take_dead() {
    critical section;
    scheduler& s = local_scheduler();
    if (s.dead.empty()) return nullptr;
    thread& t = s.dead.front();
    s.dead.pop_front();
    s.dead_count--;
    t.context.retire();
    return &t;
}

thread* make_thread() {
    if (thread* t = take_dead()) return t;
    auto stack = mem::stack::create();
    if (!stack) return nullptr;
    auto* t = mem::make<thread>();
    if (t) t->stack = std::move(*stack);
    return t;
}

} // namespace

k::status spawn(std::string_view name, unsigned cpu, priority level, void (*entry)(void*), void* argument) {
    kassert(level > idle_priority && level <= highest_priority);
    if (!scheduler_of(cpu)) return k::error::inval;
    thread* t = make_thread();
    if (!t) return k::error::nomem;
    const std::size_t length = name.copy(t->name, sizeof(t->name) - 1);
    std::fill(t->name + length, std::end(t->name), '\0');
    t->home.store(cpu, std::memory_order_relaxed);
    t->state = thread_state::blocked;
    t->level = level;
    t->critical_depth = 1;
    t->entry = entry;
    t->argument = argument;
    t->switches = 0;
    t->tokens = nullptr;
    t->user = nullptr;
    t->waiting_in = nullptr;
    t->context.prepare(t->stack.base(), mem::stack::size, start, t);
    alive.fetch_add(1, std::memory_order_relaxed);
    send(
        cpu, [](void* made) { adopt(*static_cast<thread*>(made)); }, t);
    return {};
}

void exit() noexcept {
    assert_may_block();
    alive.fetch_sub(1, std::memory_order_relaxed);
    arch::cpu::critical_enter();
    scheduler& s = local_scheduler();
    thread& t = self();
    kassert(!t.tokens);
    t.state = thread_state::dead;
    s.all.erase(s.all.iterator_to(t));
    s.departed = &t;
    s.departed_how = departure::dead;
    switch_away();
    __builtin_unreachable();
}

void reap_threads(unsigned keep) noexcept {
    while (local_scheduler().dead_count > keep) {
        thread* t;
        {
            critical section;
            t = take_dead();
            if (!t) break;
            in_hand.local()++;
        }
        mem::destroy(t); // its stack with it
        critical section;
        in_hand.local()--;
    }
    while (!keep && in_hand.local()) // the idle thread may have been preempted in the midst of one
        sleep_for(50 * ktime::microsecond);
}

k::u64 threads_alive() noexcept {
    return alive.load(std::memory_order_relaxed);
}

} // namespace lwkt
