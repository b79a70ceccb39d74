// Moving payload with the CPU: the only place in the kernel that does, and each function enters it in the ledger.
#include "sys/xio/walk.h"

#include <cstring>

namespace xio {

k::status source::read(k::u64 offset, std::span<std::byte> to) const noexcept {
    if (!contains(offset, to.size())) [[unlikely]]
        return k::error::inval;
    std::byte* next = to.data();
    for_each_run(walker(*this, offset, to.size()), [&](const std::byte* from, k::u64 bytes) {
        std::memcpy(next, from, bytes);
        next += bytes;
    });
    note_copied(reason::kernel_read, to.size());
    return {};
}

k::status sink::write(k::u64 offset, std::span<const std::byte> from) noexcept {
    if (!contains(offset, from.size())) [[unlikely]]
        return k::error::inval;
    const std::byte* next = from.data();
    for_each_run(walker(*this, offset, from.size()), [&](std::byte* to, k::u64 bytes) {
        std::memcpy(to, next, bytes);
        next += bytes;
    });
    note_copied(reason::kernel_write, from.size());
    return {};
}

k::status sink::zero(k::u64 offset, k::u64 bytes) noexcept {
    if (!contains(offset, bytes)) [[unlikely]]
        return k::error::inval;
    for_each_run(walker(*this, offset, bytes), [](std::byte* to, k::u64 run) { std::memset(to, 0, run); });
    return {};
}

k::status copy(const source& from, sink& to, reason why) noexcept {
    if (to.size() < from.size()) return k::error::inval;
    walker in(from), out(to, 0, from.size());
    while (in.left()) {
        const k::u64 bytes = std::min(in.run(), out.run());
        std::memmove(out.address(), in.address(), bytes);
        in.advance(bytes);
        out.advance(bytes);
    }
    note_copied(why, from.size());
    return {};
}

bool equal(const source& a, const source& b) noexcept {
    if (a.size() != b.size()) return false;
    walker left(a), right(b);
    while (left.left()) {
        const k::u64 bytes = std::min(left.run(), right.run());
        if (std::memcmp(left.address(), right.address(), bytes)) return false;
        left.advance(bytes);
        right.advance(bytes);
    }
    return true;
}

} // namespace xio
