// The page from which programs read the clocks: the kernel writes it, the code of a port's vDSO reads it.
#pragma once

#include <cstdint>

namespace arch {

// It is a page of its own, right before the first byte of the vDSO.
constexpr std::uintptr_t user_clock_bytes = 4096;

struct user_clock {
    std::uint32_t sequence;     // odd while what follows changes
    std::uint32_t readable;     // 0: the clock must be asked for by system calls
    std::uint32_t cpu_readable; // 0: the number of the CPU must be
    std::uint32_t reserved;
    std::uint64_t zero_cycles, ns_per_cycle; // for ns_of_cycles()
    std::uint64_t realtime_offset;           // nanoseconds from monotonic time to the time of day
};

// Monotonic time of a reading of the cycle counter; `ns_per_cycle` has 32 fractional bits. One formula for the kernel
// and for programs, so that they tell the same time to the nanosecond.
constexpr std::uint64_t ns_of_cycles(std::uint64_t cycles, std::uint64_t zero, std::uint64_t ns_per_cycle) noexcept {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(cycles - zero) * ns_per_cycle) >> 32);
}

} // namespace arch
