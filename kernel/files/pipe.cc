#include "kernel/files/pipe.h"

#include "kernel/mem/slab.h"

namespace files {

k::result<k::ref<pipe>> pipe::create(piece_queue::ends of) noexcept {
    auto* made = mem::make<pipe>(of);
    if (!made) return k::error::nomem;
    return k::ref<pipe>(made);
}

void pipe::last_holder_left() noexcept {
    mem::destroy(this);
}

k::result<k::u64> pipe::set_capacity(k::u64 bytes) noexcept {
    if (bytes > most_capacity) return k::error::perm;
    bytes = std::bit_ceil(std::max(bytes, k::u64{arch::page_size}));
    TRY(queue.set_capacity(bytes));
    return bytes;
}

} // namespace files
