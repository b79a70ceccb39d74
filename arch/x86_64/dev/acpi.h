// What ACPI's static tables say about the machine. Nothing is interpreted but the tables; the only AML looked
// at is the name _S5 (how to switch off).
//
// Rule: firmware is a stranger. Every length, checksum and address is checked; what fails is left out.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

#include <array>

namespace arch::x86 {

using k::u16, k::u32, k::u64, k::u8;

struct acpi_ioapic {
    paddr address;
    u32 first_interrupt; // its pin 0 in the machine's numbering
};

// How one of the 16 ISA interrupts arrives.
struct isa_route {
    u32 interrupt;
    bool active_low, level;
};

struct acpi_tables {
    paddr lapic_address; // 0: not said
    std::array<u32, max_cpus> apic_ids;
    unsigned cpu_count;
    std::array<acpi_ioapic, 8> ioapics;
    unsigned ioapic_count;
    std::array<isa_route, 16> isa;

    std::array<pci_window, 8> pci_windows; // of MCFG
    unsigned pci_window_count;
    paddr hpet_address;    // 0: none
    u16 pm_timer_port;     // 0: none
    bool pm_timer_32_bits; // else 24
    u16 pm1a_control, pm1b_control;
    u16 enable_port;
    u8 enable_value;
    bool has_soft_off;
    u8 soft_off_a, soft_off_b;
    bool has_reset;
    bool reset_in_memory; // else a port
    u64 reset_address;
    u8 reset_value;
    volatile u8* reset_register; // mapped, if in memory
};

extern acpi_tables acpi;

// Fills `acpi`. Without tables it says: nothing known, ISA interrupts arrive unchanged.
void read_acpi();

} // namespace arch::x86
