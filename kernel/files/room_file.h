// Room: memory of a fixed size as an open file, to be filled, mapped (shared) and passed on in messages (CAPS). Its
// pages can be taken out of it as an xio, which leaves it empty; nobody copies them, and who wrote to them before
// cannot change them afterwards. It never shrinks: who maps it need not fear for it.
#pragma once

#include "kernel/files/file.h"

namespace files {

constexpr k::u64 most_room_bytes = 1 << 30;

// 1 to most_room_bytes of zeroes, or of memory that exists. One that is not `writable` can only be read. ENOMEM.
k::result<file_ref> make_room_file(k::u64 bytes, k::ref<vm::object> memory = {}, bool writable = true) noexcept;

// The memory of a room that is to be made. ENOMEM.
k::result<k::ref<vm::object>> memory_for_room(k::u64 bytes) noexcept;

struct room_view {
    k::ref<vm::object> memory;
    k::u64 bytes;
    bool writable;
};
// EINVAL: another file.
k::result<room_view> room_of(file& f) noexcept;
// Bytes of it as they are now. EINVAL: it has not so many; ENOMEM.
k::result<xio::source> lend_from_room(const room_view& room, k::u64 offset, k::u64 bytes) noexcept;
// The pages of its first `bytes`, which were lent, leave it: whoever maps it sees zeroes from now on, and they are the
// borrower's alone. Without memory for that some stay, and are copied when they are written to.
void empty_room(vm::object& memory, k::u64 bytes) noexcept;

} // namespace files
