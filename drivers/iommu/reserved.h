// Memory that the firmware keeps for PCI functions of its own (arch/common/dmar.h): such a function goes on seeing it
// once it has a domain, and with a driver of ours may still ask for it.
#pragma once

#include "arch/common/dmar.h"
#include "drivers/iommu/domain.h"
#include "drivers/pci/config_space.h"

namespace iommu {

// Is it this function that a path from a bus of the segment leads to, or is it behind that bridge? Bridges on the way
// are asked for their buses; one that contradicts itself leads nowhere. Thread context.
bool leads_to(const arch::device_path& path, k::u16 segment, pci::config_space& space, pci::address at) noexcept;

// Opens what is reserved for a function in its domain, both to read and to write, for as long as the domain lives. What
// lies beyond the tables' addresses is left out, and said. ENOMEM. Thread context.
k::status open_reserved(domain& d, pci::address at, pci::config_space& space,
                        std::span<const arch::reserved_memory> all) noexcept;

} // namespace iommu
