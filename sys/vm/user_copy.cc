// Moving bytes between the kernel and user memory: the copy itself catches what is not there, then the fault is served
// as if user code had touched the byte, and the copy goes on where it stopped.
#include "sys/vm/space.h"
#include "sys/vm/user_pointer.h"

#include <algorithm>

namespace vm {

namespace {

// Faults without a byte moved, before a move gives up: others may take the page away again and again.
constexpr unsigned patience = 64;

// move(done) tries the rest from byte `done` on and returns how many bytes it did not move, which is `left` so far.
template <class Move> k::u64 go_on(space& memory, user_address at, k::u64 bytes, k::u64 left, k::u8 access, Move move) {
    k::u64 done = bytes - left;
    for (unsigned vain = 0; done < bytes && vain < patience; vain++) {
        if (at + done < at || !memory.fault(at + done, access)) break;
        left = move(done);
        if (bytes - left > done) vain = 0;
        done = bytes - left;
    }
    return done;
}

// Apart from what nearly always happens, which needs little stack.
[[gnu::noinline]] k::u64 go_on_in(space& memory, void* to, user_address from, k::u64 bytes, k::u64 left) {
    return go_on(memory, from, bytes, left, arch::user_read, [&](k::u64 done) {
        return memory.map_for_cpu().copy_in(static_cast<std::byte*>(to) + done, from + done, bytes - done);
    });
}
[[gnu::noinline]] k::u64 go_on_out(space& memory, user_address to, const void* from, k::u64 bytes, k::u64 left) {
    return go_on(memory, to, bytes, left, arch::user_write, [&](k::u64 done) {
        return memory.map_for_cpu().copy_out(to + done, static_cast<const std::byte*>(from) + done, bytes - done);
    });
}

} // namespace

k::u64 space::copy_in(void* to, user_address from, k::u64 bytes) noexcept {
    const k::u64 left = map_for_cpu().copy_in(to, from, bytes);
    if (!left) [[likely]]
        return bytes;
    return go_on_in(*this, to, from, bytes, left);
}

k::u64 space::copy_out(user_address to, const void* from, k::u64 bytes) noexcept {
    const k::u64 left = map_for_cpu().copy_out(to, from, bytes);
    if (!left) [[likely]]
        return bytes;
    return go_on_out(*this, to, from, bytes, left);
}

k::u64 space::zero_out(user_address to, k::u64 bytes) noexcept {
    const k::u64 left = map_for_cpu().zero_out(to, bytes);
    return go_on(*this, to, bytes, left, arch::user_write,
                 [&](k::u64 done) { return map_for_cpu().zero_out(to + done, bytes - done); });
}

k::result<std::string_view> read_user_text(xio::user_memory& memory, xio::user_address at,
                                           std::span<char> buffer) noexcept {
    // In pieces that end at multiples of their size: a text may end right before a page that is not there.
    constexpr k::u64 piece = 64;
    k::u64 used = 0;
    while (used < buffer.size()) {
        const k::u64 wanted = std::min<k::u64>(piece - (at + used) % piece, buffer.size() - used);
        const k::u64 good = memory.copy_in(buffer.data() + used, at + used, wanted);
        const std::string_view got(buffer.data() + used, good);
        if (const auto end = got.find('\0'); end != got.npos) return std::string_view(buffer.data(), used + end);
        if (good != wanted) return k::error::fault;
        used += good;
    }
    return k::error::nametoolong;
}

} // namespace vm
