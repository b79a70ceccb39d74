// Where a further CPU starts: in real mode, at the page that the start-up interrupt named. This code is
// copied there; it must not depend on where it was linked. The block at its end is filled by cpu/smp.cc.
//
// Rule: the tables it loads map its own page one to one, so that paging can be switched on under its
// feet, and the kernel; the CPU then leaves for the image and never comes back.

        .section .rodata.trampoline, "a", @progbits
        .balign 16
        .globl  arch_trampoline, arch_trampoline_end
        .globl  arch_trampoline_block
        .code16
arch_trampoline:
        cli
        cld
        movw    %cs, %bx
        movw    %bx, %ds
        movzwl  %bx, %ebx
        shll    $4, %ebx                // our physical address
        // Absolute addresses in the descriptor table and the far jumps: made from where we are.
        leal    (gdt - arch_trampoline)(%ebx), %eax
        movl    %eax, (gdt_register - arch_trampoline + 2)
        leal    (protected_mode - arch_trampoline)(%ebx), %eax
        movl    %eax, (jump_32 - arch_trampoline)
        leal    (long_mode - arch_trampoline)(%ebx), %eax
        movl    %eax, (jump_64 - arch_trampoline)
        lgdtl   (gdt_register - arch_trampoline)
        movl    %cr0, %eax
        andl    $~0x60000000, %eax      // caches on
        orl     $1, %eax
        movl    %eax, %cr0
        ljmpl   *(jump_32 - arch_trampoline)

        .code32
protected_mode:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    %cr4, %eax
        orl     $0x20, %eax             // PAE
        movl    %eax, %cr4
        movl    (block_cr3 - arch_trampoline)(%ebx), %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       // EFER: long mode, and NX where there is NX
        rdmsr
        orl     (block_efer - arch_trampoline)(%ebx), %eax
        wrmsr
        movl    %cr0, %eax
        orl     $0x80010000, %eax
        movl    %eax, %cr0
        ljmpl   *(jump_64 - arch_trampoline)(%ebx)

        .code64
long_mode:
        movl    %ebx, %ebx
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        // Whoever takes the stack may go on. One that comes after its time finds 0 and stays.
        xorl    %esp, %esp
        xchgq   %rsp, (block_stack - arch_trampoline)(%rbx)
        testq   %rsp, %rsp
        jz      2f
        xorl    %ebp, %ebp
        movl    (block_id - arch_trampoline)(%rbx), %edi
        movq    (block_entry - arch_trampoline)(%rbx), %rax
        call    *%rax
2:      cli
        hlt
        jmp     2b

        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      // 0x08: 32-bit code
        .quad   0x00cf93000000ffff      // 0x10: data
        .quad   0x00af9b000000ffff      // 0x18: 64-bit code
gdt_end:
gdt_register:
        .short  gdt_end - gdt - 1
        .long   0
        .balign 8
jump_32:
        .long   0
        .short  0x08
        .balign 8
jump_64:
        .long   0
        .short  0x18

        .balign 8
arch_trampoline_block:                  // struct trampoline_block
block_stack:
        .quad   0
block_entry:
        .quad   0
block_cr3:
        .long   0
block_efer:
        .long   0
block_id:
        .long   0
arch_trampoline_end:

        .section .note.GNU-stack, "", @progbits
