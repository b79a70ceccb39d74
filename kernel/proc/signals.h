// Signals of a process and of its threads. Read this header first; signal_abi.h has the values.
//
// Each process has one `process_signals` with a spinlock that guards it and the `thread_signals` of all its threads, so
// that a signal can be sent from any thread and from a callout. A thread learns of everything by its attention word
// (thread.h), which it tests on every way to user mode and in every interruptible sleep; whoever sets attention_signal
// there then kicks the thread: takes it out of its sleep, or out of user mode. Signals are taken, and the process is
// stopped, only by its own threads on their way to user mode (deliver_signals()).
//
// Nothing is sent to another CPU under the spinlock: threads to be kicked are collected, and kicked after it.
// Lock order: the tree's token, this lock, a process's threads_lock.
#pragma once

#include "kernel/files/pollable.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/lwkt/wait_queue.h"
#include "kernel/proc/signal_queue.h"

#include <boost/intrusive/list.hpp>

namespace proc {

class process;
class thread;
class process_signals;
class process_timers;

// A thread's part. Member functions: the thread itself, unless they say otherwise.
class thread_signals {
  public:
    // From now on senders find it, although it may run much later. `attention` is its word (lwkt::user_part); a test
    // may have no thread.
    thread_signals(process_signals& process, thread* owner, int id, std::atomic<k::u32>& attention) noexcept;
    ~thread_signals();
    thread_signals(const thread_signals&) = delete;

    process_signals& process() noexcept { return process_; }
    int id() const noexcept { return id_; }
    // exec gives the thread the number of its process; it is the only one then.
    void set_id(int id) noexcept { id_ = id; }

    signal_set blocked() const noexcept { return blocked_; }
    // Changes the mask (SIGKILL and SIGSTOP stay out of it); what it uncovers is announced.
    void set_blocked(signal_set mask) noexcept;
    // For calls with a mask of their own (sigsuspend, ppoll, pselect, epoll_pwait): the mask holds until the call is
    // over, and until a handler that ends it has been set up. Call end_temporary_mask() when the call ends otherwise
    // than by EINTR; after EINTR leave it, deliver_signals() restores the mask.
    void set_temporary_mask(signal_set mask) noexcept;
    void end_temporary_mask() noexcept;

    // For a call that begins anew after SA_RESTART as its table entry says, but not this time (futex with a time-out).
    void end_call_after_handler() noexcept { call_ends_after_handler_ = true; }

    alternate_stack& alternate() noexcept { return alternate_; }
    const alternate_stack& alternate() const noexcept { return alternate_; }

  private:
    friend class process_signals;
    friend class kick_list;
    friend class delivery;
    friend class signal_frame_access;
    friend void fault_signal(int number, int code, k::u64 address) noexcept;

    process_signals& process_;
    thread* const owner_;
    int id_;
    std::atomic<k::u32>& attention_;

    // Under the process's lock; `blocked_` is written by the thread itself only, which may read it without.
    signal_set blocked_;
    signal_set waited_for_; // by sigtimedwait: taken although blocked
    signal_queue queue_;
    bool attached_ = false;
    bool stopped_ = false; // sleeps in a stop, or counts as doing so
    boost::intrusive::list_member_hook<> member_link_;

    // In the list of whoever will kick it.
    std::atomic<bool> kick_wanted_ = false;
    thread_signals* next_kicked_ = nullptr;

    // The thread's own. Of its last fault, for the frame.
    k::u64 fault_address_ = 0, fault_vector_ = 0, fault_code_ = 0;
    signal_set saved_mask_;
    bool mask_saved_ = false;
    bool call_ends_after_handler_ = false;
    alternate_stack alternate_;
};

// Threads to be kicked. Collects under the lock of their process and kicks when it goes: declare it before the guard.
// A critical section all the while.
class kick_list {
  public:
    kick_list() = default;
    ~kick_list();
    // Under the process's lock.
    void add(thread_signals& t) noexcept;
    // And all that sleep in a stop there.
    void add_stopped(lwkt::wait_queue& queue) noexcept { stopped_ = &queue; }
    // And tell those who watch for signals (signalfd).
    void add_arrival(process_signals& where) noexcept { arrival_ = &where; }
    // And end the process, by SIGKILL.
    void add_end(process& victim) noexcept { victim_ = &victim; }

