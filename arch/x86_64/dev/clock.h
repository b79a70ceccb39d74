// The clock behind arch::clock: the time-stamp counter tells what time it is, the local APIC's timer when a deadline
// has come.
#pragma once

#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u64;

// Measures both against a reference. Boot CPU, once; needs ACPI and the local APIC.
void start_clock();
// A further CPU's timer.
void start_cpu_clock();

// The timer's interrupt handler: latches event_timer if the deadline has passed, else waits on.
void timer_interrupt();

} // namespace arch::x86
