// Which physical memory there is, and the frames that the port takes of it while the kernel boots.
//
// Rule: a frame is given out once. After memory::map_page_array() the rest belongs to the kernel (memory::regions())
// and nothing is taken here any more.
#pragma once

#include "arch/x86_64/mm/region_list.h"

namespace arch::x86 {

// All RAM that the direct map covers: reserved ranges won over available ones.
extern region_list ram;
// What of it is still free: without the first MiB, the image, the modules and the frames taken here.
extern region_list usable;
// A frame below 1 MiB for the start of other CPUs, or 0.
extern paddr low_frame;

// Where the loader put the image.
paddr image_physical(const void* symbol);

// Builds both lists from the loader's map and drops modules that do not lie in RAM.
void find_memory();

// Makes the memory of self-tests and benchmarks usable: there are none from then on. Before address spaces are made.
void let_tests_go();

// `bytes` of zeroed memory, contiguous, aligned to its size if that is a power of two, the highest below `limit`.
// 0 if there is none.
paddr take_frames(u64 bytes, u64 limit = ~u64{0});

// Frames for page tables: panics when there is none, for without them there is no kernel.
paddr take_table();

// The memory of a frame from take_frames(): at its own address at first, in the direct map later.
void* early_address(paddr pa);
void use_direct_map();

} // namespace arch::x86
