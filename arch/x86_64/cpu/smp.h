// The CPUs of the machine.
#pragma once

namespace arch::x86 {

// Gives every CPU that ACPI names its place in `cpus`, the boot CPU first, with the stacks that it needs
// before it runs, and lays out the low page where they start.
void prepare_cpus();

} // namespace arch::x86
