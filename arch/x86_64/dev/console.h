// The console's port-internal side: a 16550 on COM1, and QEMU's debug port where that is missing.
#pragma once

#include "kernel/lib/types.h"

namespace arch::x86 {

// First thing of all at boot: finds the device; output polls.
void start_console();
// From now on interrupts move the bytes, if `routed`; else input is looked for at timer interrupts.
void start_console_interrupts(bool routed);

void console_interrupt();
// Latches event_console if input waits and no interrupt would tell.
void poll_console_input();

// The machine is ending: takes no lock any more, writes out what is queued and polls from here on.
void flush_console();

} // namespace arch::x86
