// The scheduler's per-CPU state, seen by the files of this folder only.
#pragma once

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"
#include "kernel/time/callout.h"

#include <bit>

namespace lwkt {

// What became of the thread that a switch left behind; done by whoever runs next.
enum class departure : k::u8 { none, dead, handed_over };

void end_turn(ktime::callout& c) noexcept;

// So often a thread that waits for the CPU is passed by equals who are given it.
constexpr k::u8 most_passed = 16;

// Owned by its CPU, in a critical section.
struct scheduler {
    run_list ready[highest_priority + 1]; // oldest first
    k::u32 ready_levels = 0;              // a bit for each list that is not empty
    thread* idle = nullptr;
    thread_list all;
    run_list dead; // threads to be used again, their stacks with them
    unsigned dead_count = 0;
    thread* departed = nullptr;
    departure departed_how = departure::none;
    unsigned departed_to = 0;
    // Cycles, when the running thread got the CPU; and which one that is of those that others ask about (user_part, or
    // null). Others read them, and `changing` tells that they and what is charged are not of one moment: cycles_of().
    std::atomic<k::u64> switched_at = 0;
    std::atomic<const user_part*> running_user = nullptr;
    static const user_part* changing() noexcept { return reinterpret_cast<const user_part*>(1); }
    scheduler_counters counters{};
    // Read by others, for a guess.
    std::atomic<k::u32> ready_count = 0;
    std::atomic<bool> idling = true;
    // Armed while a user thread runs that has to share the CPU; it ends slices.
    ktime::callout turn{end_turn};

    void push_back(thread& t) {
        ready[t.level].push_back(t);
        ready_levels |= 1u << t.level;
        count(1);
    }
    void push_front(thread& t) {
        ready[t.level].push_front(t);
        ready_levels |= 1u << t.level;
        count(1);
    }
    // Does a thread that is given the CPU pass its equals that wait? With a new slice it does not, or two that call
    // each other would never give others a turn; else mostly, but not for ever.
    bool passes_equals(const thread& t) {
        if (!(ready_levels >> t.level & 1)) return true; // there are none
        thread& waits = ready[t.level].front();
        if ((t.user && t.level == user_priority) || waits.passed == most_passed) return false;
        waits.passed++;
        return true;
    }
    void push(thread& t, bool first) { first ? push_front(t) : push_back(t); }
    void remove(thread& t) {
        run_list& list = ready[t.level];
        list.erase(list.iterator_to(t));
        if (list.empty()) ready_levels &= ~(1u << t.level);
        count(-1);
    }
    void count(int more) {
        ready_count.store(ready_count.load(std::memory_order_relaxed) + static_cast<k::u32>(more),
                          std::memory_order_relaxed);
    }
    // The level of the best ready thread, or -1.
    int top() const { return static_cast<int>(std::bit_width(ready_levels)) - 1; }
    thread& pop() {
        if (!ready_levels) return *idle;
        run_list& list = ready[top()];
        thread& t = list.front();
        list.pop_front();
        if (list.empty()) ready_levels &= ~(1u << t.level);
        count(-1);
        return t;
    }
};

inline scheduler& local_scheduler() noexcept {
    return *static_cast<scheduler*>(arch::cpu::kernel());
}
// What a CPU knows of its IPI messages (ipiq.cc).
struct ipi_state {
    bool serving; // an IPI function is running: it must not send, nor block
    ipi_counters counters;
};
extern per_cpu<ipi_state> ipi_states;

// assert_may_block() for who has looked up the running thread.
inline void check_may_block(const thread& running) noexcept {
    kassert(&running != local_scheduler().idle && !ipi_states.local().serving);
}

// Null for a CPU that is not running.
scheduler* scheduler_of(unsigned cpu) noexcept;

// Gives the CPU to the best ready thread. In a critical section; the caller has put the running thread where
// it belongs (queue, wait queue, departure). Returns when the thread runs again.
void switch_away() noexcept;
// The first thing a thread does when it has the CPU.
void finish_switch() noexcept;
// Puts a thread that now belongs to this CPU into its lists. In a critical section or an IPI function.
void adopt(thread& t) noexcept;
// Gives the CPU to a better thread, if one may preempt this one. In a critical section of depth 1.
void preempt_if_due() noexcept;

} // namespace lwkt
