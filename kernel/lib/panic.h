// The end of the kernel for reasons that are our own mistake. Never about what a user, a disk or a
// device said: those get an error.
#pragma once

#include "kernel/lib/format.h"
#include "kernel/lib/where.h"

namespace k {

// Prints the reason, every CPU's registers and backtrace, and ends the machine as failed. Any context.
[[noreturn]] void panic_with(std::string_view format, format_args args);

template <class... Args> [[noreturn]] void panic(std::string_view format, const Args&... args) {
    const format_arg packed[] = {format_arg(args)..., format_arg(0)};
    panic_with(format, format_args(packed, sizeof...(Args)));
}

[[noreturn]] void assertion_failed(const char* expression, k::where where);

} // namespace k

// Stays on in every build. States what only our own bug could break.
#define kassert(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) [[unlikely]]                                                                                 \
            ::k::assertion_failed(#condition, ::k::where::here());                                                     \
    } while (0)
