// Random numbers for programs: getrandom(), where things lie in memory, AT_RANDOM.
//
// A ChaCha20 generator whose key is replaced after each use, so that what was given out cannot be computed from what
// is left. It is as good as its seed, and the seed is what arch::boot::entropy() has: the time of starting and, where
// the CPU has it, its random instruction, 64 bits in all. That keeps programs apart; nobody should make keys of it.
#pragma once

#include "kernel/lib/types.h"

#include <cstddef>
#include <span>

namespace proc {

// Thread context.
void fill_random(std::span<std::byte> out) noexcept;
k::u64 random_number() noexcept;

} // namespace proc
