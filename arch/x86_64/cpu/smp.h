// The CPUs of the machine.
#pragma once

namespace arch::x86 {

// Gives every CPU that ACPI names its place in `cpus`, the boot CPU first, with the stacks that it needs
// before it runs, and lays out the low page where they start.
void prepare_cpus();

// Do the time-stamp counters of all CPUs tell the same time, and will they? Once all CPUs run.
bool time_stamps_agree();

} // namespace arch::x86
