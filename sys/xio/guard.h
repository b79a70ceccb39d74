// Debug builds: a page that is lent as a source cannot be written through the direct map, so that a consumer
// which changes what it only borrowed traps at the guilty instruction. A page that is being filled at the same
// time (a sink over it exists) stays writable until that sink has gone.
#pragma once

#include "sys/xio/platform.h"

namespace xio::guard {

// A list over these pages was built / is going: before its pins go. Nothing in other builds.
void begin(platform::page* first, k::u64 pages, platform::pin_kind kind) noexcept;
void end(platform::page* first, k::u64 pages, platform::pin_kind kind) noexcept;

} // namespace xio::guard
