#include "arch/x86_64/dev/reference_timer.h"

#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/dev/acpi.h"
#include "arch/x86_64/mm/address_space.h"

#include <algorithm>

namespace arch::x86 {

namespace {

constexpr u64 femtoseconds = 1'000'000'000'000'000;
constexpr u64 pm_timer_hz = 3'579'545;
constexpr u64 pit_hz = 1'193'182;

enum class source { hpet, pm_timer, pit };

source chosen;
volatile u64* hpet;
u64 mask; // the counter's width
u64 femtoseconds_a_tick;

bool start_hpet() {
    if (!acpi.hpet_address) return false;
    hpet = static_cast<volatile u64*>(map_device(acpi.hpet_address, 1024, device_memory::registers));
    if (!hpet) return false;
    const u64 capabilities = hpet[0];
    femtoseconds_a_tick = capabilities >> 32;
    if (femtoseconds_a_tick < 100'000 || femtoseconds_a_tick > 100'000'000) return false;
    mask = (capabilities >> 13 & 1) ? ~u64{0} : 0xffff'ffff;
    hpet[2] = hpet[2] | 1; // run
    const u64 start = hpet[30];
    for (int i = 0; i < 1000; i++)
        if (hpet[30] != start) return true;
    return false;
}

bool start_pm_timer() {
    if (!acpi.pm_timer_port) return false;
    mask = acpi.pm_timer_32_bits ? 0xffff'ffff : 0xff'ffff;
    femtoseconds_a_tick = femtoseconds / pm_timer_hz;
    const u32 start = in32(acpi.pm_timer_port);
    for (int i = 0; i < 1000; i++)
        if (in32(acpi.pm_timer_port) != start) return true;
    return false;
}

// Channel 2 counts down from 65535 over and over, its gate open and the loudspeaker off.
void start_pit() {
    mask = 0xffff;
    femtoseconds_a_tick = femtoseconds / pit_hz;
    out8(0x61, (in8(0x61) & ~2) | 1);
    out8(0x43, 0xb4); // channel 2, low then high byte, rate generator
    out8(0x42, 0xff);
    out8(0x42, 0xff);
}

u64 pit_ticks() {
    out8(0x43, 0x80); // latch channel 2
    const u64 low = in8(0x42);
    return ~(low | u64{in8(0x42)} << 8);
}

} // namespace

const char* start_reference_timer() {
    if (start_hpet()) {
        chosen = source::hpet;
        return "HPET";
    }
    if (start_pm_timer()) {
        chosen = source::pm_timer;
        return "PM timer";
    }
    start_pit();
    chosen = source::pit;
    return "PIT";
}

u64 reference_ticks() {
    switch (chosen) {
    case source::hpet: return hpet[30];
    case source::pm_timer: return in32(acpi.pm_timer_port);
    case source::pit: return pit_ticks();
    }
    return 0;
}

u64 reference_ns_since(u64 earlier_ticks, u64 later_ticks) {
    const u64 ticks = std::min((later_ticks - earlier_ticks) & mask, u64{1} << 40);
    return multiply_divide(ticks, femtoseconds_a_tick, 1'000'000);
}

} // namespace arch::x86
