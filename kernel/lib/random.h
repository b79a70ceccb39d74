// A small deterministic generator (xorshift64*) for tests, sampling and skip lists. Not for secrets.
#pragma once

#include "kernel/lib/types.h"

namespace k {

class random {
  public:
    explicit constexpr random(u64 seed) : state_(seed ? seed : 0x9e3779b97f4a7c15) {}

    constexpr u64 next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1d;
    }
    // A number below `limit`, which is not 0.
    constexpr u64 below(u64 limit) { return (next() >> 11) % limit; }

  private:
    u64 state_;
};

} // namespace k
