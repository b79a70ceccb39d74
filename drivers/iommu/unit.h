// The machine's IOMMUs (Intel VT-d): units that stand between PCI functions and memory. Once they are on, a function
// reaches nothing but what its domain has open; one that has no driver has no domain.
//
// Used are units that serve all of a PCI segment (the others of a segment, for single devices, are left off), tables of
// one translation for each function (legacy mode), and invalidation by registers. Interrupts are not remapped. Memory
// that the firmware keeps for a function stays open to it (reserved.h).
#pragma once

#include "drivers/iommu/domain.h"
#include "drivers/pci/config_space.h"

namespace iommu {

// Switches on what the machine has. From here on nothing that is not in a domain reaches memory. Boot, before any
// function may reach memory; thread context.
void start() noexcept;

// A domain for a function, with the name that its faults are told under; null: no unit stands before it. ENOMEM,
// ENOSPC, EIO. Thread context. It stays until detach(); one function has one at a time.
k::result<domain*> attach(pci::address at, std::string_view name) noexcept;
// The function reaches nothing any more, and the domain is gone: nothing of it is open. Thread context.
void detach(pci::address at) noexcept;

} // namespace iommu
