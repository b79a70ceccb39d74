// Entry and exit of exceptions and interrupts. 256 stubs of 16 bytes each push what the CPU did not (an
// error code, the vector), then the registers (struct trap_frame), and call arch_trap(frame).
//
// What comes from user mode (CS.RPL 3) finds an empty frame where the CPU pushes and goes on in user_entry.S.
//
// Rule: GS is the kernel's whenever C++ runs. NMI, double fault and machine check may strike between entry from
// user mode and the swap, so they look at GS's base itself: the kernel's has its top bit set.

        .set    MSR_GS_BASE, 0xc0000101
        .set    FRAME_CS, 18 * 8
        .set    FRAME_RFLAGS, 19 * 8
        .set    RFLAGS_AC, 0x40000

        .text
        .balign 16
        .globl  arch_trap_stubs
arch_trap_stubs:
        .set    vector, 0
        .rept   256
        .balign 16
        .set    has_error_code, (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
        .set    has_error_code, has_error_code || (vector == 21) || (vector == 29) || (vector == 30)
        .if     !has_error_code
        pushq   $0                      // in its place
        .endif
        pushq   $vector
        .if     vector == 2 || vector == 8 || vector == 18
        jmp     trap_any_gs
        .else
        jmp     trap
        .endif
        .set    vector, vector + 1
        .endr

        .macro  save_registers
        pushq   %rax
        pushq   %rbx
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %rbp
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        cld
        .endm

        .macro  restore_registers
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rbp
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rbx
        popq    %rax
        addq    $16, %rsp               // vector and error code
        .endm

        .type   trap, @function
        .balign 16
trap:
        save_registers
        testb   $3, FRAME_CS(%rsp)
        jnz     arch_trap_from_user
        testl   $RFLAGS_AC, FRAME_RFLAGS(%rsp)
        jnz     clear_ac
2:      movq    %rsp, %rdi
        // The CPU aligned the stack before its five words, so that 22 words leave it aligned again.
        // rbp still is the interrupted code's: the backtrace goes from arch_trap straight to it.
        call    arch_trap
        restore_registers
        iretq

// Code that may reach user memory was interrupted: the handler, and whatever thread it switches to, shall not
// inherit that. Not clac: older CPUs lack it.
clear_ac:
        pushfq
        andl    $~RFLAGS_AC, (%rsp)
        popfq
        jmp     2b
        .size   trap, . - trap

        .type   trap_any_gs, @function
        .balign 16
trap_any_gs:
        save_registers
        xorl    %ebx, %ebx              // 1: GS was swapped here
        movl    $MSR_GS_BASE, %ecx
        rdmsr
        testl   %edx, %edx
        js      1f
        swapgs
        movl    $1, %ebx
1:      movq    %rsp, %rdi
        call    arch_trap
        testl   %ebx, %ebx
        jz      2f
        swapgs
2:      restore_registers
        iretq
        .size   trap_any_gs, . - trap_any_gs

// deliver_events() for cpu::critical_exit(), in the middle of code that expects no register to change and may
// stand on an unaligned stack.
        .globl  arch_deliver_events
        .type   arch_deliver_events, @function
        .balign 16
arch_deliver_events:
        pushq   %rbp
        movq    %rsp, %rbp
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        subq    $8, %rsp
        andq    $-16, %rsp
        call    _ZN4arch6upcall14deliver_eventsEv
        leaq    -72(%rbp), %rsp
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rax
        popq    %rbp
        ret
        .size   arch_deliver_events, . - arch_deliver_events

        .section .note.GNU-stack, "", @progbits
