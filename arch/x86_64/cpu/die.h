// How the machine dies: see cpu/die.cc.
#pragma once

#include "arch/x86_64/cpu/trap_frame.h"

#include <string_view>

namespace arch::x86 {

bool machine_is_dying();

// The NMI handler of a dying machine: leaves this CPU's registers for the report and stops for ever.
[[noreturn]] void stop_this_cpu(const trap_frame& frame);

// Like cpu::die(), of what happened at `frame`.
[[noreturn]] void die_at(std::string_view why, const trap_frame& frame);

} // namespace arch::x86
