// Interrupts of devices: which function of a driver runs, and on which CPU.
//
// Each interrupt belongs to one CPU. Its handler runs there like a callout: in a critical section, after the device's
// message was latched and before anything else of that CPU goes on. It must not block; it may wake threads and send.
// One call may stand for many messages, and after the line is taken apart one may come for none: a handler looks at its
// device.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/result.h"
#include "kernel/lib/types.h"

#include <utility>

namespace lwkt {

using interrupt_handler = void (*)(void* argument);

class interrupt {
  public:
    interrupt() = default;
    interrupt(interrupt&& other) noexcept : number_(std::exchange(other.number_, none)), cpu_(other.cpu_) {}
    interrupt& operator=(interrupt&& other) noexcept {
        std::swap(number_, other.number_);
        std::swap(cpu_, other.cpu_);
        return *this;
    }
    // The handler does not run any more when this is over. Thread context, not in the handler.
    ~interrupt();

    // Has handler(argument) run on CPU `cpu`. EINVAL: that CPU does not run; ENOSPC: all its numbers are taken, or no
    // message reaches it. Thread context.
    static k::result<interrupt> connect(unsigned cpu, interrupt_handler handler, void* argument) noexcept;

    explicit operator bool() const { return number_ != none; }
    unsigned cpu() const { return cpu_; }
    // What the device is told to write.
    arch::interrupt_message message() const noexcept { return arch::interrupts::message(cpu_, number_); }
    // Has it come as if from the device. Any context.
    void raise() const noexcept { arch::interrupts::raise(cpu_, number_); }

  private:
    static constexpr unsigned none = arch::device_interrupts;
    interrupt(unsigned number, unsigned cpu) noexcept : number_(number), cpu_(cpu) {}

    unsigned number_ = none;
    unsigned cpu_ = 0;
};

// Runs the handlers of what came to this CPU. In a critical section.
void run_interrupt_handlers() noexcept;

// How many messages were served on a CPU. Any context; a moment old.
k::u64 interrupts_served(unsigned cpu) noexcept;

} // namespace lwkt