  private:
    lwkt::critical section_;
    thread_signals* first_ = nullptr;
    lwkt::wait_queue* stopped_ = nullptr;
    process_signals* arrival_ = nullptr;
    process* victim_ = nullptr;
};

// How a signal is posted.
enum class posting : k::u8 {
    normal,     // never fails: without room it is a bare bit
    must_queue, // sigqueue: EAGAIN without room for a real-time one
};

class process_signals {
  public:
    // A test may have no process.
    explicit process_signals(process* owner) noexcept : owner_(owner) {}
    process* owner() const noexcept { return owner_; } // null in tests
    ~process_signals();
    process_signals(const process_signals&) = delete;

    // A fresh process gets the parent's actions. Before it has threads that run.
    void copy_actions(process_signals& from) noexcept;
    // exec: handlers become default, what is ignored stays so; pending signals stay. Single-threaded by then.
    void reset_for_exec() noexcept;

    // It will take no more signals; what it was chosen for goes to others. The thread itself, when it does not sleep
    // interruptibly any more (the tree may be held). Doing it again is nothing.
    void detach(thread_signals& t) noexcept;
    // Nobody will take any more: gives all entries back, and takes no new ones.
    void close() noexcept;

    // Sending: any thread or critical section (a callout too), not an IPI function. No permission is checked. EAGAIN.
    k::status post(const signal_info& info, posting how = posting::normal) noexcept;
    k::status post_to(thread_signals& t, const signal_info& info, posting how = posting::normal) noexcept;
    // To the thread of this number. ESRCH.
    k::status post_to(int thread_id, const signal_info& info, posting how = posting::normal) noexcept;
    // A fault of the running thread: cannot be blocked or ignored.
    void force(thread_signals& self, const signal_info& info) noexcept;

    // What a timer's expiry came to.
    enum class timer_posted : k::u8 { queued, already_queued, ignored, nobody };
    // Queues the timer's own entry, to the thread of that number or, 0, to the process.
    timer_posted post_timer(queued_signal& entry, int thread_id) noexcept;
    // The entry will not be delivered any more.
    void withdraw(queued_signal& entry) noexcept;

    // rt_sigaction. `number` is a signal. EINVAL for those that cannot be caught.
    k::status set_action(int number, const signal_action& action, signal_action* old) noexcept;
    signal_action action_of(int number) const noexcept;

    // What is pending for the thread, blocked or not.
    signal_set pending(thread_signals& t) noexcept;
    // Takes the next pending signal out of `wanted`. 0: none. For signalfd and sigtimedwait. `t` is the running thread.
    int take(thread_signals& t, signal_set wanted, signal_info& out) noexcept;
    // Sleeps until one of `wanted` can be taken (EAGAIN at the deadline, EINTR for another signal), and takes it.
    k::result<int> wait_for(thread_signals& self, signal_set wanted, ktime::ns deadline, signal_info& out) noexcept;
    // Told of every signal that comes (poll_in): for signalfd.
    files::pollable& arrivals() noexcept { return arrivals_; }
    // Where process_timers says that it is there, to be asked for overruns.
    void set_timers(process_timers& timers) noexcept { timers_ = &timers; }

    // Tells the parent what happened: stopped, or goes on. Thread context.
    void report_job_control() noexcept;

  private:
    friend class thread_signals;
    friend class delivery;
    using member_list =
        boost::intrusive::list<thread_signals,
                               boost::intrusive::member_hook<thread_signals, boost::intrusive::list_member_hook<>,
                                                             &thread_signals::member_link_>>;
    enum class run_state : k::u8 { running, stopping, stopped };

    bool is_init() const noexcept;
    k::u64 queue_limit() const noexcept;
    void attach(thread_signals& t) noexcept;
    k::status post_locked(thread_signals* target, const signal_info& info, posting how, kick_list& kicks) noexcept
        REQUIRES(lock_);
    bool prepare_locked(thread_signals* target, int number, kick_list& kicks) noexcept REQUIRES(lock_);
    bool ignored_locked(const thread_signals* target, int number) const noexcept REQUIRES(lock_);
    void announce_locked(thread_signals* target, int number, kick_list& kicks) noexcept REQUIRES(lock_);
    void retarget_locked(signal_set what, kick_list& kicks) noexcept REQUIRES(lock_);
    void refresh_locked(thread_signals& t) noexcept REQUIRES(lock_);
    void mask_locked(thread_signals& t, signal_set mask, kick_list& kicks) noexcept REQUIRES(lock_);
    int take_locked(thread_signals& t, signal_set wanted, signal_info& out) noexcept REQUIRES(lock_);
    void complete(signal_info& info) noexcept;
    void discard_locked(signal_set what) noexcept REQUIRES(lock_);
    void discard_from_locked(signal_queue& queue, signal_set what) noexcept REQUIRES(lock_);
    thread_signals* find_locked(int thread_id) noexcept REQUIRES(lock_);
    void continue_locked(kick_list& kicks) noexcept REQUIRES(lock_);
    void begin_stop_locked(int number, kick_list& kicks) noexcept REQUIRES(lock_);
    void check_stop_complete_locked() noexcept REQUIRES(lock_);
    void stop_here(thread_signals& t) noexcept;
    bool stop_by(thread_signals& t, int number, k::u32 continues) noexcept;

