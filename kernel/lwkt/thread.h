// Threads and the scheduler.
//
// A thread belongs to one CPU, which alone runs it, queues it and changes its state; no run queue is ever
// touched by two CPUs. Waking a thread of another CPU is an IPI message to that CPU. A thread changes CPUs
// only by an explicit hand-over, by itself or, while it is merely ready, by its owner.
//
// Threads have priorities 1 to 31. The highest ready one runs when the running one blocks or yields.
// Kernel threads never preempt each other; only a thread at interrupt_priority or above takes the CPU
// from a lower one, when the latter leaves its critical sections.
//
// Whatever blocks gives up the thread's tokens (token.h) and takes them again before it returns.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/critical.h"
#include "kernel/mem/kernel_space.h"

#include <boost/intrusive/list.hpp>

namespace lwkt {

class token_hold;
class wait_place;

using list_hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;

using priority = k::u8;
constexpr priority idle_priority = 0;
constexpr priority user_priority = 6;                       // threads in user mode, which take turns; see user_part
constexpr priority fresh_user_priority = user_priority + 1; // those of them with a part of their slice left
constexpr priority normal_priority = 12;
constexpr priority interrupt_priority = 24; // and above: preempts
constexpr priority highest_priority = 31;

// Transitions, each made by the owning CPU: ready -> running (picked), running -> ready (yield, preempted,
// handed over), running -> blocked (block()), blocked -> ready (wake), running -> dead (exit).
enum class thread_state : k::u8 { ready, running, blocked, dead };

// What the scheduler needs of a thread that lives in user mode too. Such a thread leaves user mode at every interrupt
// and looks at `attention` before it goes back; that is how it is asked, by any CPU, to do something.
struct user_part {
    std::atomic<k::u32> attention = 0; // attention_turn is the scheduler's bit; the others are kernel/proc's
    // Cycles of arch::clock that it has had the CPU, up to the last switch (cycles_of() adds what came since); and how
    // often it slept. Its CPU writes.
    std::atomic<k::u64> run_cycles = 0, sleeps = 0;
    // What it has used of its slice. Who sleeps before the slice is over goes on with the rest, before those who
    // compute; when it is used up, everybody else has a turn first. The thread's CPU writes.
    k::u64 slice_cycles = 0;
};
constexpr k::u32 attention_turn = 1; // a better thread is ready, or another one and the slice is over: call yield()
constexpr k::u64 slice_ns = 10'000'000;

struct thread {
    char name[24]; // ends with 0; a thread may rename itself: others may read it torn
    // Immutable after create().
    mem::stack stack; // none for the boot flows of CPUs, whose stacks the port gave

    // Owned by the CPU `home`, in a critical section.
    std::atomic<unsigned> home; // others read it to know where to send; changes only at a hand-over
    thread_state state;
    priority level;
    k::u32 critical_depth; // while not running
    bool preempted;        // ready in the middle of something: it may rely on being on this CPU
    k::u8 passed;          // while ready: how often an equal was given the CPU before it
    list_hook run_link;    // in the run queue or a cache of dead threads
    list_hook all_link;    // in the owner's list of all its threads
    arch::context context;
    void (*entry)(void*);
    void* argument;
    k::u64 switches; // times it was given the CPU

    // Owned by the thread itself.
    token_hold* tokens; // innermost first
    user_part* user;    // null: a kernel thread. Set by set_user(); its CPU reads it

