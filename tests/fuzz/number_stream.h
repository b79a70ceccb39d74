// Where a random test takes its decisions from: a seed, or the bytes of a fuzzer. The same program runs on both.
#pragma once

#include "kernel/lib/random.h"

#include <span>

namespace fuzz {

class number_stream {
  public:
    // `draws` decisions from a seed.
    number_stream(k::u64 seed, k::u64 draws) : random_(seed), left_(draws), seeded_(true) {}
    // Decisions from bytes, until they are used up.
    explicit number_stream(std::span<const std::byte> bytes) : random_(1), bytes_(bytes), seeded_(false) {}

    // Is there anything left to decide with?
    bool more() const { return seeded_ ? left_ != 0 : !bytes_.empty(); }

    // A number below `limit`, which is not 0; 0 when nothing is left.
    k::u64 below(k::u64 limit) {
        if (seeded_) {
            if (left_) left_--;
            return random_.below(limit);
        }
        k::u64 value = 0;
        for (k::u64 reach = 1; reach < limit && !bytes_.empty(); reach <<= 8) {
            value = value << 8 | std::to_integer<k::u64>(bytes_.front());
            bytes_ = bytes_.subspan(1);
        }
        return value % limit;
    }
    // True once in `odds` times.
    bool one_in(k::u64 odds) { return below(odds) == 0; }

  private:
    k::random random_;
    k::u64 left_ = 0;
    std::span<const std::byte> bytes_;
    bool seeded_;
};

} // namespace fuzz
