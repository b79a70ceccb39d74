// The Multiboot2 header and the way from the boot loader's 32-bit protected mode to C++ in long mode.
//
// Rule: the 32-bit part is position independent (the header allows the loader to move the image by
// multiples of 2 MiB); ebp holds how far it was moved. The tables built here map the first 4 GiB at their
// own addresses and the image in the upper half, all writable and executable; they live until
// mm/address_space.cc has made the real ones.

        .set    IMAGE_BASE, 0xffffffff80000000
        .set    MULTIBOOT2_HEADER_MAGIC, 0xe85250d6
        .set    MULTIBOOT2_LOADER_MAGIC, 0x36d76289
        .set    PAGE_PRESENT_WRITE, 0x003
        .set    PAGE_LARGE, 0x083
        .set    COM1, 0x3f8

        .section .boot, "ax", @progbits
        .balign 8
header:
        .long   MULTIBOOT2_HEADER_MAGIC
        .long   0                       // architecture: i386
        .long   header_end - header
        .long   -(MULTIBOOT2_HEADER_MAGIC + (header_end - header))

        .balign 8                       // what must be told: command line, modules, memory map
        .short  1, 0
        .long   20
        .long   1, 3, 6

        .balign 8                       // what would be nice: ACPI's root pointer, old and new
        .short  1, 1
        .long   16
        .long   14, 15

        .balign 8                       // modules on page boundaries
        .short  6, 0
        .long   8

        .balign 8                       // the image may be moved
        .short  10, 0
        .long   24
        .long   0x200000                // lowest address
        .long   0x7fffffff              // highest
        .long   0x200000                // alignment
        .long   1                       // as low as possible

        .balign 8
        .short  0, 0
        .long   8
header_end:


        .code32
        .globl  _start
        .type   _start, @function
_start:
        cli
        cld
        cmpl    $MULTIBOOT2_LOADER_MAGIC, %eax
        sete    %cl                     // looked at once there is a place to say so

        // Where are we? The reserved second word of the boot information serves as a stack of one word.
        leal    8(%ebx), %esp
        testb   %cl, %cl
        jnz     1f
        movl    $0x7c00, %esp           // not Multiboot2: the old boot sector's place is memory at least
1:      call    2f
2:      popl    %ebp
        subl    $(2b - IMAGE_BASE), %ebp
        leal    (early_stack_top - IMAGE_BASE)(%ebp), %esp

        leal    (wrong_loader - IMAGE_BASE)(%ebp), %esi
        testb   %cl, %cl
        jz      stop

        rdtsc                           // time zero, kept for arch_start
        pushl   %edx
        pushl   %eax
        pushl   %ebx

        // CPUID says whether there is a long mode. (CPUs without CPUID are older than Multiboot2.)
        movl    $0x80000000, %eax
        cpuid
        leal    (no_long_mode - IMAGE_BASE)(%ebp), %esi
        cmpl    $0x80000001, %eax
        jb      stop
        movl    $0x80000001, %eax
        cpuid
        btl     $29, %edx
        jnc     stop

        call    build_tables

        movl    %cr4, %eax
        orl     $0x20, %eax             // PAE
        movl    %eax, %cr4
        leal    (early_pml4 - IMAGE_BASE)(%ebp), %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       // EFER: long mode
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    %cr0, %eax
        andl    $~0x60000000, %eax      // caches on, whatever the loader left
        orl     $0x80010001, %eax       // paging, write protection, protected mode
        movl    %eax, %cr0

        popl    %ebx                    // boot information
        popl    %eax                    // time, low
        popl    %edx                    // time, high
        // A far pointer on the stack, for the loader's GDT is its own affair.
        leal    (early_gdt - IMAGE_BASE)(%ebp), %ecx
        subl    $8, %esp
        movw    $(early_gdt_end - early_gdt - 1), (%esp)
        movl    %ecx, 2(%esp)
        lgdt    (%esp)
        leal    (long_mode - IMAGE_BASE)(%ebp), %ecx
        movl    %ecx, (%esp)
        movl    $8, 4(%esp)
        lret

