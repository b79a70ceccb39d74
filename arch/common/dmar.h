// What ACPI's table DMAR says: which units stand between PCI functions and memory, and which memory the firmware keeps
// for devices of its own (Intel VT-d 8.3, 8.4).
//
// Rule: firmware is a stranger. Every length and range is checked; what makes no sense is left out.
#pragma once

#include "arch/machine.h"

#include <array>
#include <cstddef>
#include <span>

namespace arch {

// A PCI function, as a way from a bus: the last of the steps is the function, the others are bridges.
struct device_path {
    static constexpr unsigned most_steps = 4;
    struct step {
        std::uint8_t slot, function;
    };
    std::uint8_t first_bus;
    std::uint8_t count;
    std::array<step, most_steps> steps;
    bool covers_all_behind; // it is a bridge, and all that is behind it is meant
};

// Memory that is no RAM of ours, and that a function goes on using after the firmware has handed over, say for a
// keyboard or a screen.
struct reserved_memory {
    region where;
    std::uint16_t segment;
    device_path who;
};

struct dmar_contents {
    std::array<iommu_unit, 8> units{};
    unsigned unit_count = 0;
    std::array<reserved_memory, 32> reserved{};
    unsigned reserved_count = 0;
};

// The whole table, its header too, whose length and checksum have been checked.
dmar_contents parse_dmar(std::span<const std::byte> table) noexcept;

// This machine's; nothing, if it has no such table. The port fills it in at boot.
extern dmar_contents machine_dmar;

} // namespace arch
