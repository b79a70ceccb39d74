// The registers of a thread in user mode, as the kernel keeps them while the thread is in the kernel. The system call
// convention and the signal frames are Linux's for x86-64, whatever the port, hence these names.
#pragma once

#include "kernel/lib/types.h"

namespace arch {

// The order is that of the pushes in arch/x86_64/cpu/user_entry.S.
struct user_registers {
    k::u64 r15, r14, r13, r12, r11, r10, r9, r8;
    k::u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
    k::u64 vector, error_code;
    k::u64 rip, cs, rflags, rsp, ss;

    // A system call's number is in rax and its arguments in rdi, rsi, rdx, r10, r8, r9; its result goes to rax.
};
static_assert(sizeof(user_registers) == 22 * 8 && sizeof(user_registers) % 16 == 0);

// Why a thread came back from user mode.
enum class user_exit_kind : k::u8 { syscall, interrupt, page_fault, exception };

struct user_exit {
    user_exit_kind kind;
    k::u8 access;   // page_fault: user_access bits of what was tried
    k::u8 vector;   // page_fault, exception: the x86 vector
    k::u64 address; // page_fault: where
};

// What a user mapping allows. Nothing (0) is no mapping at all.
enum user_access : k::u8 { user_none = 0, user_read = 1, user_write = 2, user_execute = 4 };

// What is mapped at an address.
struct user_mapping {
    k::u64 frame; // physical address of the 4 KiB frame
    k::u8 access; // effective, over all levels; user_none: nothing there
    bool large;   // part of a 2 MiB mapping
};

} // namespace arch
