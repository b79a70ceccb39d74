// The boot CPU's way from boot/entry.S to upcall::boot(). The order is the content of this file.
#include "arch/x86_64/boot/boot_info.h"
#include "arch/x86_64/boot/image.h"
#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/smp.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/dev/acpi.h"
#include "arch/x86_64/dev/clock.h"
#include "arch/x86_64/dev/console.h"
#include "arch/x86_64/dev/ioapic.h"
#include "arch/x86_64/dev/lapic.h"
#include "arch/x86_64/mm/address_space.h"
#include "arch/x86_64/mm/physical.h"
#include "kernel/lib/log.h"
#include "kernel/lib/panic.h"

extern "C" {
using constructor = void (*)();
extern const constructor init_array_start[], init_array_end[];
}

namespace arch::x86 {

u64 image_moved_by;
bool image_has_tests = true;

namespace {

constexpr u8 serial_irq = 4;

alignas(16) char first_fault_stack[4096]; // for faults before there are real ones

void start_interrupts() {
    if (!start_lapic(acpi.lapic_address)) k::panic("boot: no local APIC");
    const bool have_ioapic = start_ioapics();
    const bool routed = have_ioapic && route_isa(serial_irq, vector_console, lapic_id());
    if (!routed) k::log("boot: no interrupt for the serial port: input is looked for at timer ticks\n");
    start_console_interrupts(routed);
}

void run_constructors() {
    for (const constructor* c = init_array_start; c != init_array_end; c++)
        (*c)();
}

} // namespace

} // namespace arch::x86

extern "C" [[noreturn]] void arch_start(k::u32 information, k::u32 moved_by, k::u64 cycles_at_handover) {
    using namespace arch::x86;
    image_moved_by = moved_by;
    arch::clock::set_zero(cycles_at_handover);
    enter_cpu_data(0);
    start_console();
    find_features();

    for (u64& top : cpus[0].fault_stacks)
        top = reinterpret_cast<u64>(first_fault_stack + sizeof(first_fault_stack));
    build_interrupt_table();
    load_descriptors(cpus[0]);

    read_boot_information(information);
    find_memory();
    publish_modules();
    if (!arch::upcall::runs_tests()) let_tests_go();
    enter_kernel_address_space();
    read_acpi();
    start_interrupts();
    start_clock();
    prepare_cpus();
    run_constructors();

    k::log("{}: {} CPUs, {} MiB\n", arch::cpu::model(), arch::cpu::count(), ram.total() >> 20);
    asm volatile("sti");
    arch::upcall::boot();
}
