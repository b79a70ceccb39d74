// Ports and messages: how threads talk.
//
// A port belongs to a CPU; its queue is touched by that CPU only, so putting a message from elsewhere is an
// IPI message and no lock is involved. The port's owner decides what a put means: a port may have a `begin`
// function, which runs in the sender's context and may finish the message there and then. A synchronous
// call that need not block costs a function call; only what must wait is queued.
//
// A message is memory of its sender, so sending never allocates. From put until the reply it
// belongs to the receiver and the sender does not touch it. Each message put gets exactly one reply.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/critical.h"

#include <boost/intrusive/list.hpp>

namespace lwkt {

class port;
struct thread;

// Transitions: idle -> queued (put), idle -> replied (finished in place), queued -> taken (get, abort), taken ->
// replied (reply), replied -> idle (the sender has taken the reply).
enum class msg_state : k::u8 { idle, queued, taken, replied };

// What a port's begin function did with a message.
enum class begun : k::u8 { finished, queue };

// What abort() achieved.
enum class abort_result : k::u8 {
    not_found, // replied already, or never put
    removed,   // the receiver had not taken it: it comes back with ECANCELED
    flagged,   // the receiver has it and can see abort_requested(); the reply is its business
};

// The base of all messages; derive to add arguments and results.
struct msg {
    using hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;

    k::u32 command = 0; // what the receiver is asked to do; the port's owner defines the values
    k::status result;   // the receiver's answer, valid from the reply on

    bool abort_requested() const noexcept { return aborting_.load(std::memory_order_relaxed); }
    msg_state state() const noexcept { return state_.load(std::memory_order_relaxed); }

    msg() = default;
    msg(const msg&) = delete;
    msg& operator=(const msg&) = delete;
    ~msg() { kassert(state() == msg_state::idle); }

  private:
    friend class port;
    friend void reply(msg&, k::status) noexcept;
    friend abort_result abort(msg&) noexcept;

    // The sender has the message back.
    void end_journey() noexcept {
        target_ = nullptr;
        state_.store(msg_state::idle, std::memory_order_relaxed);
    }

    hook link_;
    port* target_ = nullptr;                         // where it was put; null when idle
    unsigned target_cpu_ = 0;                        // that port's CPU: the port may be gone once it has replied
    port* reply_to_ = nullptr;                       // asynchronous: the reply is queued there
    thread* waiter_ = nullptr;                       // synchronous: who sleeps in call()
    std::atomic<msg_state> state_ = msg_state::idle; // atomic only because abort() looks from elsewhere
    std::atomic<bool> aborting_ = false;
};

class port {
  public:
    // Runs in the sender's context, thread or critical section, maybe on another CPU than the port's. Must
    // not block when it finishes a message. Returning `finished` means that message.result is set.
    using begin_function = begun (*)(port&, msg&);

    // A port of CPU `cpu`. `owner` is the begin function's business.
    explicit port(unsigned cpu, begin_function begin = nullptr, void* owner = nullptr) noexcept
        : begin_(begin), owner_(owner), cpu_(cpu) {}
    ~port() { kassert(queue_.empty() && !waiter_ && !expected_); }
    port(const port&) = delete;
    port& operator=(const port&) = delete;

    // Puts a message and returns; the reply will be queued at `reply_to`, a port of this CPU. Any thread or
    // critical section, but not from an IPI function.
    void put(msg& m, port& reply_to) noexcept;

    // Puts a message and waits for the reply. Thread context. Returns m.result.
    k::status call(msg& m) noexcept {
        if (begin_ && begin_(*this, m) == begun::finished) [[likely]]
            return m.result;
        return call_queued(m);
    }

    // The next message, or null. On the port's CPU.
    msg* get() noexcept;
    // Waits for the next message. One thread at a time, on the port's CPU. Null when `deadline_ns` has passed.
    msg* wait() noexcept;
    msg* wait_until(k::u64 deadline_ns) noexcept;
    // The reply to one message, put with this port as reply_to. Others stay queued.
    void wait_for(msg& m) noexcept;

    unsigned cpu() const noexcept { return cpu_; }
    void* owner() const noexcept { return owner_; }
    // Replies that are still to come. On the port's CPU.
    k::u32 expected() const noexcept { return expected_; }
    bool empty() const noexcept { return queue_.empty(); }
    // Messages and replies that nobody has got yet. On the port's CPU, in a critical section; counts them.
    k::u32 queued() const noexcept { return static_cast<k::u32>(queue_.size()); }

  private:
    friend void reply(msg&, k::status) noexcept;
    friend abort_result abort(msg&) noexcept;
    using list = boost::intrusive::list<msg, boost::intrusive::member_hook<msg, msg::hook, &msg::link_>,
                                        boost::intrusive::constant_time_size<false>>;

    k::status call_queued(msg& m) noexcept;
    void enqueue(msg& m, msg_state state) noexcept;
    void deliver(msg& m) noexcept;
    void sleep_until(k::u64 deadline_ns) noexcept;

    // Owned by the port's CPU.
    list queue_;
    thread* waiter_ = nullptr;
    k::u32 expected_ = 0;
    // Immutable.
    begin_function begin_;
    void* owner_;
    unsigned cpu_;
};

// Ends a message that was taken, or that a begin function kept: gives it back to its sender. Any CPU, any thread
// or critical section, but not from an IPI function.
void reply(msg& m, k::status result) noexcept;

// Asks for a message back early. The reply still comes, and only then is the message the sender's again. Called
// by the sender, on the CPU it put the message from. Thread context; waits for the port's CPU to look.
abort_result abort(msg& m) noexcept;

} // namespace lwkt
