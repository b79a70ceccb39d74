// Ending on purpose: switching off and starting again.
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/dev/acpi.h"
#include "arch/x86_64/dev/console.h"

#include "arch/machine.h"

namespace arch {

namespace {

using namespace x86;

// QEMU's isa-debug-exit ends with status (value << 1) | 1: 33 for success, 35 for failure.
constexpr u16 debug_exit_port = 0xf4;
constexpr u8 debug_exit_success = 0x10, debug_exit_failure = 0x11;

void wait_a_moment() {
    const u64 start = clock::cycles();
    while (clock::cycles() - start < 50'000'000)
        cpu::relax();
}

void soft_off() {
    constexpr u16 sci_enabled = 1, sleep_enable = 1u << 13;
    if (!acpi.has_soft_off || !acpi.pm1a_control) return;
    if (acpi.enable_port && acpi.enable_value && !(in16(acpi.pm1a_control) & sci_enabled)) {
        out8(acpi.enable_port, acpi.enable_value);
        wait_a_moment();
    }
    out16(acpi.pm1a_control, static_cast<u16>(acpi.soft_off_a << 10 | sleep_enable));
    if (acpi.pm1b_control) out16(acpi.pm1b_control, static_cast<u16>(acpi.soft_off_b << 10 | sleep_enable));
    wait_a_moment();
}

void reset_by_acpi() {
    if (!acpi.has_reset) return;
    if (acpi.reset_in_memory)
        *acpi.reset_register = acpi.reset_value;
    else
        out8(static_cast<u16>(acpi.reset_address), acpi.reset_value);
    wait_a_moment();
}

void triple_fault() {
    struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } const nothing{};
    asm volatile("lidt %0; ud2" : : "m"(nothing));
}

} // namespace

void cpu::power_off(exit_status status) {
    asm volatile("cli");
    flush_console();
    out8(debug_exit_port, status == exit_status::success ? debug_exit_success : debug_exit_failure);
    // A failure stays on the screen: only success switches a real machine off.
    if (status == exit_status::success) soft_off();
    halt_for_ever();
}

void cpu::reboot() {
    asm volatile("cli");
    flush_console();
    reset_by_acpi();
    out8(0xcf9, 0x06); // the chipset's reset control
    wait_a_moment();
    out8(0x64, 0xfe); // the keyboard controller's line to the CPU
    wait_a_moment();
    triple_fault();
    halt_for_ever();
}

} // namespace arch
