// Lays out a new thread's stack for arch_switch_stacks (switch_x86_64.S): the first switch to it
// "returns" into arch_thread_start, which calls entry(argument) with the stack aligned as the ABI asks.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" void arch_switch_stacks(void** save_sp, void* load_sp);
extern "C" void arch_thread_start();

namespace arch {

// Returns the stack pointer to load. The stack is `size` bytes from `base`; both are 16-byte aligned.
inline void* fresh_stack(std::uintptr_t base, std::size_t size, void (*entry)(void*), void* argument) {
    // The seven words that arch_switch_stacks pops end 16-byte aligned, as if arch_thread_start had been jumped
    // to on an empty stack; its call then leaves the alignment that entry() expects.
    auto* sp = reinterpret_cast<std::uintptr_t*>(base + size - 16);
    *--sp = reinterpret_cast<std::uintptr_t>(&arch_thread_start);
    *--sp = 0;                                          // rbp: the end of the chain of frames
    *--sp = reinterpret_cast<std::uintptr_t>(entry);    // rbx
    *--sp = reinterpret_cast<std::uintptr_t>(argument); // r12
    *--sp = 0;                                          // r13
    *--sp = 0;                                          // r14
    *--sp = 0;                                          // r15
    return sp;
}

} // namespace arch
