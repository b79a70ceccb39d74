// The hooks of what runs when an interrupt has come in.
#pragma once

namespace lwkt {

// Calls handler() on the CPU that gets console interrupts, in a critical section, when input waits. It must not
// block; it wakes whoever reads.
void on_console_input(void (*handler)()) noexcept;

} // namespace lwkt
