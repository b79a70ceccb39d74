// The interrupt controllers of devices: the old 8259 pair, silenced, and the IOAPICs.
#pragma once

#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u32, k::u8;

// Masks the 8259s and every IOAPIC pin. False: there is no IOAPIC that answers.
bool start_ioapics();

// Lets an ISA interrupt arrive as `vector` at the CPU with this APIC id. False: no pin for it.
bool route_isa(u8 irq, u8 vector, u32 apic_id);

} // namespace arch::x86
