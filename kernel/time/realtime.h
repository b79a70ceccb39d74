// The time of day: nanoseconds since 1970. Monotonic time plus an offset, which the machine's clock gives at boot and
// root may set. Any context.
#pragma once

#include "kernel/time/callout.h"

namespace ktime {

ns realtime_now() noexcept;
// What it is ahead of monotonic time. Asks the machine the first time.
ns realtime_offset() noexcept;
void set_realtime_offset(ns to) noexcept;
// When a time of day will be, by the clock as it is set now: what has passed is 0.
ns monotonic_of(ns realtime) noexcept;

} // namespace ktime
