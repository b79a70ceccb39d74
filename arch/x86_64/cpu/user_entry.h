// The ways into user mode and back (cpu/user_entry.S) and what they need of each CPU.
#pragma once

#include "kernel/lib/types.h"

namespace arch::x86 {

// What user_registers::vector says after a system call: beyond all vectors.
constexpr k::u64 vector_syscall = 0x100;

// Lets this CPU's `syscall` instruction enter the kernel.
void enable_syscall();

} // namespace arch::x86
