// The context switch of both ports on x86-64: saves the callee-saved registers of the System V ABI on
// the stack that is left and takes them from the stack that is entered.
//
//   void arch_switch_stacks(void** save_sp, void* load_sp)
//
// Rule: a stack that is not running holds, from its saved stack pointer upward, r15 r14 r13 r12 rbx
// rbp and a return address. arch/common/fresh_stack.h builds that picture for a new thread; its
// return address is arch_thread_start, which finds the entry in rbx and the argument in r12.
// The flags and the floating-point control words are not part of a context: a switch is made with
// interrupts enabled and the direction flag clear.

        .text
        .globl  arch_switch_stacks
        .type   arch_switch_stacks, @function
        .balign 16
arch_switch_stacks:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   arch_switch_stacks, . - arch_switch_stacks

// The first code of a new thread. rbp is 0 and no return address lies above: backtraces end here.
        .globl  arch_thread_start
        .type   arch_thread_start, @function
        .balign 16
arch_thread_start:
        movq    %r12, %rdi
        call    *%rbx
        ud2                             // a thread's entry does not return
        .size   arch_thread_start, . - arch_thread_start

        .section .note.GNU-stack, "", @progbits
