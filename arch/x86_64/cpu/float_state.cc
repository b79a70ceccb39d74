#include "arch/x86_64/cpu/float_state.h"

#include "arch/machine.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/instructions.h"

#include <algorithm>
#include <bit>
#include <cstring>

extern "C" void arch_zero_page_avx(void*);
extern "C" void arch_zero_page_sse(void*);

namespace arch {

namespace x86 {

float_format floats = {.features = 3, .bytes = float_least_bytes, .mxcsr_mask = 0xffbf, .avx = false};

namespace {

constexpr u64 feature_x87 = 1u << 0;
constexpr u64 feature_sse = 1u << 1;
constexpr u64 feature_avx = 1u << 2;
constexpr u64 feature_avx512 = 7u << 5;

constexpr u64 cr0_monitor = 1u << 1;
constexpr u64 cr0_emulate = 1u << 2;
constexpr u64 cr0_switched = 1u << 3;
constexpr u64 cr0_numeric_error = 1u << 5;
constexpr u64 cr4_fxsave = 1u << 9;
constexpr u64 cr4_simd_exceptions = 1u << 10;
constexpr u64 cr4_xsave = 1u << 18;

constexpr u32 initial_mxcsr = 0x1f80;
constexpr k::u16 initial_control = 0x37f;
constexpr std::size_t mxcsr_mask_at = 28;
constexpr std::size_t legacy_sse_at = 160;

void set_xcr0(u64 value) {
    asm volatile("xsetbv" : : "c"(0), "a"(static_cast<u32>(value)), "d"(static_cast<u32>(value >> 32)));
}

u64 wanted_features() {
    const cpuid_result have = cpuid(13);
    u64 features = (u64{have.d} << 32 | have.a) & (feature_x87 | feature_sse | feature_avx | feature_avx512);
    if (!(features & feature_avx) || (features & feature_avx512) != feature_avx512) features &= ~feature_avx512;
    return features;
}

u32 find_mxcsr_mask() {
    alignas(64) std::byte area[float_legacy_bytes] = {};
    asm volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    u32 mask;
    std::memcpy(&mask, area + mxcsr_mask_at, sizeof(mask));
    return mask ? mask : 0xffbf;
}

} // namespace

void enable_float() {
    write_cr0((read_cr0() & ~(cr0_emulate | cr0_switched)) | cr0_monitor | cr0_numeric_error);
    write_cr4(read_cr4() | cr4_fxsave | cr4_simd_exceptions | (features.xsave ? cr4_xsave : 0));
    asm volatile("fninit");
    floats.mxcsr_mask = find_mxcsr_mask();
    if (!features.xsave) return;
    floats.features = wanted_features();
    set_xcr0(floats.features);
    floats.bytes = std::max<std::size_t>(cpuid(13).b, float_least_bytes);
    floats.avx = (floats.features & feature_avx) != 0;
}

float_component float_component_of(unsigned feature) {
    if (feature == 0) return {0, legacy_sse_at};
    if (feature == 1) return {legacy_sse_at, float_legacy_bytes - legacy_sse_at};
    const cpuid_result place = cpuid(13, feature);
    return {place.b, place.a};
}

void save_float(std::byte* area) {
    if (features.xsave) {
        asm volatile("xsave64 (%0)" : : "r"(area), "a"(static_cast<u32>(floats.features)), "d"(0) : "memory");
    } else {
        asm volatile("fxsave64 (%0)" : : "r"(area) : "memory");
        reinterpret_cast<float_header*>(area + float_legacy_bytes)->in_use = feature_x87 | feature_sse;
    }
}

void keep_float(std::byte* area) {
    if (!features.xsaveopt) return save_float(area);
    asm volatile("xsaveopt64 (%0)" : : "r"(area), "a"(static_cast<u32>(floats.features)), "d"(0) : "memory");
}

void restore_float(const std::byte* area) {
    if (features.xsave)
        asm volatile("xrstor64 (%0)" : : "r"(area), "a"(static_cast<u32>(floats.features)), "d"(0) : "memory");
    else
        asm volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

void complete_float(std::byte* area) {
    u64 in_use;
    std::memcpy(&in_use, area + float_legacy_bytes, sizeof(in_use));
    for (u64 left = floats.features & ~in_use; left; left &= left - 1) {
        u32 mxcsr;
        std::memcpy(&mxcsr, area + float_mxcsr_at, sizeof(mxcsr)); // lies among the x87's and is never left out
        const float_component c = float_component_of(static_cast<unsigned>(std::countr_zero(left)));
        std::memset(area + c.at, 0, c.bytes);
        if (c.at != 0) continue;
        std::memcpy(area + float_control_at, &initial_control, sizeof(initial_control));
        std::memcpy(area + float_mxcsr_at, &mxcsr, sizeof(mxcsr));
    }
}

void reset_float(std::byte* area) {
    std::memset(area, 0, float_least_bytes); // nothing in use: the rest is not looked at
    std::memcpy(area + float_control_at, &initial_control, sizeof(initial_control));
    std::memcpy(area + float_mxcsr_at, &initial_mxcsr, sizeof(initial_mxcsr));
}

} // namespace x86

void memory::zero_page(void* page) noexcept {
    cpu::critical_enter(); // no switch may see the borrowed register
    if (x86::floats.avx)
        arch_zero_page_avx(page);
    else
        arch_zero_page_sse(page);
    cpu::critical_exit();
}

} // namespace arch
