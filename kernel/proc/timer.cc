// proc::timer: a callout is its CPU's; whoever is elsewhere asks that CPU.
#include "kernel/proc/timers.h"

#include "kernel/lwkt/ipiq.h"

namespace proc {

void timer::arm(ktime::ns deadline) noexcept {
    lwkt::critical section;
    cpu_.store(arch::cpu::id(), std::memory_order_relaxed);
    callout_.arm(deadline);
}

void timer::fire(ktime::callout& c) noexcept {
    auto& self = reinterpret_cast<timer&>(c);
    self.running_ = true;
    self.run_(self);
    self.running_ = false;
}

bool timer::cancel() noexcept {
    struct request {
        timer& of;
        bool was_armed;
        bool busy;
    } r{*this, false, false};
    auto ask = [](void* argument) {
        auto& r = *static_cast<request*>(argument);
        // A function that sends may serve our message in the middle of itself.
        r.busy = r.of.running_;
        if (!r.busy) r.was_armed = r.of.callout_.cancel();
    };
    for (;;) {
        lwkt::call_on(cpu_.load(std::memory_order_relaxed), ask, &r);
        if (!r.busy) return r.was_armed;
        arch::cpu::relax();
    }
}

k::u64 expiry::catch_up(ktime::ns now) noexcept {
    if (!next || next > now) return 0;
    if (!interval) {
        next = 0;
        return 1;
    }
    const k::u64 times = (now - next) / interval + 1;
    ktime::ns step;
    if (__builtin_mul_overflow(times, interval, &step) || __builtin_add_overflow(next, step, &next))
        next = ktime::forever;
    return times;
}

} // namespace proc
