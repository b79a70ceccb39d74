// The local interrupt controller of each CPU: its own timer, and interrupts to other CPUs.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u32, k::u64, k::u8;

// Boot CPU, once: finds the registers (`pa`, as ACPI says, or where the CPU says) and the mode, then enables
// this CPU's. False: there is none that answers.
bool start_lapic(paddr pa);
// Enables a further CPU's.
void enable_lapic();

u32 lapic_id();
void end_of_interrupt();

// Any context; does not wait for delivery, only for the sender's register to be free.
void send_interrupt(u32 apic_id, u8 vector);
void send_nmi(u32 apic_id);
void send_init(u32 apic_id);
void send_startup(u32 apic_id, u8 page);

// The timer counts down from `count` once and then interrupts with vector_timer; 0 stops it.
void start_lapic_timer(u32 count);
u32 lapic_timer_left();

} // namespace arch::x86
