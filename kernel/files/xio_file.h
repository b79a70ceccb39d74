// An xio as an open file: bytes that were lent or shared at one moment and stay as they were then, whoever writes to
// where they came from. They can be read, mapped (each page is copied when it is written to), spliced and sent onward,
// and passed to another process, all without being copied; the last close lets go of them.
#pragma once

#include "kernel/files/file.h"

namespace files {

constexpr k::u64 most_xio_bytes = 1 << 30;

// Of bytes in pages; never written afterwards. ENOMEM.
k::result<file_ref> make_xio_file(xio::source bytes) noexcept;

// The bytes of an xio file from an offset on, at most so many; empty behind the end. EINVAL: another file.
k::result<xio::source> xio_of(file& f, k::u64 offset, k::u64 most) noexcept;

} // namespace files
