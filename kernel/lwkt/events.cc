// What an interrupt left behind, done on the CPU that it came to: IPI functions, drivers, due callouts, console input,
// and then, with all of that done, perhaps another thread.
#include "kernel/lwkt/events.h"

#include "kernel/lwkt/interrupt.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/scheduler_priv.h"
#include "kernel/time/callout.h"

namespace lwkt {

namespace {

std::atomic<void (*)()> console_handler;

// In a critical section with interrupts enabled.
void run_events() {
    const k::u32 events = arch::cpu::local().pending.exchange(0, std::memory_order_acquire);
    if (events & arch::event_ipi) serve_incoming();
    if (events & arch::event_device) run_interrupt_handlers();
    if (events & arch::event_timer) ktime::run_due_callouts();
    if (events & arch::event_console)
        if (auto* handler = console_handler.load(std::memory_order_relaxed)) handler();
}

} // namespace

void on_console_input(void (*handler)()) noexcept {
    console_handler.store(handler, std::memory_order_relaxed);
}

} // namespace lwkt

void arch::upcall::deliver_events() {
    const bool enabled = cpu::interrupts_disable();
    do {
        cpu::critical_enter();
        cpu::interrupts_restore(true);
        lwkt::run_events();
        lwkt::preempt_if_due();
        (void)cpu::interrupts_disable();
        (void)cpu::critical_leave();
    } while (cpu::local().pending.load(std::memory_order_relaxed)); // more was latched meanwhile
    cpu::interrupts_restore(enabled);
}
