// The vDSO's bytes, as they are mapped into programs.
    .section .rodata
    .balign 64
    .globl arch_vdso, arch_vdso_end
arch_vdso:
    .incbin VDSO_IMAGE
arch_vdso_end:
