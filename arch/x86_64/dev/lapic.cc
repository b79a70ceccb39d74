#include "arch/x86_64/dev/lapic.h"

#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/mm/address_space.h"
#include "kernel/lib/log.h"

namespace arch::x86 {

namespace {

// Register numbers: offset / 16 in memory, and the MSR's distance from msr::x2apic_first.
enum lapic_register : u32 {
    reg_id = 0x02,
    reg_version = 0x03,
    reg_task_priority = 0x08,
    reg_end_of_interrupt = 0x0b,
    reg_spurious = 0x0f,
    reg_command = 0x30,
    reg_command_high = 0x31,
    reg_local_timer = 0x32,
    reg_local_performance = 0x34,
    reg_local_pin0 = 0x35,
    reg_local_pin1 = 0x36,
    reg_local_error = 0x37,
    reg_timer_count = 0x38,
    reg_timer_left = 0x39,
    reg_timer_divide = 0x3e,
};

constexpr u64 base_x2apic = 1u << 10;
constexpr u64 base_enable = 1u << 11;
constexpr u32 masked = 1u << 16;
constexpr u32 software_enable = 1u << 8;
constexpr u32 deliver_nmi = 4u << 8;
constexpr u32 deliver_init = 5u << 8;
constexpr u32 deliver_startup = 6u << 8;
constexpr u32 level_assert = 1u << 14;
constexpr u32 delivery_pending = 1u << 12;
constexpr u32 divide_by_one = 0xb;

volatile u32* registers; // null in x2APIC mode

u32 read(lapic_register reg) {
    return registers ? registers[reg * 4] : static_cast<u32>(read_msr(msr::x2apic_first + reg));
}

void write(lapic_register reg, u32 value) {
    if (registers)
        registers[reg * 4] = value;
    else
        write_msr(msr::x2apic_first + reg, value);
}

void command(u32 apic_id, u32 low) {
    if (!registers) {
        // The write of an MSR of the x2APIC does not wait for earlier stores: what the target shall see comes first.
        asm volatile("mfence; lfence" : : : "memory");
        return write_msr(msr::x2apic_first + reg_command, u64{apic_id} << 32 | low);
    }
    const bool enabled = cpu::interrupts_disable(); // two registers make one command
    while (read(reg_command) & delivery_pending)
        cpu::relax();
    write(reg_command_high, apic_id << 24);
    write(reg_command, low);
    cpu::interrupts_restore(enabled);
}

} // namespace

bool start_lapic(paddr pa) {
    const u64 base = read_msr(msr::apic_base);
    if (!(base & base_enable)) write_msr(msr::apic_base, base | base_enable);
    if (!features.x2apic) {
        if (!pa) pa = base & 0x000f'ffff'ffff'f000;
        registers = static_cast<volatile u32*>(map_device(pa, page_size, device_memory::registers));
        const u32 version = registers ? registers[reg_version * 4] : ~u32{0};
        if (version == ~u32{0} || (version & 0xff) < 0x10) return false;
    }
    enable_lapic();
    return true;
}

void enable_lapic() {
    u64 base = read_msr(msr::apic_base) | base_enable;
    write_msr(msr::apic_base, base);
    if (!registers) write_msr(msr::apic_base, base | base_x2apic);
    for (lapic_register reg : {reg_local_timer, reg_local_performance, reg_local_pin0, reg_local_pin1, reg_local_error})
        write(reg, masked);
    write(reg_local_pin1, deliver_nmi);
    write(reg_task_priority, 0);
    write(reg_spurious, software_enable | vector_spurious);
    write(reg_timer_divide, divide_by_one);
    write(reg_local_timer, vector_timer);
}

u32 lapic_id() {
    const u32 id = read(reg_id);
    return registers ? id >> 24 : id;
}

void end_of_interrupt() {
    write(reg_end_of_interrupt, 0);
}

void send_interrupt(u32 apic_id, u8 vector) {
    command(apic_id, level_assert | vector);
}
void send_nmi(u32 apic_id) {
    command(apic_id, level_assert | deliver_nmi);
}
void send_init(u32 apic_id) {
    command(apic_id, level_assert | deliver_init);
}
void send_startup(u32 apic_id, u8 page) {
    command(apic_id, level_assert | deliver_startup | page);
}

void start_lapic_timer(u32 count) {
    write(reg_timer_count, count);
}
u32 lapic_timer_left() {
    return read(reg_timer_left);
}

} // namespace arch::x86
