#include "kernel/lwkt/port.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"
#include "kernel/time/callout.h"

namespace lwkt {

// On the port's CPU, in a critical section or an IPI function.
void port::enqueue(msg& m, msg_state state) noexcept {
    m.state_.store(state, std::memory_order_relaxed);
    queue_.push_back(m);
    if (waiter_) wake_local(*std::exchange(waiter_, nullptr));
}

// Brings a message to this port's queue from wherever we are.
void port::deliver(msg& m) noexcept {
    critical section;
    if (cpu_ == arch::cpu::id()) return enqueue(m, msg_state::queued);
    send(
        cpu_,
        [](void* arrived) {
            msg& m = *static_cast<msg*>(arrived);
            m.target_->enqueue(m, msg_state::queued);
        },
        &m);
}

void port::put(msg& m, port& reply_to) noexcept {
    critical section;
    kassert(reply_to.cpu_ == arch::cpu::id());
    reply_to.expected_++;
    m.target_ = this;
    m.target_cpu_ = cpu_;
    m.reply_to_ = &reply_to;
    m.waiter_ = nullptr;
    m.aborting_.store(false, std::memory_order_relaxed);
    if (begin_ && begin_(*this, m) == begun::finished) {
        reply_to.expected_--;
        return reply_to.enqueue(m, msg_state::replied);
    }
    deliver(m);
}

k::status port::call_queued(msg& m) noexcept {
    assert_may_block();
    critical section;
    m.target_ = this;
    m.target_cpu_ = cpu_;
    m.reply_to_ = nullptr;
    m.waiter_ = &self();
    m.aborting_.store(false, std::memory_order_relaxed);
    deliver(m);
    // The reply wakes us on this CPU, which cannot happen before block() has left the critical section.
    block();
    kassert(m.state() == msg_state::replied);
    m.end_journey();
    return m.result;
}

msg* port::get() noexcept {
    critical section;
    kassert(cpu_ == arch::cpu::id());
    if (queue_.empty()) return nullptr;
    msg& m = queue_.front();
    queue_.pop_front();
    if (m.state() == msg_state::replied)
        m.end_journey();
    else
        m.state_.store(msg_state::taken, std::memory_order_relaxed);
    return &m;
}

namespace {

// A time-out for the one thread that waits at a port.
struct port_timer {
    ktime::callout callout{[](ktime::callout& c) {
        auto& timer = reinterpret_cast<port_timer&>(c);
        if (!*timer.waiter) return; // a message came first
        wake_local(*std::exchange(*timer.waiter, nullptr));
    }};
    thread** waiter;
};

} // namespace

// In a critical section, the queue being empty: sleeps until something is put or the deadline passes.
void port::sleep_until(k::u64 deadline_ns) noexcept {
    assert_may_block();
    kassert(!waiter_);
    waiter_ = &self();
    if (deadline_ns == ktime::forever) return block();
    port_timer timer{.waiter = &waiter_};
    timer.callout.arm(deadline_ns);
    block();
    timer.callout.cancel();
}

msg* port::wait() noexcept {
    return wait_until(ktime::forever);
}

msg* port::wait_until(k::u64 deadline_ns) noexcept {
    critical section;
    for (;;) {
        if (msg* m = get()) return m;
        if (deadline_ns != ktime::forever && ktime::now() >= deadline_ns) return nullptr;
        sleep_until(deadline_ns);
    }
}

void port::wait_for(msg& m) noexcept {
    critical section;
    kassert(m.reply_to_ == this && cpu_ == arch::cpu::id());
    while (m.state() != msg_state::replied) {
        kassert(!waiter_);
        waiter_ = &self();
        block();
    }
    queue_.erase(queue_.iterator_to(m));
    m.end_journey();
}

void reply(msg& m, k::status result) noexcept {
    critical section;
    m.result = result;
    // On the CPU that the sender waits on: state and wake-up belong together there. Once the state says
    // replied, the message may be gone.
    auto arrive = [](void* returned) {
        msg& m = *static_cast<msg*>(returned);
        if (m.waiter_) {
            thread& waiter = *m.waiter_;
            m.state_.store(msg_state::replied, std::memory_order_relaxed);
            return wake_local(waiter);
        }
        port& to = *m.reply_to_;
        to.expected_--;
        to.enqueue(m, msg_state::replied);
    };
    send(m.waiter_ ? m.waiter_->home.load(std::memory_order_relaxed) : m.reply_to_->cpu_, arrive, &m);
}

abort_result abort(msg& m) noexcept {
    struct request {
        msg& m;
        abort_result result;
    } r{m, abort_result::not_found};
    if (!m.target_ || m.state() == msg_state::replied) return r.result;
    // On the port's CPU: is it still in the queue? What is already on its way there arrived before this.
    call_on(
        m.target_cpu_,
        [](void* asked) {
            auto& r = *static_cast<request*>(asked);
            if (r.m.state() == msg_state::queued) {
                port& at = *r.m.target_;
                at.queue_.erase(at.queue_.iterator_to(r.m));
                r.m.state_.store(msg_state::taken, std::memory_order_relaxed);
                r.result = abort_result::removed;
            } else if (r.m.state() == msg_state::taken) {
                r.m.aborting_.store(true, std::memory_order_relaxed);
                r.result = abort_result::flagged;
            }
        },
        &r);
    if (r.result == abort_result::removed) reply(m, k::error::canceled);
    return r.result;
}

} // namespace lwkt
