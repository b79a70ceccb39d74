// Moving bytes from one file to another inside the kernel (sendfile, splice): pages travel as xio where both sides can.
#pragma once

#include "kernel/files/file.h"

#include <optional>

namespace files {

// One side of a transfer: a file, and a position of the caller's, or none: the file's own.
struct transfer_end {
    file& at;
    std::optional<k::u64> offset;
};

// Moves up to `most` bytes and advances the offsets. Ends at the end of `from`, or where no more can be moved without
// waiting once something was: of terminals and devices after what one read gives. EPIPE: the caller sends SIGPIPE.
k::result<k::u64> transfer(transfer_end& from, transfer_end& to, k::u64 most, bool nonblocking) noexcept;

} // namespace files
