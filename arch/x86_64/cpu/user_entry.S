// Into user mode and back.
//
//   user_exit arch_enter_user_iret(user_context*), user_exit arch_enter_user_sysret(user_context*)
//
// Called by user_context::run() with interrupts off; they return, with interrupts on, when user code has trapped and
// an interrupt, if it was one, is served. A thread in user mode has an empty trap frame waiting: TSS.rsp0 is the end
// of its user_registers, so the CPU pushes what it saves of an interrupt or exception right into them, and `syscall`,
// which pushes nothing, is made to look the same. The stack of the caller of run() rests meanwhile, its callee-saved
// registers on it, its stack pointer in the context:
//
//   rdi -> user_registers: r15 ... rax, vector, error code, rip, cs, rflags, rsp, ss   <- TSS.rsp0 is here
//          kernel_stack
//
// So every trap from user mode is: push the registers, take the kernel's stack from behind them, pop its registers,
// and return a user_exit, which arch_user_trapped() finds unless it is the plain one of a system call. No handler
// runs on top of a frame. Only NMI, double fault and machine check have stacks of their own and handlers that run
// there (cpu/traps.S).
//
// Rules. GS is user code's (base 0) exactly while user code runs, and for a few instructions before and behind it, in
// which nothing but those three can strike: interrupts are off, no instruction there can fault, and `syscall` clears
// the flags that would make one trap (enable_syscall()). iretq cannot fault either: run() has put all it loads right.
// sysretq would fault on a bad rcx in ring 0, on user code's stack, so it is used only for an rip below user_end,
// which run() checks. User code cannot give GS a base: the CPU's instructions for it stay off (CR4.FSGSBASE), for
// NMI's handler tells by the base's sign whose it is.

        .set    CPU_TSS_RSP0, 64 + 64 + 4       // struct cpu_data; see user_context.cc
        .set    CPU_USER_STACK, 64 + 176
        .set    FRAME_BYTES, 22 * 8
        .set    CONTEXT_KERNEL_STACK, FRAME_BYTES
        .set    FRAME_RFLAGS, 19 * 8
        .set    RFLAGS_AC, 0x40000
        .set    USER_DATA, 0x1b
        .set    USER_CODE, 0x23
        .set    VECTOR_SYSCALL, 0x100

        .macro  save_kernel
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, CONTEXT_KERNEL_STACK(%rdi)
        leaq    FRAME_BYTES(%rdi), %rax
        movq    %rax, %gs:CPU_TSS_RSP0
        movq    %rdi, %rsp
        .endm

        .macro  restore_kernel
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        .endm

        .macro  pop_user_registers
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
        .endm

        .text
        .globl  arch_enter_user_iret
        .type   arch_enter_user_iret, @function
        .balign 16
arch_enter_user_iret:
        save_kernel
        pop_user_registers
        addq    $16, %rsp               // vector and error code
        swapgs
        iretq
        .size   arch_enter_user_iret, . - arch_enter_user_iret

// rcx is rip and r11 is rflags: run() has looked.
        .globl  arch_enter_user_sysret
        .type   arch_enter_user_sysret, @function
        .balign 16
arch_enter_user_sysret:
        save_kernel
        pop_user_registers
        movq    5 * 8(%rsp), %rsp
        swapgs
        sysretq
        .size   arch_enter_user_sysret, . - arch_enter_user_sysret

// Where `syscall` goes: rip is in rcx, rflags in r11, the stack is user code's.
        .globl  arch_syscall_entry
        .type   arch_syscall_entry, @function
        .balign 16
arch_syscall_entry:
        swapgs
        movq    %rsp, %gs:CPU_USER_STACK
        movq    %gs:CPU_TSS_RSP0, %rsp
        pushq   $USER_DATA
        pushq   %gs:CPU_USER_STACK
        pushq   %r11
        pushq   $USER_CODE
        pushq   %rcx
        pushq   $0                      // error code
        pushq   $VECTOR_SYSCALL
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
        movq    CONTEXT_KERNEL_STACK(%rsp), %rsp
        restore_kernel
        xorl    %eax, %eax              // user_exit{}: a system call
        xorl    %edx, %edx
        sti
        ret
        .size   arch_syscall_entry, . - arch_syscall_entry

// From cpu/traps.S, with all registers in the frame: an exception or interrupt came from user mode.
        .globl  arch_trap_from_user
        .type   arch_trap_from_user, @function
        .balign 16
arch_trap_from_user:
        swapgs
        testl   $RFLAGS_AC, FRAME_RFLAGS(%rsp)
        movq    %rsp, %rdi
        movq    CONTEXT_KERNEL_STACK(%rsp), %rsp
        jnz     2f
1:      restore_kernel
        jmp     arch_user_trapped
2:      pushfq                          // with AC set the kernel could touch user memory by mistake
        andl    $~RFLAGS_AC, (%rsp)
        popfq
        jmp     1b
        .size   arch_trap_from_user, . - arch_trap_from_user

        .section .note.GNU-stack, "", @progbits
