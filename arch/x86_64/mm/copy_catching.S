// Copies and fills that survive a bad address. Both return how many bytes were not written: 0, or what was left at
// the first byte that faulted.
//
//   std::size_t memory::copy_catching(void* to, const void* from, std::size_t bytes)
//   std::size_t arch_zero_catching(void* to, std::size_t bytes)
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

        .balign 16
        .globl  arch_zero_catching
        .type   arch_zero_catching, @function
arch_zero_catching:
        cmpb    $0, arch_has_smap(%rip)
        je      1f
        stac
1:      xorl    %eax, %eax
        movq    %rsi, %rcx
        shrq    $3, %rcx
        andl    $7, %esi
zero_words:
        rep stosq
        movl    %esi, %ecx
zero_bytes:
        rep stosb
zero_done:
        movq    %rcx, %rax
        cmpb    $0, arch_has_smap(%rip)
        je      2f
        clac
2:      ret

zero_words_fault:
        leaq    (%rsi, %rcx, 8), %rcx
        jmp     zero_bytes
        .size   arch_zero_catching, . - arch_zero_catching

        .section .fault_fixups, "a", @progbits
        .quad   words, words_fault
        .quad   bytes, done
        .quad   zero_words, zero_words_fault
        .quad   zero_bytes, zero_done

        .section .note.GNU-stack, "", @progbits
