// The segment descriptors, task state and interrupt table that long mode still wants.
#pragma once

#include "kernel/lib/types.h"

#include <array>

namespace arch::x86 {

using k::u16, k::u32, k::u64, k::u8;

// Order fixed by syscall/sysret: kernel code, kernel data, then user data below user code.
enum selector : u16 {
    kernel_code = 0x08,
    kernel_data = 0x10,
    user_data = 0x18 | 3,
    user_code = 0x20 | 3,
    task_state = 0x28,
};

// Stacks for what may strike while the running stack cannot be trusted; the TSS numbers them from 1.
enum fault_stack : u8 { nmi_stack, double_fault_stack, machine_check_stack, fault_stack_count };

struct [[gnu::packed]] tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3;
    u16 io_map_base;
};
static_assert(sizeof(tss) == 104);

struct descriptor_tables {
    alignas(16) std::array<u64, 7> gdt;
    alignas(16) tss task;
};

struct cpu_data;

// Loads GDT, TSS and IDT of the CPU that runs this. `cpu.fault_stacks` must be set. Leaves GS alone.
void load_descriptors(cpu_data& cpu);

// Fills the interrupt table that all CPUs share. Once, on the boot CPU, before load_descriptors().
void build_interrupt_table();

} // namespace arch::x86
