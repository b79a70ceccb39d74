// Programs: where exec finds them, and how they come into a space.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/proc/elf.h"
#include "sys/vm/space.h"

#include <string_view>

namespace proc {

// A file that can be run: its bytes, and the object whose pages are made of them once for all who map it.
struct program_file {
    std::span<const std::byte> bytes;
    k::ref<vm::object> object;
};

// The program of this absolute path. ENOENT, ENOTDIR, ELOOP, EACCES (no regular file, or nobody may run it), ENOMEM.
k::result<program_file> open_program(std::string_view path) noexcept;

// Where a loaded program lies.
struct loaded_program {
    k::u64 bias;
    k::u64 entry;
    k::u64 end; // after its last page
};

// Maps a program into a space, which is the one that the running thread runs in. One that may lie anywhere is put as
// near above `wanted` as its alignment allows, or, 0, where there is room. ENOEXEC, ENOMEM.
k::result<loaded_program> load_program(vm::space& into, const elf::image& program, const program_file& file,
                                       k::u64 wanted) noexcept;

} // namespace proc
