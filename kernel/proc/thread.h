// proc::thread: one flow of control of a process: a life in user mode, and the LWKT thread that leads it.
//
// Its memory goes with the last reference: the thread itself has one, and so has a kick that is on its way. All else it
// gives back itself when it leaves (exit.cc). Fields are its own unless something else is said.
#pragma once

#include "arch/machine.h"
#include "kernel/files/fd_table.h"
#include "kernel/lib/ref.h"
#include "kernel/lwkt/thread.h"
#include "kernel/lwkt/wait_queue.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/signals.h"
#include "kernel/time/callout.h"
#include "sys/xio/user_memory.h"

#include <boost/intrusive/list.hpp>

namespace syscalls {
struct entry;
}

namespace proc {

class process;
class thread;

// Bits of lwkt::user_part::attention, beside lwkt::attention_turn (1).
constexpr k::u32 attention_signal = 2;  // a signal waits that it would take now, or a stop; signals.cc keeps it right
constexpr k::u32 attention_end = 4;     // it shall leave: the process ends, or another thread is in exec
constexpr k::u32 attention_move = 8;    // it may be on a CPU that its affinity excludes
constexpr k::u32 attention_charge = 16; // timers of CPU time want to know what it has used

// What a thread has used so far, in user mode and in the kernel, waiting not counted. Any thread.
struct cpu_time {
    k::u64 user_ns, system_ns;
};

// A vfork child runs in its parent's memory until it is done with it: in exec or at its end.
class vfork_lease final : public k::counted<vfork_lease> {
  public:
    void end() noexcept {
        over_.store(true, std::memory_order_release);
        queue_.wake_all();
    }
    // Returns early only if the waiting thread is to end.
    void wait_for_end(thread& waiter) noexcept;
    void last_holder_left() noexcept;

  private:
    lwkt::wait_queue queue_;
    std::atomic<bool> over_ = false;
};

class thread final : public k::counted<thread>, public lwkt::user_part {
  public:
    // --- Immutable, but that exec gives a thread the number of its process (under `tree`).
    int tid;
    process& owner;

    // --- Guarded by `tree`.
    lwkt::list_hook number_link; // of the table of threads
    // --- Guarded by owner.threads_lock.
    lwkt::list_hook process_link;

    // --- Its own.
    arch::user_context user;       // registers and floating-point state
    k::ref<files::fd_table> files; // changed by set_files(); others take share_files()
    // The system call that it runs or, on its way out, has run; null after other exits from user mode and once its
    // restart was decided. rax is the result by then (-errno); rdi, rsi, rdx, r10, r8 and r9 are as they were.
    const syscalls::entry* call = nullptr;
    k::u64 call_number = 0;  // rax before the call
    bool call_waits = false; // it did not run at once: syscalls::dispatch() is to be called
    // Of a call that slept for a relative time and was interrupted: when that time is over. It counts, instead of the
    // argument, if the call begins anew without a handler having run; 0: none.
    ktime::ns restart_deadline = 0;
    xio::user_address set_child_tid = 0;   // its number is put there when it starts; 0: nowhere
    xio::user_address clear_child_tid = 0; // zeroed and woken when it leaves; 0: none
    xio::user_address robust_list = 0;     // set_robust_list()
    k::ref<vfork_lease> lease;             // of a vfork child: what its parent's thread waits for
    cpu_time charged{};                    // to CPU-time timers
    k::u32 charge_round = 0;               // of process_timers, that `charged` belongs to
    // What the thread of init does before it has a program; null for all others.
    void (*before_start)(thread& t, void* argument) = nullptr;
    void* before_start_argument = nullptr;
    char name[16] = {}; // ends with 0; others may read it torn

    // --- Atomic: others read, or write `affinity`.
    std::atomic<unsigned> home = 0;            // the CPU it belongs to
    std::atomic<k::u32> affinity = ~k::u32{0}; // CPUs that it may run on, a bit each
    // Cycles of arch::clock in user mode; the rest of what it has had of CPUs was in the kernel. While it is in user
    // mode, less the clock's reading when it went there, which makes it negative.
    std::atomic<k::i64> user_cycles = 0;
    std::atomic<k::u64> faults = 0;

    // --- Owned by the CPU `home`, in a critical section.
    lwkt::thread* kernel = nullptr; // null before it has started and after it has left

    // --- Guarded inside.
    thread_signals signals;

    // A thread of `of` that nobody can find yet. ENOMEM.
    static k::result<k::ref<thread>> create(int number, process& of) noexcept;
    void last_holder_left() noexcept; // frees memory only, and may therefore run in an IPI function

    // For others: its descriptors; empty of one that has left.
    k::ref<files::fd_table> share_files() const noexcept;
    void set_files(k::ref<files::fd_table> to) noexcept; // by itself; what it had goes

    // It goes to user mode (-1), or has come out of it (1).
    void count_user_cycles(k::i64 sign) noexcept {
        const k::i64 now = static_cast<k::i64>(arch::clock::cycles());
        user_cycles.store(user_cycles.load(std::memory_order_relaxed) + sign * now, std::memory_order_relaxed);
    }

    bool asked(k::u32 bits) const noexcept { return attention.load(std::memory_order_relaxed) & bits; }

    thread(int number, process& of) noexcept;
    ~thread();

  private:
    void* float_memory_ = nullptr;
    k::ref<process> owner_held_; // the thread may be finishing while its process is waited for already
};

using thread_list =
    boost::intrusive::list<thread, boost::intrusive::member_hook<thread, lwkt::list_hook, &thread::process_link>,
                           boost::intrusive::constant_time_size<false>>;

// Makes a thread look at its attention bits soon: it leaves user mode, or an interruptible sleep (proc::sleep()).
// Whoever asks something of it sets the bits first, under the lock that keeps it findable, takes a reference there, and
// kicks after the lock is let go. Thread context or a critical section (callouts), but not from an IPI function.
void kick(k::ref<thread> t) noexcept;

cpu_time cpu_time_of(const thread& t) noexcept;

// Names it, by one of its process. If it names itself, the kernel's own lists have the name, too, with its number.
void set_name(thread& t, std::string_view name) noexcept;
void put_kernel_name(const thread& t, std::span<char> to) noexcept; // which ends with 0

} // namespace proc
