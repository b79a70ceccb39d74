#include "arch/x86_64/cpu/features.h"

#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/float_state.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/cpu/user_entry.h"

#include <algorithm>
#include <cstring>

// Read by mm/copy_catching.S.
extern "C" {
bool arch_has_smap;
}

namespace arch::x86 {

cpu_features features;

namespace {

constexpr u64 cr0_write_protect = 1u << 16;
constexpr u64 cr4_no_user_time = 1u << 2;
constexpr u64 cr4_global_pages = 1u << 7;
constexpr u64 cr4_user_counters = 1u << 8;
constexpr u64 cr4_fsgsbase = 1u << 16;
constexpr u64 cr4_protection_keys = 1u << 22;
constexpr u64 cr4_cet = 1u << 23;
constexpr u64 cr4_umip = 1u << 11;
constexpr u64 cr4_smep = 1u << 20;
constexpr u64 cr4_smap = 1u << 21;
constexpr u64 efer_no_execute = 1u << 11;

char model_text[49];

void read_model() {
    if (cpuid(0x8000'0000).a < 0x8000'0004) {
        std::memcpy(model_text, "x86-64", sizeof("x86-64"));
        return;
    }
    for (u32 i = 0; i < 3; i++) {
        const cpuid_result r = cpuid(0x8000'0002 + i);
        std::memcpy(model_text + 16 * i, &r, sizeof(r));
    }
}

} // namespace

void find_features() {
    const u32 last = cpuid(0).a;
    const u32 last_extended = cpuid(0x8000'0000).a;
    const cpuid_result basic = cpuid(1);
    const cpuid_result extended = cpuid(0x8000'0001);
    const cpuid_result structured = last >= 7 ? cpuid(7) : cpuid_result{};

    features = {
        .no_execute = (extended.d >> 20 & 1) != 0,
        .gigabyte_pages = (extended.d >> 26 & 1) != 0,
        .global_pages = (basic.d >> 13 & 1) != 0,
        .smep = (structured.b >> 7 & 1) != 0,
        .smap = (structured.b >> 20 & 1) != 0,
        .umip = (structured.c >> 2 & 1) != 0,
        .x2apic = (basic.c >> 21 & 1) != 0,
        .xsave = last >= 13 && (basic.c >> 26 & 1) != 0,
        .xsaveopt = last >= 13 && (basic.c >> 26 & 1) != 0 && (cpuid(13, 1).a & 1) != 0,
        .tsc_adjust = (structured.b >> 1 & 1) != 0,
        .rdtscp = (extended.d >> 27 & 1) != 0,
        .invariant_tsc = last_extended >= 0x8000'0007 && (cpuid(0x8000'0007).d >> 8 & 1) != 0,
        .hypervisor = (basic.c >> 31 & 1) != 0,
        .random = (basic.c >> 30 & 1) != 0,
        .crc32c = (basic.c >> 20 & 1) != 0,
        .physical_bits = last_extended >= 0x8000'0008 ? std::clamp(cpuid(0x8000'0008).a & 0xff, 36u, 52u) : 36,
    };
    arch_has_smap = features.smap;
    read_model();
}

void enable_protections() {
    if (features.no_execute) write_msr(msr::efer, read_msr(msr::efer) | efer_no_execute);
    write_cr0(read_cr0() | cr0_write_protect);
    // What firmware may have left on and user code must not have: performance counters, GS of its own, keys, CET. And
    // what keeps the time-stamp counter from it.
    u64 cr4 = read_cr4() & ~(cr4_user_counters | cr4_fsgsbase | cr4_protection_keys | cr4_cet | cr4_no_user_time);
    if (features.global_pages) cr4 |= cr4_global_pages;
    if (features.smep) cr4 |= cr4_smep;
    if (features.smap) cr4 |= cr4_smap;
    if (features.umip) cr4 |= cr4_umip;
    write_cr4(cr4);
    if (features.rdtscp) write_msr(msr::tsc_aux, cpu::id()); // the vDSO's getcpu reads it
    enable_float();
    enable_syscall();
}

std::string_view cpu_model() {
    std::string_view text = model_text;
    while (text.starts_with(' '))
        text.remove_prefix(1);
    return text;
}

} // namespace arch::x86
