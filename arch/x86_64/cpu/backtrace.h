// Who called whom: walks the chain of frame pointers and names the functions.
#pragma once

#include "kernel/lib/types.h"

#include <string_view>

namespace arch::x86 {

using k::u64;

// Prints the function at rip, then those of the frames from rbp upwards. Believes no pointer; bounded.
void print_backtrace(u64 rip, u64 rbp);

// The function that holds an address of the image's text. Empty name: unknown.
struct symbol {
    std::string_view name;
    u64 offset;
};
symbol find_symbol(u64 address);

} // namespace arch::x86
