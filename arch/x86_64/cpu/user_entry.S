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
// A system call does less at first: it saves what its handler may need and the C++ code above would destroy, and calls
// upcall::system_call() on the stack of the caller of run(). The registers that functions preserve stay where they are
// and are right when that returns. If user code may go on, the rest is loaded; if not, the frame is completed and run()
// returns as it does from every trap.
//
// Rules. GS is user code's (base 0) exactly while user code runs, and for a few instructions before and behind it, in
// which nothing but those three can strike: interrupts are off, no instruction there can fault, and `syscall` clears
// the flags that would make one trap (enable_syscall()). iretq cannot fault either: run() has put all it loads right.
// sysretq would fault on a bad rcx in ring 0, on user code's stack, so it is used only for an rip below user_end,
// which run() checks, or for the one that `syscall` has left, which is not above it. User code cannot give GS a base: the CPU's instructions for it stay off (CR4.FSGSBASE), for
// NMI's handler tells by the base's sign whose it is.

        .set    CPU_TSS_RSP0, 64 + 64 + 4       // struct cpu_data; see user_context.cc
        .set    CPU_USER_STACK, 64 + 176
        .set    FRAME_BYTES, 22 * 8
        .set    CONTEXT_KERNEL_STACK, FRAME_BYTES
        .set    FRAME_R15, 0 * 8        // struct user_registers
        .set    FRAME_R14, 1 * 8
        .set    FRAME_R13, 2 * 8
        .set    FRAME_R12, 3 * 8
        .set    FRAME_R11, 4 * 8
        .set    FRAME_R10, 5 * 8
        .set    FRAME_R9, 6 * 8
        .set    FRAME_R8, 7 * 8
        .set    FRAME_RBP, 8 * 8
        .set    FRAME_RDI, 9 * 8
        .set    FRAME_RSI, 10 * 8
        .set    FRAME_RDX, 11 * 8
        .set    FRAME_RCX, 12 * 8
        .set    FRAME_RBX, 13 * 8
        .set    FRAME_RAX, 14 * 8
        .set    FRAME_VECTOR, 15 * 8
        .set    FRAME_RIP, 17 * 8
        .set    FRAME_RFLAGS, 19 * 8
        .set    FRAME_RSP, 20 * 8
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
        pushq   %rdi                    // for arch_syscall_entry, which makes a call from here: the stack is aligned
        movq    %rsp, CONTEXT_KERNEL_STACK(%rdi)
        leaq    FRAME_BYTES(%rdi), %rax
        movq    %rax, %gs:CPU_TSS_RSP0
        movq    %rdi, %rsp
        .endm

        .macro  restore_kernel
        addq    $8, %rsp
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
        movq    %rdi, FRAME_RDI - FRAME_RSP(%rsp)
        leaq    -FRAME_RSP(%rsp), %rdi
        movq    %rcx, FRAME_RIP(%rdi)
        movq    %r11, FRAME_RFLAGS(%rdi)
        movq    $VECTOR_SYSCALL, FRAME_VECTOR(%rdi)
        movq    %rax, FRAME_RAX(%rdi)
        movq    %rdx, FRAME_RDX(%rdi)
        movq    %rsi, FRAME_RSI(%rdi)
        movq    %r8, FRAME_R8(%rdi)
        movq    %r9, FRAME_R9(%rdi)
        movq    %r10, FRAME_R10(%rdi)
        movq    CONTEXT_KERNEL_STACK(%rdi), %rsp
        sti
        call    arch_upcall_system_call
        testb   %al, %al
        movq    (%rsp), %rax            // the context
        jz      1f
        leaq    FRAME_BYTES(%rax), %rdx // this may be another CPU by now, or other threads were here meanwhile
        movq    %rdx, %gs:CPU_TSS_RSP0
        movq    FRAME_R10(%rax), %r10
        movq    FRAME_R9(%rax), %r9
        movq    FRAME_R8(%rax), %r8
        movq    FRAME_RDI(%rax), %rdi
        movq    FRAME_RSI(%rax), %rsi
        movq    FRAME_RDX(%rax), %rdx
        movq    FRAME_RIP(%rax), %rcx
        movq    FRAME_RFLAGS(%rax), %r11
        movq    FRAME_RSP(%rax), %rsp
        movq    FRAME_RAX(%rax), %rax
        swapgs
        sysretq
1:      movq    %rbx, FRAME_RBX(%rax)   // the rest of the frame
        movq    %rbp, FRAME_RBP(%rax)
        movq    %r12, FRAME_R12(%rax)
        movq    %r13, FRAME_R13(%rax)
        movq    %r14, FRAME_R14(%rax)
        movq    %r15, FRAME_R15(%rax)
        movq    FRAME_RIP(%rax), %rcx
        movq    FRAME_RFLAGS(%rax), %r11
        movq    %rcx, FRAME_RCX(%rax)
        movq    %r11, FRAME_R11(%rax)
        restore_kernel
        xorl    %eax, %eax              // user_exit{}: a system call
        xorl    %edx, %edx
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
