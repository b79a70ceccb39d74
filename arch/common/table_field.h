// Numbers in tables that a firmware has written.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>

namespace arch {

// The one at an offset; 0 where there are too few bytes to have it.
template <std::integral T> T field(std::span<const std::byte> from, std::size_t offset) noexcept {
    T value = 0;
    if (from.size() >= sizeof(T) && offset <= from.size() - sizeof(T))
        std::memcpy(&value, from.data() + offset, sizeof(T));
    return value;
}

} // namespace arch
