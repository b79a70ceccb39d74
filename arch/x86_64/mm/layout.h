// The kernel's half of the address space. Every part is a whole number of 512 GiB slots of the top
// page table, and the slots that can fill later get their tables at boot, so that a process's
// top table can copy the kernel's half once and never look again.
//
//   ffff8000'00000000  direct map     all RAM at a fixed offset; text and rodata of the image read-only
//   ffffa000'00000000  page array     one element a frame, backed only where there are frames
//   ffffb000'00000000  arch window    device registers and the CPUs' own stacks; one slot
//   ffffc000'00000000  kernel map     arch::kernel_map: stacks and windows of the kernel above
//   ffffffff'80000000  kernel image   text RX, rodata R, data RW
#pragma once

#include <cstddef>
#include <cstdint>

namespace arch::x86 {

constexpr std::uint64_t slot_size = std::uint64_t{1} << 39;

constexpr std::uint64_t direct_base = 0xffff'8000'0000'0000;
constexpr std::uint64_t page_array_base = 0xffff'a000'0000'0000;
constexpr std::uint64_t page_array_end = 0xffff'b000'0000'0000;
constexpr std::uint64_t window_base = 0xffff'b000'0000'0000;
constexpr std::uint64_t window_size = slot_size;
constexpr std::uint64_t kernel_map_base = 0xffff'c000'0000'0000;
constexpr std::uint64_t kernel_map_size = 16 * slot_size;
constexpr std::uint64_t image_base = 0xffff'ffff'8000'0000;

// RAM above this is left alone: the direct map ends where the page array begins.
constexpr std::uint64_t physical_limit = page_array_base - direct_base;

} // namespace arch::x86
