// What this CPU can do, as far as the port cares. Read once on the boot CPU; all CPUs are alike.
#pragma once

#include "kernel/lib/types.h"

#include <string_view>

namespace arch::x86 {

struct cpu_features {
    bool no_execute;
    bool gigabyte_pages;
    bool global_pages;
    bool smep, smap, umip;
    bool x2apic;
    bool xsave, xsaveopt;
    bool tsc_adjust;
    bool rdtscp;
    bool invariant_tsc;
    bool hypervisor; // this is a virtual machine
    bool random;
    bool crc32c;
    unsigned physical_bits;
};

extern cpu_features features;

// Fills `features`.
void find_features();

// Sets this CPU's control registers: NX, write protection in ring 0, global pages, SMEP, SMAP, UMIP, and
// lets floating-point registers, `syscall` and the time-stamp counter be used.
void enable_protections();

// The processor's name, from CPUID.
std::string_view cpu_model();

} // namespace arch::x86
