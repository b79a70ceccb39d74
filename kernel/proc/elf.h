// Reading ELF programs: what is to be mapped where. Nothing is believed that was not checked.
//
// 64-bit x86-64 programs, at fixed addresses or at any (position independent), perhaps with an interpreter.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/result.h"

#include <array>
#include <span>
#include <string_view>

namespace proc::elf {

constexpr unsigned most_segments = 64;
constexpr std::size_t longest_interpreter = 4096; // its path, the zero byte included

// Loadable; addresses are the file's own, to which the bias is added.
struct segment {
    k::u64 address, memory_bytes; // all of it is user memory
    k::u64 offset, file_bytes;    // inside the file; offset and address are the same within a page
    k::u8 access;                 // arch::user_access bits
};

struct image {
    bool anywhere = false; // position independent
    k::u64 entry = 0;
    k::u64 headers = 0; // address of the program headers; 0: not in a segment
    k::u16 header_bytes = 0, header_count = 0;
    k::u64 alignment = arch::page_size;                   // of the bias
    k::u64 interpreter_offset = 0, interpreter_bytes = 0; // its path in the file, with a zero byte behind; 0: none
    unsigned count = 0;
    std::array<segment, most_segments> segments;

    // Ascending addresses, not empty.
    std::span<const segment> loaded() const noexcept { return {segments.data(), count}; }
    k::u64 lowest() const noexcept { return k::align_down<k::u64>(segments[0].address, arch::page_size); }
    k::u64 end() const noexcept; // of the last page
};

// Fills `out` from the first bytes of a file that is `size` long. ENOEXEC: not a program that we can run; its program
// headers must stand among those bytes.
k::status read(std::span<const std::byte> start, k::u64 size, image& out) noexcept;

// The path among the bytes that an image names as its interpreter's. ENOEXEC: the only zero byte is not the last.
k::result<std::string_view> interpreter_path(std::string_view bytes) noexcept;

// Does the program fit into user memory with this bias?
bool fits(const image& program, k::u64 bias) noexcept;

} // namespace proc::elf
