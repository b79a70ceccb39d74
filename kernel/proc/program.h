// Programs: where exec finds them, and how they come into a space.
#pragma once

#include "kernel/proc/elf.h"
#include "kernel/proc/places.h"
#include "sys/vm/space.h"

namespace proc {

// A file that can be run, and its first bytes.
struct program_file {
    static constexpr std::size_t head_room = 4096;

    k::ref<held_program> held;
    std::size_t head_bytes = 0;
    std::byte head[head_room];

    std::span<const std::byte> start() const noexcept { return {head, head_bytes}; }
    const vfs::found& what() const noexcept { return held->file; }
    k::u64 size() const noexcept { return what().node->size.load(std::memory_order_acquire); }
    // Bytes from anywhere in it. ENOEXEC: they are not there.
    k::status read(k::u64 offset, std::span<std::byte> to) const noexcept;
};

// The program of this path, for whom it is to run. The walk's errors; EACCES (no regular file, may not be run, or its
// mount has no programs), ETXTBSY (somebody has it open for writing), ENOMEM, EIO.
k::status open_program(const vfs::view& v, std::string_view path, program_file& out) noexcept;
// The same of a file that was found.
k::status open_program(const vfs::subject& who, vfs::found what, program_file& out) noexcept;

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
