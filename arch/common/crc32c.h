// CRC-32C by an instruction that works on general registers (SSE 4.2; Intel SDM, volume 2A, "CRC32").
#pragma once

#include <cstdint>

namespace arch {

// The register after eight more bytes, the first of which is the word's lowest. Its upper half is zero.
inline std::uint64_t crc32c_after(std::uint64_t state, std::uint64_t word) noexcept {
    asm("crc32q %1, %0" : "+r"(state) : "rm"(word));
    return state;
}

} // namespace arch