// Tables: early_pml4 -> early_pdpt_low -> 4 directories of 2 MiB pages, and early_pdpt_high -> one directory.
build_tables:
        leal    (early_pdpt_low - IMAGE_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
        movl    %eax, (early_pml4 - IMAGE_BASE)(%ebp)
        leal    (early_pdpt_high - IMAGE_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
        movl    %eax, (early_pml4 - IMAGE_BASE + 511 * 8)(%ebp)
        leal    (early_pd_high - IMAGE_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
        movl    %eax, (early_pdpt_high - IMAGE_BASE + 510 * 8)(%ebp)

        leal    (early_pd_low - IMAGE_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
        xorl    %ecx, %ecx
1:      movl    %eax, (early_pdpt_low - IMAGE_BASE)(%ebp, %ecx, 8)
        addl    $4096, %eax
        incl    %ecx
        cmpl    $4, %ecx
        jb      1b

        movl    $PAGE_LARGE, %eax
        xorl    %ecx, %ecx
2:      movl    %eax, (early_pd_low - IMAGE_BASE)(%ebp, %ecx, 8)
        addl    $0x200000, %eax
        incl    %ecx
        cmpl    $(4 * 512), %ecx
        jb      2b

        leal    PAGE_LARGE(%ebp), %eax
        xorl    %ecx, %ecx
3:      movl    %eax, (early_pd_high - IMAGE_BASE)(%ebp, %ecx, 8)
        addl    $0x200000, %eax
        incl    %ecx
        cmpl    $512, %ecx
        jb      3b
        ret

// Says what is wrong (esi) on the serial port, for as long as the port takes bytes, and on port 0xe9.
stop:
        movl    $100000, %ecx
1:      movw    $(COM1 + 5), %dx
        inb     %dx, %al
        testb   $0x20, %al
        jnz     2f
        loop    1b
2:      lodsb
        testb   %al, %al
        jz      3f
        movw    $COM1, %dx
        outb    %al, %dx
        outb    %al, $0xe9
        jmp     stop
3:      movb    $0x11, %al              // under QEMU with a debug exit: ends as a failure
        outb    %al, $0xf4
4:      cli
        hlt
        jmp     4b
        .size   _start, . - _start

wrong_loader:
        .asciz  "nutcracker: not started by a Multiboot2 boot loader\r\n"
no_long_mode:
        .asciz  "nutcracker: this CPU has no 64-bit mode\r\n"

        .balign 8
early_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      // 64-bit code
        .quad   0x00cf93000000ffff      // data
early_gdt_end:

        .code64
        .type   long_mode, @function
long_mode:
        movl    $0x10, %ecx
        movl    %ecx, %ds
        movl    %ecx, %es
        movl    %ecx, %ss
        xorl    %ecx, %ecx
        movl    %ecx, %fs
        movl    %ecx, %gs

        movl    %eax, %eax
        shlq    $32, %rdx
        orq     %rax, %rdx              // 3rd: time-stamp counter at hand-over
        movl    %ebp, %esi              // 2nd: how far the image was moved
        movl    %ebx, %edi              // 1st: boot information
        movq    $arch_boot_stack_top, %rsp
        xorl    %ebp, %ebp
        movq    $arch_start, %rax
        call    *%rax
        ud2
        .size   long_mode, . - long_mode

        .section .bss.early, "aw", @nobits
        .balign 4096
        .globl  early_pml4, early_pdpt_low, early_pd_low, early_pd_high
early_pml4:
        .skip   4096
early_pdpt_low:
        .skip   4096
early_pdpt_high:
        .skip   4096
early_pd_low:
        .skip   4 * 4096
early_pd_high:
        .skip   4096
        .skip   256
early_stack_top:

// The boot CPU's stack. The page below it is unmapped by mm/address_space.cc.
        .section .bss.stack, "aw", @nobits
        .balign 4096
        .globl  arch_boot_stack_guard, arch_boot_stack, arch_boot_stack_top
arch_boot_stack_guard:
        .skip   4096
arch_boot_stack:
        .skip   32768
arch_boot_stack_top:

        .section .note.GNU-stack, "", @progbits
