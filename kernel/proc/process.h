// proc::process: what the threads of one program share. Read this header first of kernel/proc, then thread.h.
//
// A process begins in fork.cc (init in init.cc) and has one thread then; it ends when its last thread leaves
// (exit.cc), is a zombie until its parent has waited for it, and its memory goes with the last reference. Each field
// stands under what guards it:
//   - `tree`: the token of all relations (tree.h);
//   - threads_lock: a spinlock, so that callouts can find a thread to signal;
//   - "own threads": changed by the process's running threads only while there is one (exec), or atomically.
#pragma once

#include "kernel/lib/annotations.h"
#include "kernel/lib/ref.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/proc/credentials.h"
#include "kernel/proc/limits.h"
#include "kernel/proc/places.h"
#include "kernel/proc/signals.h"
#include "kernel/proc/thread.h"
#include "kernel/proc/timers.h"
#include "kernel/proc/tree.h"
#include "sys/vm/space.h"

#include <boost/intrusive/list.hpp>

namespace proc {

constexpr std::size_t most_path = vfs::longest_path; // PATH_MAX, the zero byte included

// What getrusage() and times() add up.
struct usage {
    k::u64 user_ns, system_ns;
    k::u64 faults;
    k::u64 waits;      // context switches by sleeping
    k::u64 peak_pages; // of memory

    void add(const usage& other) noexcept;
};

usage usage_of(const thread& t) noexcept;

enum class life : k::u8 { alive, zombie, gone };

// A process in the making is no member of its group yet: it misses what is sent to its maker as to one of several, and
// gets it when it is one. Guarded by `tree`.
struct birth {
    signal_set missed{};
    birth* next = nullptr;
};

class process final : public k::counted<process> {
  public:
    const int pid;
    lwkt::list_hook number_link; // of the table of processes. tree

    // --- Guarded by `tree`.
    process* parent GUARDED_BY(tree) = nullptr; // null: of init, and of a process that is gone
    std::atomic<int> parent_pid = 0;            // the same for getppid(), which takes no token
    lwkt::list_hook sibling_link;               // in the parent's list
    lwkt::list_hook group_link;                 // in the group's list
    boost::intrusive::list<process, boost::intrusive::member_hook<process, lwkt::list_hook, &process::sibling_link>,
                           boost::intrusive::constant_time_size<false>>
        children GUARDED_BY(tree);
    k::ref<proc::group> group GUARDED_BY(tree); // and the session through it
    k::ref<account> payer GUARDED_BY(tree);     // of the real user
    unsigned threads_paid GUARDED_BY(tree) = 0; // counted there
    life state GUARDED_BY(tree) = life::alive;
    // wait status as wait4() gives it, valid in a zombie.
    int exit_status GUARDED_BY(tree) = 0;
    usage dead_children GUARDED_BY(tree){}; // those waited for
    // Stop and continue, as the parent is told of them. Set by job control (signals), reported by wait.cc.
    int stop_signal GUARDED_BY(tree) = 0; // 0: not stopped
    bool stop_unreported GUARDED_BY(tree) = false;
    bool continue_unreported GUARDED_BY(tree) = false;
    bool has_run_exec GUARDED_BY(tree) = false;   // since its fork: setpgid() by the parent is too late
    bool adopts_orphans GUARDED_BY(tree) = false; // PR_SET_CHILD_SUBREAPER
    int exit_signal GUARDED_BY(tree) = sig_chld;  // what the parent gets when it ends; 0: nothing
    k::u32 execs GUARDED_BY(tree) = 0;            // how often it has become another program
    k::u32 parents_execs GUARDED_BY(tree) = 0;    // the parent's when this one was made; of no meaning in adopted ones
    birth* births GUARDED_BY(tree) = nullptr;     // its children in the making
    int parent_death_signal GUARDED_BY(tree) = 0; // PR_SET_PDEATHSIG
    lwkt::wait_queue child_queue;                 // its threads sleep here for children

    // --- Guarded by threads_lock, a bottom lock: nothing is taken inside it.
    mutable lwkt::spinlock threads_lock;
    thread_list threads GUARDED_BY(threads_lock);
    unsigned thread_count GUARDED_BY(threads_lock) = 0;
    bool ending GUARDED_BY(threads_lock) = false;        // exit_group or a deadly signal: every thread shall leave
    thread* survivor GUARDED_BY(threads_lock) = nullptr; // the thread in exec: the others shall leave
    int end_status GUARDED_BY(threads_lock) = 0;         // the wait status, if `ending`
    usage dead_threads GUARDED_BY(threads_lock){};
    char last_name[16] GUARDED_BY(threads_lock) = {}; // of its main thread, when that has left
    lwkt::wait_queue thread_queue;                    // exec waits here for the others to leave

    // --- Changed by its own threads.
    // Swapped under threads_lock by exec; its own threads use it freely, others through share_space().
    k::ref<vm::space> space;
    k::ref<places> where_ GUARDED_BY(places_lock);
    k::ref<held_program> program_ GUARDED_BY(places_lock);
    mutable lwkt::spinlock places_lock;
    std::atomic<k::u32> umask = 022;
    std::atomic<k::u32> personality = 0;
    std::atomic<int> nice = 0;
    std::atomic<bool> dumpable = true;
    std::atomic<bool> no_new_privileges = false;
    std::atomic<int> oom_score_adjustment = 0; // kept for /proc; nobody is killed for want of memory
    ktime::ns start_time = 0;

    // Where the kernel's own code for user mode lies: the return from a signal handler, the clocks. 0: not there.
    xio::user_address vdso_base = 0;
    // For /proc: where the argument and environment texts lie.
    xio::user_address arguments_base = 0, arguments_end = 0, environment_end = 0;

    // --- Guarded inside.
    guarded_credentials who;
    proc::limits limits;
    process_signals signals{this};
    process_timers timers{signals};

    explicit process(int number) noexcept;
    process(int number, const process& parents) noexcept; // with the parent's limits; nothing else is taken over
    ~process();
    void last_holder_left() noexcept; // frees memory only, and may therefore run in an IPI function

    // For other processes: the space, or nothing of one that has ended.
    k::ref<vm::space> share_space() const noexcept;
    // Where it is, and what it runs; empty of one that has ended.
    k::ref<places> where() const noexcept;
    k::ref<held_program> program() const noexcept;
    void set_where(k::ref<places> to) noexcept;
    void set_program(k::ref<held_program> to) noexcept;

    // Of the living threads and those that have left.
    usage used() const noexcept;
    // Calls visit(thread&) for each thread, under threads_lock.
    template <class Visit> void for_each_thread(Visit visit) noexcept {
        lwkt::spin_guard guard(threads_lock);
        for (thread& t : threads)
            visit(t);
    }
    bool is_multithreaded() const noexcept {
        lwkt::spin_guard guard(threads_lock);
        return thread_count > 1;
    }
};

// Asks all threads of a process to leave; its wait status will be `status`. Only the first such call counts. Thread
// context or a critical section (callouts), but not from an IPI function. For deadly signals and exit_group.
void end_process(process& p, int status) noexcept;

// Has all threads of a process that run tell its timers soon what they have used. From a callout.
void ask_to_charge(process& p) noexcept;

// The wait statuses of wait4().
constexpr int exited_with(int code) {
    return (code & 0xff) << 8;
}
constexpr int killed_by(int signal) {
    return signal & 0x7f;
}
constexpr int stopped_by(int signal) {
    return (signal & 0xff) << 8 | 0x7f;
}
constexpr int continued_status = 0xffff;

} // namespace proc
