// Forgetting translations: on this CPU, and on all of them.
#pragma once

#include "kernel/lib/types.h"

#include <cstddef>

namespace arch::x86 {

using k::u64;

// This CPU's TLB.
void flush_here(u64 va, std::size_t pages);

// Every CPU's TLB, at once: the others serve it in the interrupt handler, in critical sections too. Returns
// when all have done it. Interrupts are enabled while it waits, so that two CPUs can ask each other;
// the caller may come with them off but then must not hold what another CPU waits for with its own off.
void flush_everywhere(u64 va, std::size_t pages);

// The handler's part.
void serve_flush();

} // namespace arch::x86
