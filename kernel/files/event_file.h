// Event files (eventfd): a counter to add to and to wait for.
#pragma once

#include "kernel/files/file.h"

namespace files {

// `flags`: open_nonblock. A semaphore's reads take one, others all. ENOMEM.
k::result<file_ref> make_event_file(k::u64 count, bool semaphore, k::u32 flags) noexcept;

} // namespace files
