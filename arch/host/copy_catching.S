// size_t host_copy_catching(void* to, const void* from, size_t bytes)
//
// The one instruction that may fault. The handler in fault.cc sends a fault there on to
// host_copy_end; the count register then holds what is left.

        .text
        .globl  host_copy_catching
        .type   host_copy_catching, @function
        .balign 16
host_copy_catching:
        movq    %rdx, %rcx
        .globl  host_copy_begin
host_copy_begin:
        rep movsb
        .globl  host_copy_end
host_copy_end:
        movq    %rcx, %rax
        ret
        .size   host_copy_catching, . - host_copy_catching

        .section .note.GNU-stack, "", @progbits
