// The short names of fixed-width integers, and arithmetic on alignments.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

namespace k {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

// `alignment` is a power of two.
template <std::unsigned_integral T> constexpr T align_down(T value, T alignment) {
    return value & ~(alignment - 1);
}
template <std::unsigned_integral T> constexpr T align_up(T value, T alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}
template <std::unsigned_integral T> constexpr bool is_aligned(T value, T alignment) {
    return (value & (alignment - 1)) == 0;
}

#ifdef NUTCRACKER_DEBUG
constexpr bool debug_build = true;
#else
constexpr bool debug_build = false;
#endif

} // namespace k
