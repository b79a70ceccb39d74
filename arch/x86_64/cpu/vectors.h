// Who uses which interrupt vector.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

namespace arch::x86 {

enum vector : k::u8 {
    vector_nmi = 2,
    vector_double_fault = 8,
    vector_page_fault = 14,
    vector_machine_check = 18,
    vector_first_legacy = 0x20, // the 8259s, masked: only spurious ones arrive
    vector_last_legacy = 0x2f,
    vector_console = 0x30,
    vector_first_device = 0x40, // device_interrupts of them
    vector_ipi = 0xf0,
    vector_timer = 0xf1,
    vector_flush = 0xf2,    // TLB flush: served in the handler, critical section or not
    vector_spurious = 0xff, // of the local APIC: no end of interrupt
};

static_assert(vector_first_device + device_interrupts <= vector_ipi);

} // namespace arch::x86
