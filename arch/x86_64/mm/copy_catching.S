// std::size_t memory::copy_catching(void* to, const void* from, std::size_t bytes): copies and returns how
// many bytes were not copied: 0, or what was left at the first byte that faulted.
//
// Rule: each instruction that may fault stands in .fault_fixups with the place where to go on; the fault
// handler changes nothing but rip. SMAP is lifted for as long as the copy runs, where the CPU has it.

        .text
        .balign 16
        .globl  _ZN4arch6memory13copy_catchingEPvPKvm
        .type   _ZN4arch6memory13copy_catchingEPvPKvm, @function
_ZN4arch6memory13copy_catchingEPvPKvm:
        cmpb    $0, arch_has_smap(%rip)
        je      1f
        stac
1:      movq    %rdx, %rcx
        shrq    $3, %rcx
        andl    $7, %edx
words:  rep movsq
        movl    %edx, %ecx
bytes:  rep movsb
done:   movq    %rcx, %rax
        cmpb    $0, arch_has_smap(%rip)
        je      2f
        clac
2:      ret

// A word did not go through: its good bytes still count, so go on byte by byte until one faults.
words_fault:
        leaq    (%rdx, %rcx, 8), %rcx
        jmp     bytes
        .size   _ZN4arch6memory13copy_catchingEPvPKvm, . - _ZN4arch6memory13copy_catchingEPvPKvm

        .section .fault_fixups, "a", @progbits
        .quad   words, words_fault
        .quad   bytes, done

        .section .note.GNU-stack, "", @progbits
