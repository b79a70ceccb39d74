// Checksums over payload, read in place. Whoever stores a checksum beside the bytes must compute it over the
// same stable source that the device will read.
#pragma once

#include "sys/xio/xio.h"

namespace xio {

// The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words, in network
// order of the bytes; an odd last byte counts as if a zero followed. `before` is a partial sum to go on from.
k::u16 internet_checksum(const source& from, k::u32 before = 0) noexcept;

// CRC32C (Castagnoli, RFC 3720 appendix B.4), continuing from the CRC of what came before; 0 to begin with.
k::u32 crc32c(const source& from, k::u32 before = 0) noexcept;
// The same of bytes that are not payload.
k::u32 crc32c(std::span<const std::byte> bytes, k::u32 before = 0) noexcept;

} // namespace xio
