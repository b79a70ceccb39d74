// Callouts: functions to be run at a time, on per-CPU timer wheels.
//
// A callout belongs to the CPU that armed it and is touched by that CPU only, in a critical section; its
// function runs there in a critical section, not before the deadline and usually within a wheel's tick
// (65.536 us) after it. The wheel asks the machine for an interrupt only when something is due: a CPU without
// callouts has no timer interrupts.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/panic.h"
#include "kernel/lib/types.h"

#include <boost/intrusive/list.hpp>

namespace ktime {

using ns = k::u64;
constexpr ns microsecond = 1'000, millisecond = 1'000'000, second = 1'000'000'000;
constexpr ns forever = ~ns{0};

inline ns now() noexcept {
    return arch::clock::now_ns();
}
// The deadline that lies `delay` from now, without overflow.
inline ns after(ns delay) noexcept {
    ns at;
    return __builtin_add_overflow(now(), delay, &at) ? forever : at;
}

class callout {
  public:
    using function = void (*)(callout&);

    explicit callout(function run) : run_(run) {}
    ~callout() { kassert(!armed_); }
    callout(const callout&) = delete;
    callout& operator=(const callout&) = delete;

    // Runs the function on this CPU at `deadline`. Not armed before. Never fails.
    void arm(ns deadline) noexcept;
    // Makes sure that it does not run any more. True if it was still to run. On the CPU that armed it.
    bool cancel() noexcept;
    bool armed() const noexcept { return armed_; }
    ns deadline() const noexcept { return deadline_; }

  private:
    friend class wheel;
    boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> link_;
    function run_;
    ns deadline_ = 0;
    k::u64 tick_ = 0; // the wheel's time at which it is due
    bool armed_ = false;
    k::u8 level_ = 0, slot_ = 0;
    unsigned cpu_ = 0;
};

// This CPU's timers, before its first callout. False: no memory. Boot, once a CPU.
bool make_wheel() noexcept;
// The timer interrupt's work: runs what is due on this CPU. In a critical section.
void run_due_callouts() noexcept;

} // namespace ktime
