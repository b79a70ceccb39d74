// Pending signals: a set, and for those with something to say the signal_info, in order of sending.
//
// A standard signal is pending once or not at all; a real-time one as often as it was sent. Where there was no memory
// for an entry, or the sender's limit was reached, a standard signal is pending as a bare bit. Whoever owns the queue
// guards it.
#pragma once

#include "kernel/lib/panic.h"
#include "kernel/proc/signal_abi.h"

namespace proc {

// One pending signal's information. Of the heap, or part of a timer (which is pending at most once).
struct queued_signal {
    signal_info info;
    queued_signal* next = nullptr; // a ring, for one number
    queued_signal* previous = nullptr;
    class signal_queue* in = nullptr; // where it stands
    bool of_timer = false;
};

class signal_queue {
  public:
    signal_queue() = default;
    ~signal_queue() { kassert(pending_.empty()); }
    signal_queue(const signal_queue&) = delete;

    signal_set pending() const { return pending_; }

    // Appends. Standard signals: not pending before.
    void push(queued_signal& entry) noexcept;
    // Makes a signal pending with nothing to say.
    void push_bare(int number) noexcept;
    // Takes the first of this number, which is pending: null for a bare one.
    queued_signal* pop(int number) noexcept;
    // Takes out an entry that stands here.
    void remove(queued_signal& entry) noexcept;

  private:
    bool has_entries(int number) const { return entries_.has(number); }

    signal_set pending_;
    signal_set entries_;           // those of which last_ holds a ring
    queued_signal* last_[sig_max]; // garbage for others: making a queue is cheap
};

} // namespace proc
