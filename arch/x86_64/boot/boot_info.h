// What the boot loader told us, copied out of its memory and checked, so that the loader's pages are
// free to use afterwards.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

#include <array>

namespace arch::x86 {

using k::u32, k::u64, k::u8;

// One line of the firmware's memory map as it came: in any order, overlapping, not aligned.
struct memory_map_entry {
    u64 base, size;
    u32 type;
};
constexpr u32 memory_available = 1;
constexpr u32 memory_acpi_reclaimable = 3;

struct module_info {
    u64 base, size;
    std::array<char, 64> name;
    std::size_t name_length;
};

struct boot_info {
    std::array<memory_map_entry, 256> memory;
    std::size_t memory_count;
    std::array<module_info, 16> modules;
    std::size_t module_count;
    std::array<char, 2048> command_line;
    std::size_t command_line_length;
    std::array<u8, 36> rsdp; // ACPI's root pointer, new or old
    std::size_t rsdp_length; // 0: none
};

extern boot_info loaded;

// Reads the Multiboot2 information at this physical address, mapped one to one. Fills `loaded`. What does
// not make sense is left out with a line in the log; without a memory map the kernel cannot go on.
void read_boot_information(u32 address);

// Makes `loaded.modules` known to arch::boot: names at once, bytes when there is the direct map. After find_memory().
void publish_modules();

} // namespace arch::x86
