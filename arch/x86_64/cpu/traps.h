// What traps.S calls, split by kind.
#pragma once

#include "arch/x86_64/cpu/trap_frame.h"

namespace arch::x86 {

// Vectors 0 to 31: fixes up what may fault, dies of the rest.
void handle_exception(trap_frame& frame);

// The others: acknowledges, latches, and delivers events if the interrupted code allows it. Interrupts are off.
void handle_interrupt(k::u64 vector);

} // namespace arch::x86
