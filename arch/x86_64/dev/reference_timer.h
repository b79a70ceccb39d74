// A timer of known frequency to measure the others by: HPET, ACPI's PM timer, or channel 2 of the old 8254.
#pragma once

#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u64;

// Chooses and starts the best there is, and returns its name.
const char* start_reference_timer();

// Nanoseconds since an earlier value of reference_ticks(), right for at least 25 ms.
u64 reference_ticks();
u64 reference_ns_since(u64 earlier_ticks, u64 later_ticks);

} // namespace arch::x86
