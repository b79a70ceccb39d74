// Exceptions of user code, as signals.
#pragma once

#include "kernel/proc/thread.h"

namespace proc {

void handle_exception(thread& t, const arch::user_exit& why) noexcept;

} // namespace proc
