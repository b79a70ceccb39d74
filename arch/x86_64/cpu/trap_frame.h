// The registers of interrupted code, as cpu/traps.S pushes them on the stack that was running.
#pragma once

#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u16, k::u32, k::u64, k::u8;

// The order is also that of user_registers.
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8;
    u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, error_code;
    u64 rip, cs, rflags, rsp, ss; // by the CPU

    bool from_user() const { return (cs & 3) != 0; }
};

static_assert(sizeof(trap_frame) == 22 * 8);

} // namespace arch::x86
