// A service of the kernel's own, by a name that any process may connect to: it answers with what it was sent, so that
// messages can be tested and measured without a second program (docs/caps.md).
#pragma once

#include "kernel/lib/result.h"

namespace files {

// Boot, once, when threads can be made. ENOMEM.
k::status start_echo_service() noexcept;

} // namespace files
