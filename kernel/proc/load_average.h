// The load of the machine: how many threads run or are ready to, as an average over the last 1, 5 and 15 minutes in
// which what is past counts less and less.
#pragma once

#include "kernel/lib/types.h"

namespace proc {

constexpr unsigned load_shift = 16; // the averages are fixed-point numbers with so many bits behind the point
struct load_average {
    k::u64 minutes_1, minutes_5, minutes_15;
};

// Boot, once: looks at all CPUs every five seconds from then on.
void start_load_average() noexcept;
// Any context.
load_average load_now() noexcept;

} // namespace proc
