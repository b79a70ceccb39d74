// The drivers of this kernel.
#pragma once

namespace drivers {

// Finds the machine's devices and gives each its driver. Boot, thread context, all CPUs run; blocks.
void start() noexcept;

} // namespace drivers
