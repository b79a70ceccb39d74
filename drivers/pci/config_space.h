// The configuration space of PCI functions: where they say what they are. Two ways to it: a window in memory (ECAM, PCI
// Express Base 7.2.2) as ACPI's MCFG names it, or the old pair of ports (PCI Local Bus 3.2.2.3.2), which reaches
// segment 0 and 256 bytes a function.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

#include <compare>

namespace pci {

// Who a function is.
struct address {
    k::u16 segment;
    k::u8 bus, slot, function;
    auto operator<=>(const address&) const = default;
};
constexpr unsigned slots_per_bus = 32, functions_per_slot = 8;

class config_space {
  public:
    // Width in bytes: 1, 2 or 4; the offset is a multiple of it. What is not there reads as ones, and writing it does
    // nothing. Thread context.
    virtual k::u32 read(address at, unsigned offset, unsigned width) noexcept = 0;
    virtual void write(address at, unsigned offset, unsigned width, k::u32 value) noexcept = 0;

  protected:
    ~config_space() = default;
};

// This machine's; null if it has no PCI.
config_space* machine_space() noexcept;
// Which buses the machine may have: its ECAM windows, or segment 0 by ports.
std::span<const arch::pci_window> machine_buses() noexcept;

} // namespace pci