    process* const owner_;
    lwkt::wait_queue stop_queue_; // threads of a stopped process
    files::pollable arrivals_;
    process_timers* timers_ = nullptr;

    mutable lwkt::spinlock lock_;
    signal_action actions_[sig_max] GUARDED_BY(lock_);
    signal_set changed_ GUARDED_BY(lock_); // the others are the default for sure
    signal_queue shared_ GUARDED_BY(lock_);
    member_list members_ GUARDED_BY(lock_);
    k::u64 queued_ GUARDED_BY(lock_) = 0; // entries of the heap in all queues
    bool closed_ GUARDED_BY(lock_) = false;

    run_state state_ GUARDED_BY(lock_) = run_state::running;
    int stop_signal_ GUARDED_BY(lock_) = 0;
    unsigned stopped_threads_ GUARDED_BY(lock_) = 0;
    k::u32 continues_ GUARDED_BY(lock_) = 0;        // SIGCONTs so far
    bool stop_to_notify_ GUARDED_BY(lock_) = false; // the parent is to be told, by a thread of the process
    bool continue_to_notify_ GUARDED_BY(lock_) = false;
};

// --- What fork, exec, exit and the user loop call.

// A child's: actions and the mask are those of the running thread's process, nothing is pending.
void inherit_signals(process& child, thread& childs_thread, const thread& parent) noexcept;
// A thread's that clone made: the mask of its maker, nothing pending, no alternate stack.
void inherit_signals(thread& made, const thread& maker) noexcept;
// exec: handlers become the default, no alternate stack; ignored signals stay so, what is pending stays pending.
void reset_signals_for_exec(thread& t) noexcept;
// The running thread leaves: what is pending for it alone is dropped, what it would have taken others may take.
void thread_leaves(thread& t) noexcept;
// Nobody is left: gives back all that was queued; timers are stopped too. Thread context.
void process_leaves(process& p) noexcept;

// On the way out to user mode with attention_signal set, or when a call ended with EINTR: takes what waits, decides
// about the restart of t.call, builds frames, stops the process, or ends it (end_process()). The registers may be other
// ones afterwards.
void deliver_signals(thread& t) noexcept;

// A fault of the running thread: it cannot be ignored or held back. code is si_code, address si_addr.
void fault_signal(int number, int code, k::u64 address) noexcept;

// sigaltstack, for the running thread. EPERM while it runs on the one it has, EINVAL, ENOMEM if too small.
k::status set_alternate_stack(thread& t, const alternate_stack& to) noexcept;

// Bytes that a signal frame takes on the stack, for AT_MINSIGSTKSZ.
k::u64 signal_frame_bytes() noexcept;

// Of a call that sleeps for a relative time, first of all: the deadline of this very call (thread::restart_deadline) if
// it begins anew after an interruption, else `fresh`.
ktime::ns deadline_of_call(thread& t, ktime::ns fresh) noexcept;

// Is something at hand that ends the process whatever it thinks of it? For sleeps that only a kill ends.
bool kill_waits(const thread& t) noexcept;

// --- Sending by the kernel, without permission checks. Any thread or critical section, not an IPI function.

void send_signal(process& to, int number) noexcept; // SI_KERNEL
k::status send_signal(process& to, const signal_info& info, posting how = posting::normal) noexcept;
k::status send_to_thread(thread& to, const signal_info& info, posting how = posting::normal) noexcept;
// SIGCHLD (or another `number`) about `child`, with si_code as `code` says; `status` is the exit code or the signal.
void send_child_signal(process& parent, process& child, int number, int code, int status) noexcept;

// Does the process say (SIG_IGN or SA_NOCLDWAIT) that its children shall not become zombies / not report stops?
bool disowns_children(const process& p) noexcept;
bool ignores_child_stops(const process& p) noexcept;

} // namespace proc
