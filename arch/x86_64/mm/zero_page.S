// void arch_zero_page_avx(void* page), void arch_zero_page_sse(void* page): zeroes 4 KiB with the widest stores.
//
// Rule: the vector registers belong to user code even while the kernel runs: the one used here is put back, and the
// caller lets no thread switch in between.

        .set    PAGE, 4096
        .set    AT_ONCE, 32             // stores in a round

        .text
        .balign 16
        .globl  arch_zero_page_avx
        .type   arch_zero_page_avx, @function
arch_zero_page_avx:
        subq    $32, %rsp
        vmovdqu %ymm0, (%rsp)
        vpxor   %xmm0, %xmm0, %xmm0
        leaq    PAGE(%rdi), %rax
        .balign 16
1:
        .set    at, 0
        .rept   AT_ONCE
        vmovdqa %ymm0, at(%rdi)
        .set    at, at + 32
        .endr
        addq    $at, %rdi
        cmpq    %rax, %rdi
        jb      1b
        vmovdqu (%rsp), %ymm0
        addq    $32, %rsp
        ret
        .size   arch_zero_page_avx, . - arch_zero_page_avx

        .balign 16
        .globl  arch_zero_page_sse
        .type   arch_zero_page_sse, @function
arch_zero_page_sse:
        subq    $16, %rsp
        movdqu  %xmm0, (%rsp)
        pxor    %xmm0, %xmm0
        leaq    PAGE(%rdi), %rax
        .balign 16
1:
        .set    at, 0
        .rept   AT_ONCE
        movdqa  %xmm0, at(%rdi)
        .set    at, at + 16
        .endr
        addq    $at, %rdi
        cmpq    %rax, %rdi
        jb      1b
        movdqu  (%rsp), %xmm0
        addq    $16, %rsp
        ret
        .size   arch_zero_page_sse, . - arch_zero_page_sse

        .section .note.GNU-stack, "", @progbits
