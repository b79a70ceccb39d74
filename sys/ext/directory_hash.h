// The hashes of names in hash trees of directories. What they are used for is the order of names, so the same bits must
// come out everywhere: tests/sys/ext/directory_hash_test.cc has what e2fsprogs says.
//
// Sources: the half MD4 of RFC 1320's functions with the rounds of the format, and the Tiny Encryption Algorithm of
// Wheeler and Needham.
#pragma once

#include "sys/ext/format.h"

#include <string_view>

namespace ext {

// As the root of a tree says it; in those that come next bytes of names have no sign, as the superblock says.
enum class hash_kind : u8 { legacy, half_md4, tea, legacy_unsigned, half_md4_unsigned, tea_unsigned };
constexpr unsigned hash_kinds = 6;

struct hash_seed {
    u32 words[4]; // all zero: the usual one
};

// Even, and less than the largest even number but one.
u32 directory_hash(hash_kind kind, const hash_seed& seed, std::string_view name) noexcept;

} // namespace ext
