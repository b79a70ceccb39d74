// arch::bus: where devices are, and I/O ports.
#include "arch/common/dmar.h"
#include "arch/machine.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/dev/acpi.h"
#include "arch/x86_64/mm/physical.h"

namespace arch {

std::span<const pci_window> bus::pci_windows() noexcept {
    return std::span(x86::acpi.pci_windows).first(x86::acpi.pci_window_count);
}

std::span<const iommu_unit> bus::iommu_units() noexcept {
    return std::span(machine_dmar.units).first(machine_dmar.unit_count);
}

bool bus::is_device_memory(paddr pa, std::uint64_t bytes) noexcept {
    const std::uint64_t limit = std::uint64_t{1} << x86::features.physical_bits;
    if (bytes == 0 || bytes > limit || pa > limit - bytes) return false;
    for (const region& r : x86::ram.view())
        if (pa < r.base + r.size && r.base < pa + bytes) return false;
    return true;
}

std::uint32_t bus::read_port(std::uint16_t port, unsigned width) noexcept {
    switch (width) {
    case 1: return x86::in8(port);
    case 2: return x86::in16(port);
    default: return x86::in32(port);
    }
}

void bus::write_port(std::uint16_t port, unsigned width, std::uint32_t value) noexcept {
    switch (width) {
    case 1: return x86::out8(port, static_cast<k::u8>(value));
    case 2: return x86::out16(port, static_cast<k::u16>(value));
    default: return x86::out32(port, value);
    }
}

} // namespace arch
