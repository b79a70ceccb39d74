// Floating-point and vector registers: which there are, and moving them to and from memory. The kernel itself
// is compiled without them, so what they hold is always some user thread's.
#pragma once

#include "kernel/lib/types.h"

#include <cstddef>

namespace arch::x86 {

using k::u32, k::u64, k::u8;

// An XSAVE area of the standard form: the old FXSAVE area, a header, the components of CPUID's leaf 13 behind it. It is
// also the form in which it is kept where the CPU has FXSAVE only.
struct float_header {
    u64 in_use;    // XSTATE_BV: what is not at its initial value
    u64 compacted; // XCOMP_BV: 0 in the standard form
    u64 reserved[6];
};
constexpr std::size_t float_legacy_bytes = 512;
constexpr std::size_t float_mxcsr_at = 24;
constexpr std::size_t float_control_at = 0;
constexpr std::size_t float_least_bytes = float_legacy_bytes + sizeof(float_header);

// Turns the registers on, on this CPU. On the boot CPU first, after find_features().
void enable_float();

struct float_format {
    u64 features;      // XCR0's bits, or x87 and SSE
    std::size_t bytes; // of an area
    u32 mxcsr_mask;    // bits that may be set
    bool avx;
};
extern float_format floats;

// Where a feature's component lies in an area.
struct float_component {
    std::size_t at, bytes;
};
float_component float_component_of(unsigned feature);

// An area is 64-byte aligned. `keep` may leave out what has not changed since this CPU's restore() from the same area;
// `save` writes everything.
void keep_float(std::byte* area);
void save_float(std::byte* area);
// The area's contents must be good: a wrong header is a fault in the kernel.
void restore_float(const std::byte* area);
// Writes the initial values where `keep` left them out.
void complete_float(std::byte* area);
// Makes the area hold the state of a fresh program.
void reset_float(std::byte* area);

} // namespace arch::x86
