// What the port keeps for each CPU: the shared cpu_local first, then its own. GS points here.
//
// Rule: only the owning CPU writes here, except before the CPU runs and in the fields said to be shared.
#pragma once

#include "arch/machine.h"
#include "arch/x86_64/cpu/descriptors.h"
#include "arch/x86_64/cpu/trap_frame.h"

namespace arch::x86 {

struct alignas(64) cpu_data : cpu_local {
    u32 apic_id;
    std::atomic<bool> started;            // takes interrupts; shared
    u64 deadline_ns;                      // of clock::arm(); no_deadline if none
    alignas(64) descriptor_tables tables; // GDT and TSS, where user_entry.S expects them
    u64 user_stack;                       // scratch of user_entry.S
    user_map* loaded_map;                 // null: the kernel's own tables
    const user_context* float_owner;      // whose floating-point state was loaded last; only to be compared
    const trap_frame* stopped_at;         // where the NMI of a dying machine found this CPU; shared
    std::atomic<u64> flushes_done;        // the last TLB flush request that this CPU has served; shared
    u64 fault_stacks[fault_stack_count];  // tops of the stacks for NMI, double fault and machine check
};

constexpr u64 no_deadline = ~u64{0};

extern cpu_data cpus[max_cpus];

inline cpu_data& this_cpu() {
    return static_cast<cpu_data&>(cpu::local());
}

// Fills in what every CPU needs before anything else and points GS there. Critical depth becomes 1.
void enter_cpu_data(unsigned id);

// CPUs found by ACPI; ids below it are valid. Set once at boot.
void set_cpu_count(unsigned count);

} // namespace arch::x86
