// The frame of a signal handler on the user's stack, as Linux for x86-64 lays it out (struct rt_sigframe).
//
// From high addresses to low: the red zone, the floating-point image (an XSAVE area with Linux's marks in it), then the
// frame with siginfo, ucontext and, at the very bottom, the handler's return address. Nothing of a frame that comes
// back is believed: see load_signal_frame().
#pragma once

#include "kernel/lib/result.h"
#include "kernel/proc/signal_abi.h"

namespace proc {

class thread;

// struct sigcontext.
struct machine_context {
    k::u64 r8, r9, r10, r11, r12, r13, r14, r15;
    k::u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    k::u16 cs, gs, fs, ss;
    k::u64 error_code, vector, old_mask, fault_address;
    k::u64 float_state; // user address of the image, or 0
    k::u64 reserved[8];
};
static_assert(sizeof(machine_context) == 256);

// struct ucontext.
struct user_machine_context {
    static constexpr k::u64 has_xstate = 1, has_ss = 2, strict_ss = 4;

    k::u64 flags;
    k::u64 link;
    alternate_stack stack;
    machine_context machine;
    signal_set mask;
};
static_assert(sizeof(user_machine_context) == 304);

struct signal_frame {
    k::u64 return_address;
    user_machine_context context;
    signal_info info;
    std::byte info_rest[user_signal_info_bytes - sizeof(signal_info)];
};
static_assert(sizeof(signal_frame) == 440);

// Writes a frame for the handler of `action` and makes the registers start it. `mask` is what the return puts back.
// EFAULT, with the registers as they were, if the stack cannot be written.
k::status push_signal_frame(thread& t, const signal_info& info, const signal_action& action, signal_set mask) noexcept;

// rt_sigreturn: takes everything back from the frame at the stack pointer. EFAULT, EINVAL.
k::status load_signal_frame(thread& t) noexcept;

} // namespace proc
