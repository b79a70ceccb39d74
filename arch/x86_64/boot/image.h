// The kernel image's parts: symbols of linker.ld.
#pragma once

#include "kernel/lib/types.h"

extern "C" {
extern const char image_text_start[], image_text_end[];
extern const char image_tests_start[], image_tests_end[]; // from the text's end into rodata
extern const char image_rodata_start[], image_rodata_end[];
extern const char image_data_start[], image_end[];
extern char arch_boot_stack_guard[], arch_boot_stack[], arch_boot_stack_top[];
}

namespace arch::x86 {

// How far the loader put the image from where it was linked: a multiple of 2 MiB. Set by boot/start.cc.
extern k::u64 image_moved_by;

// Self-tests and benchmarks are there. Else their memory is used for something else.
extern bool image_has_tests;

} // namespace arch::x86
