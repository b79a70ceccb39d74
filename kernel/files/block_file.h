// Open files of block devices: cached, or past the cache with O_DIRECT.
//
// O_DIRECT moves the program's own pages: the device reads or writes them where they are. A write takes a stable loan,
// so the program may go on writing to its buffer at once, in another thread even, and the disk gets what was there
// before. Offset and length are multiples of the device's block (EINVAL); the buffer may lie anywhere.
#pragma once

#include "kernel/files/file.h"

namespace files {

// ENXIO: no such device; EROFS: it cannot be written; ENOMEM.
k::result<file_ref> open_block_device(k::u64 number, k::u32 flags) noexcept;

} // namespace files
