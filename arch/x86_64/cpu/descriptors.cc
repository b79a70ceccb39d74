#include "arch/x86_64/cpu/descriptors.h"

#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/vectors.h"

extern "C" char arch_trap_stubs[]; // 256 entry points, trap_stub_size bytes apart (traps.S)

namespace arch::x86 {

namespace {

struct gate {
    u16 offset_low;
    u16 segment;
    u8 stack; // 0: the running one; else number in the TSS
    u8 type;
    u16 offset_middle;
    u32 offset_high;
    u32 reserved;
};
static_assert(sizeof(gate) == 16);

struct [[gnu::packed]] table_register {
    u16 limit;
    u64 base;
};

constexpr unsigned trap_stub_size = 16;
constexpr u8 interrupt_gate = 0x8e; // present, ring 0, interrupts off on entry
constexpr u8 user_gate = 0xee;      // user code may raise it by an instruction
constexpr unsigned vector_breakpoint = 3;

alignas(4096) constinit std::array<gate, 256> interrupt_table{};

u8 stack_of(unsigned vector) {
    switch (vector) {
    case vector_nmi: return nmi_stack + 1;
    case vector_double_fault: return double_fault_stack + 1;
    case vector_machine_check: return machine_check_stack + 1;
    default: return 0;
    }
}

void fill_gdt(descriptor_tables& tables) {
    const u64 base = reinterpret_cast<u64>(&tables.task);
    tables.gdt = {
        0,
        0x00af'9b00'0000'ffff, // kernel code: 64-bit
        0x00cf'9300'0000'ffff, // kernel data
        0x00cf'f300'0000'ffff, // user data
        0x00af'fb00'0000'ffff, // user code: 64-bit
        (sizeof(tss) - 1) | (base & 0xff'ffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56,
        base >> 32,
    };
}

void load_segments() {
    // The far return reloads CS. FS and GS are left: a write to GS would clear its base.
    asm volatile("movl %0, %%ds; movl %0, %%es; movl %0, %%ss\n\t"
                 "pushq %1\n\t"
                 "leaq 1f(%%rip), %%rax\n\t"
                 "pushq %%rax\n\t"
                 "lretq\n"
                 "1:"
                 :
                 : "r"(u32{kernel_data}), "i"(u32{kernel_code})
                 : "rax", "memory");
}

} // namespace

void build_interrupt_table() {
    for (unsigned vector = 0; vector < interrupt_table.size(); vector++) {
        const u64 stub = reinterpret_cast<u64>(arch_trap_stubs) + vector * trap_stub_size;
        interrupt_table[vector] = {
            .offset_low = static_cast<u16>(stub),
            .segment = kernel_code,
            .stack = stack_of(vector),
            .type = vector == vector_breakpoint ? user_gate : interrupt_gate,
            .offset_middle = static_cast<u16>(stub >> 16),
            .offset_high = static_cast<u32>(stub >> 32),
            .reserved = 0,
        };
    }
}

void load_descriptors(cpu_data& cpu) {
    descriptor_tables& tables = cpu.tables;
    tables.task = {};
    tables.task.io_map_base = sizeof(tss);
    for (unsigned i = 0; i < fault_stack_count; i++)
        tables.task.ist[i] = cpu.fault_stacks[i];
    fill_gdt(tables);

    const table_register gdt{sizeof(tables.gdt) - 1, reinterpret_cast<u64>(tables.gdt.data())};
    const table_register idt{sizeof(interrupt_table) - 1, reinterpret_cast<u64>(interrupt_table.data())};
    asm volatile("lgdt %0" : : "m"(gdt));
    load_segments();
    asm volatile("ltr %w0" : : "r"(u32{task_state}));
    asm volatile("lidt %0" : : "m"(idt));
}

} // namespace arch::x86
