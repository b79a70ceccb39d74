// The kernel's final address space: made once at boot, entered by every CPU.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u64;

// Builds the tables for image, direct map and the other parts of mm/layout.h and switches to them.
// Needs find_memory(). From then on the lower half is empty and physical memory is reached by the direct map.
void enter_kernel_address_space();

// Device registers or firmware tables at `pa`, mapped for good; registers uncached, tables read-only. Null
// when the address is absurd or the window is full. Boot only.
enum class device_memory : k::u8 { registers, tables };
void* map_device(paddr pa, u64 bytes, device_memory kind);

// A stack of the port's own with an unmapped page below it. Returns its top. Boot only.
u64 make_stack(u64 bytes);

} // namespace arch::x86
