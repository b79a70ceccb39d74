#include "kernel/lwkt/interrupt.h"

#include "kernel/lwkt/critical.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"

#include <bit>

namespace lwkt {

namespace {

struct line {
    interrupt_handler handler; // null: free
    void* argument;
};

// A CPU's own; touched by it alone, in a critical section.
struct lines {
    line all[arch::device_interrupts];
    std::atomic<k::u64> served; // others read it
};
per_cpu<lines> cpu_lines;

struct connection {
    line what;
    unsigned number; // device_interrupts: no room
};

void connect_here(void* argument) {
    auto& wanted = *static_cast<connection*>(argument);
    lines& mine = cpu_lines.local();
    wanted.number = 0;
    while (wanted.number < arch::device_interrupts && mine.all[wanted.number].handler)
        wanted.number++;
    if (wanted.number < arch::device_interrupts) mine.all[wanted.number] = wanted.what;
}

void disconnect_here(void* number) {
    cpu_lines.local().all[reinterpret_cast<std::uintptr_t>(number)] = {};
}

} // namespace

k::result<interrupt> interrupt::connect(unsigned cpu, interrupt_handler handler, void* argument) noexcept {
    if (cpu >= arch::cpu::count() || !is_running(cpu)) return k::error::inval;
    if (!arch::interrupts::message(cpu, 0).address) return k::error::nospc;
    connection wanted{{handler, argument}, 0};
    call_on(cpu, connect_here, &wanted);
    if (wanted.number == arch::device_interrupts) return k::error::nospc;
    return interrupt(wanted.number, cpu);
}

// A handler runs in a critical section of that CPU, and so does this: one is over before the other begins.
interrupt::~interrupt() {
    if (number_ != none) call_on(cpu_, disconnect_here, reinterpret_cast<void*>(std::uintptr_t{number_}));
}

void run_interrupt_handlers() noexcept {
    lines& mine = cpu_lines.local();
    for (k::u64 came = arch::interrupts::take(); came; came &= came - 1) {
        const line l = mine.all[std::countr_zero(came)];
        mine.served.store(mine.served.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        if (l.handler) l.handler(l.argument);
    }
}

k::u64 interrupts_served(unsigned cpu) noexcept {
    return cpu_lines.of(cpu).served.load(std::memory_order_relaxed);
}

} // namespace lwkt
