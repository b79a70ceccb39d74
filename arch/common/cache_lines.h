// Writing the CPUs' caches back to memory, for hardware that reads memory without looking into them (Intel SDM, volume
// 2A, "CLFLUSH").
#pragma once

#include <cstddef>
#include <cstdint>

namespace arch {

constexpr std::size_t cache_line_bytes = 64; // of every CPU with 64-bit mode

// Over when memory has what this CPU has stored there. Any context.
inline void write_back_caches(const void* at, std::size_t bytes) noexcept {
    const auto first = reinterpret_cast<std::uintptr_t>(at) & ~(cache_line_bytes - 1);
    const auto end = reinterpret_cast<std::uintptr_t>(at) + bytes;
    for (std::uintptr_t line = first; line < end; line += cache_line_bytes)
        asm volatile("clflush (%0)" ::"r"(line) : "memory");
    asm volatile("mfence" ::: "memory");
}

} // namespace arch
