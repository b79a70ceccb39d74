// Memory files (memfd_create): a size and a vm::object, which mappings of the file show too.
//
// Seals (F_ADD_SEALS) are promises about the size of a file that its readers can rely on: once given they stay.
#pragma once

#include "kernel/files/file.h"

namespace files {

constexpr k::u32 seal_seal = 1, seal_shrink = 2, seal_grow = 4;
constexpr k::u32 all_seals = 7; // F_SEAL_WRITE would need to know who maps the file

// An empty one. Without `sealable` it has seal_seal from the start. ENOMEM.
k::result<file_ref> make_memory_file(bool sealable) noexcept;

// EINVAL: not a memory file, or another seal; EPERM: sealed against sealing, or not open for writing.
k::status add_seals(file& f, k::u32 seals) noexcept;
k::result<k::u64> seals_of(file& f) noexcept;

} // namespace files
