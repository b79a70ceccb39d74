#include "arch/x86_64/dev/ioapic.h"

#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/dev/acpi.h"
#include "arch/x86_64/mm/address_space.h"
#include "kernel/lib/log.h"

namespace arch::x86 {

namespace {

constexpr paddr usual_address = 0xfec0'0000;
constexpr u32 masked = 1u << 16;
constexpr u32 level_triggered = 1u << 15;
constexpr u32 active_low = 1u << 13;

class ioapic {
  public:
    bool start(const acpi_ioapic& found) {
        registers_ = static_cast<volatile u32*>(map_device(found.address, 0x20, device_memory::registers));
        if (!registers_) return false;
        const u32 version = read(1);
        const u32 pins = (version >> 16 & 0xff) + 1;
        if (version == 0 || version == ~u32{0} || pins > 240) return false;
        first_ = found.first_interrupt;
        pins_ = pins;
        for (u32 pin = 0; pin < pins_; pin++)
            write(0x10 + 2 * pin, masked);
        return true;
    }

    bool route(const isa_route& from, u8 vector, u32 apic_id) {
        if (from.interrupt < first_ || from.interrupt - first_ >= pins_) return false;
        const u32 pin = from.interrupt - first_;
        write(0x10 + 2 * pin + 1, apic_id << 24);
        write(0x10 + 2 * pin, vector | (from.active_low ? active_low : 0) | (from.level ? level_triggered : 0));
        return true;
    }

  private:
    u32 read(u32 reg) {
        registers_[0] = reg;
        return registers_[4];
    }
    void write(u32 reg, u32 value) {
        registers_[0] = reg;
        registers_[4] = value;
    }

    volatile u32* registers_ = nullptr;
    u32 first_ = 0, pins_ = 0;
};

constinit std::array<ioapic, 8> ioapics{};
unsigned count;

// Even masked, the 8259s send spurious interrupts: they get vectors that do not look like exceptions.
void silence_8259s() {
    constexpr u16 first = 0x20, second = 0xa0;
    for (u16 chip : {first, second}) {
        const bool is_first = chip == first;
        out8(chip, 0x11); // start, cascaded, four words follow
        out8(chip + 1, is_first ? vector_first_legacy : vector_first_legacy + 8);
        out8(chip + 1, is_first ? 4 : 2); // where the cascade is
        out8(chip + 1, 1);                // 8086 mode
        out8(chip + 1, 0xff);             // all masked
    }
}

} // namespace

bool start_ioapics() {
    silence_8259s();
    for (unsigned i = 0; i < acpi.ioapic_count; i++)
        if (ioapics[count].start(acpi.ioapics[i])) count++;
    if (acpi.ioapic_count == 0 && ioapics[0].start({usual_address, 0})) count = 1;
    return count != 0;
}

bool route_isa(u8 irq, u8 vector, u32 apic_id) {
    for (unsigned i = 0; i < count; i++)
        if (ioapics[i].route(acpi.isa[irq], vector, apic_id)) return true;
    return false;
}

} // namespace arch::x86
