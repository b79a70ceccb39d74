// Where things lie in a new program's memory, and what its stack holds when it starts: argc, argv, envp and the
// auxiliary vector, as the x86-64 ABI has them.
#pragma once

#include "kernel/proc/argument_list.h"
#include "kernel/proc/process.h"

namespace proc {

// Chosen at random, unless the kernel's option `norandom` or the process's personality says no.
struct layout {
    xio::user_address stack_top;
    k::u64 stack_bytes;         // what it may grow to
    xio::user_address mmap_top; // mappings are looked for below
    xio::user_address program;  // for a program that may lie anywhere
    xio::user_address vdso;     // above the stack; 0: anywhere
    k::u64 heap_gap;            // between the program's end and the heap
};
layout choose_layout(const process& p) noexcept;
void switch_randomisation_off() noexcept;

// What argv and envp may take in all.
k::u64 most_text_bytes(const process& p) noexcept;

struct start_facts {
    k::u64 entry, headers, header_bytes, header_count; // of the program
    k::u64 interpreter_base;                           // 0: none
    xio::user_address vdso;                            // 0: none
    identity user, group;                              // what the process will be
    bool secure;                                       // it is more than who started it
    std::string_view file_name;                        // as exec was given it
};

struct start_point {
    k::u64 entry = 0, stack = 0;
    xio::user_address arguments_base = 0, arguments_end = 0, environment_end = 0;
};

// Maps a stack into a space, which is the one that the running thread runs in, and fills it. ENOMEM.
k::result<start_point> build_stack(const process& p, vm::space& into, const layout& places, const start_facts& facts,
                                   const argument_list& arguments, const argument_list& environment) noexcept;

} // namespace proc
