// The kernel's log: lines on the console. Lines of two CPUs do not mix.
#pragma once

#include "kernel/lib/format.h"

namespace k {

void log_with(std::string_view format, format_args args);

// Formats and prints at once. Any context, panics included. A line longer than 512 bytes is printed in parts.
template <class... Args> void log(std::string_view format, const Args&... args) {
    const format_arg packed[] = {format_arg(args)..., format_arg(0)};
    log_with(format, format_args(packed, sizeof...(Args)));
}

// From now on the log takes no lock: the machine is dying and its other CPUs are stopped.
void log_without_lock();

} // namespace k