    // Guarded by the wait queue's lock while it stands in one.
    list_hook wait_link;
    // Null: taken out by a waker or by the time-out. Atomic, because a time-out of the place before may still look.
    std::atomic<wait_place*> waiting_in;
};

using run_list = boost::intrusive::list<thread, boost::intrusive::member_hook<thread, list_hook, &thread::run_link>,
                                        boost::intrusive::constant_time_size<false>>;
using thread_list = boost::intrusive::list<thread, boost::intrusive::member_hook<thread, list_hook, &thread::all_link>>;

// The running thread.
inline thread& self() noexcept {
    return *static_cast<thread*>(arch::cpu::thread());
}

// Makes a thread of CPU `cpu` that runs entry(argument) and exits when that returns. ENOMEM.
// Thread context. The thread may run, and be gone, before spawn() returns.
k::status spawn(std::string_view name, unsigned cpu, priority level, void (*entry)(void*), void* argument);

// Ends the running thread.
[[noreturn]] void exit() noexcept;

// Lets another ready thread of the same or a higher level run. Thread context.
void yield() noexcept;

// Sleeps until wake(). The caller has made itself findable, in the critical section that it is still in,
// to whoever will wake it, and exactly one wake() follows. Wait queues and ports are built on it.
void block() noexcept;

// Makes a blocked thread ready. Exactly one for each block(). Any CPU, thread or critical section.
void wake(thread& t) noexcept;
// The same by the owning CPU itself, also from an IPI function.
void wake_local(thread& t) noexcept;
// The same as wake() by a thread that will sleep at once: `t`, if it belongs to this CPU, runs next among its equals,
// and the caller is not asked to make room for it. Those equals have their turn all the same: `t` stands behind them
// when its slice is used up, and whenever they were passed too often.
void wake_next(thread& t) noexcept;
// block() that gives the CPU to `next`, which nobody else will wake, as wake_next() and then block() would.
void block_for(thread& next) noexcept;

// Moves the running thread to CPU `cpu`; it continues there. Ports stay where they were made, so a thread that
// waits at one stays too. EINVAL for a CPU that is not running. Thread context, outside critical sections.
k::status hand_over(unsigned cpu) noexcept;
// Moves a ready thread of this CPU. EBUSY if it is not ready here, or if it was preempted: it did not come to a point
// where it could expect to be moved.
k::status hand_over(thread& t, unsigned cpu) noexcept;

// Sleeps for at least that long.
void sleep_for(k::u64 ns) noexcept;

// Asserts that the running code may block: a thread, not the idle one, outside IPI functions.
void assert_may_block() noexcept;

// Calls visit(thread) for each thread of this CPU, in a critical section.
void visit_threads(void (*visit)(const thread&, void*), void* argument) noexcept;

struct scheduler_counters {
    k::u64 switches;
    k::u64 preemptions;
    k::u64 idle_ns;
    k::u64 handed_over;
};
// Asks that CPU. Thread context.
scheduler_counters scheduler_statistics(unsigned cpu) noexcept;

// Has that CPU a scheduler, so that threads can be made there? Any context.
bool is_running(unsigned cpu) noexcept;

// Makes the running boot flow the first thread of this CPU, with the given name and level.
void adopt_boot_flow(std::string_view name, arch::vaddr stack, std::size_t size);
// Turns the boot flow of a CPU, at critical depth 1, into its idle thread.
[[noreturn]] void become_idle() noexcept;

// Gives the memory of dead threads on this CPU back. Thread context.
void reap_threads(unsigned keep) noexcept;

// What the running user thread has used of its slice so far, in cycles of arch::clock.
k::u64 slice_used() noexcept;
// The level of a user thread that becomes ready: fresh with the rest of its slice, or, if that is used up, behind those
// who wait, with a new one.
priority enter_turn(user_part& user) noexcept;

// The running thread lives in user mode from now on; null: no more.
void set_user(user_part* user) noexcept;
// For how many cycles of arch::clock a user thread has had a CPU, up to now. `home` is where it is; it may say so a
// little before the thread gets there, if that calls settle() first. Any context.
void settle() noexcept;
k::u64 cycles_of(const user_part& of, const std::atomic<unsigned>& home) noexcept;

// How busy a CPU is: threads that run there or are ready to. ~0 for a CPU that is not running. Any context; a guess.
k::u32 load_of(unsigned cpu) noexcept;

// Threads alive on all CPUs.
k::u64 threads_alive() noexcept;

} // namespace lwkt
