// The instructions that C++ has no words for, one function each.
#pragma once

#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u16, k::u32, k::u64, k::u8;

inline void out8(u16 port, u8 value) {
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
inline void out16(u16 port, u16 value) {
    asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
inline void out32(u16 port, u32 value) {
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
inline u8 in8(u16 port) {
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
inline u16 in16(u16 port) {
    u16 value;
    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
inline u32 in32(u16 port) {
    u32 value;
    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

inline u64 read_msr(u32 msr) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return u64{high} << 32 | low;
}
inline void write_msr(u32 msr, u64 value) {
    asm volatile("wrmsr" : : "c"(msr), "a"(static_cast<u32>(value)), "d"(static_cast<u32>(value >> 32)) : "memory");
}

namespace msr {
constexpr u32 tsc = 0x10;
constexpr u32 apic_base = 0x1b;
constexpr u32 tsc_adjust = 0x3b;
constexpr u32 x2apic_first = 0x800;
constexpr u32 efer = 0xc000'0080;
constexpr u32 star = 0xc000'0081;
constexpr u32 lstar = 0xc000'0082;
constexpr u32 syscall_mask = 0xc000'0084;
constexpr u32 fs_base = 0xc000'0100;
constexpr u32 gs_base = 0xc000'0101;
constexpr u32 kernel_gs_base = 0xc000'0102;
constexpr u32 tsc_aux = 0xc000'0103;
} // namespace msr

struct cpuid_result {
    u32 a, b, c, d;
};
inline cpuid_result cpuid(u32 leaf, u32 subleaf = 0) {
    cpuid_result r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}

inline u64 read_cr0() {
    u64 value;
    asm volatile("movq %%cr0, %0" : "=r"(value));
    return value;
}
inline void write_cr0(u64 value) {
    asm volatile("movq %0, %%cr0" : : "r"(value) : "memory");
}
inline u64 read_cr2() {
    u64 value;
    asm volatile("movq %%cr2, %0" : "=r"(value));
    return value;
}
inline u64 read_cr3() {
    u64 value;
    asm volatile("movq %%cr3, %0" : "=r"(value));
    return value;
}
inline void write_cr3(u64 value) {
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}
inline u64 read_cr4() {
    u64 value;
    asm volatile("movq %%cr4, %0" : "=r"(value));
    return value;
}
inline void write_cr4(u64 value) {
    asm volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}
inline void invalidate_page(u64 va) {
    asm volatile("invlpg (%0)" : : "r"(va) : "memory");
}

// a * b / c with all 128 bits of the product. The quotient must fit.
inline u64 multiply_divide(u64 a, u64 b, u64 c) {
    u64 high;
    asm("mulq %3; divq %4" : "=&a"(a), "=&d"(high) : "0"(a), "r"(b), "r"(c) : "cc");
    return a;
}

inline void halt() {
    asm volatile("hlt" : : : "memory");
}
// Never comes back, except for NMIs.
[[noreturn]] inline void halt_for_ever() {
    for (;;)
        asm volatile("cli; hlt" : : : "memory");
}

} // namespace arch::x86
