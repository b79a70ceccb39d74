// Moving payload with the CPU: the only place in the kernel that does, and each function enters it in the ledger.
#include "sys/xio/walk.h"

#include <cstring>

namespace xio {

namespace {

// Calls move(address, bytes already moved, bytes) for each piece of user memory from `slice` on; it says how many were
// good. Fewer than asked for ends it.
template <class Move> moved for_each_range(slice_base::range_cursor at, k::u64 bytes, Move move) {
    if (const user_range r = at.range(bytes); r.bytes == bytes) [[likely]] {
        const k::u64 good = move(r.base, k::u64{0}, bytes);
        return {good, good == bytes ? k::status() : k::status(k::error::fault)};
    }
    moved sum;
    while (sum.bytes < bytes) {
        const user_range r = at.range(bytes - sum.bytes);
        const k::u64 good = move(r.base, sum.bytes, r.bytes);
        sum.bytes += good;
        if (good != r.bytes) {
            sum.status = k::error::fault;
            break;
        }
        at.advance(r.bytes);
    }
    return sum;
}

} // namespace

moved source::read_some(k::u64 offset, std::span<std::byte> to, reason why) const noexcept {
    if (!contains(offset, to.size())) [[unlikely]]
        return {0, k::error::inval};
    std::byte* next = to.data();
    if (user_) {
        const moved m = for_each_range(cursor(offset), to.size(), [&](user_address from, k::u64 done, k::u64 bytes) {
            return memory().copy_in(next + done, from, bytes);
        });
        note_copied(why, m.bytes);
        return m;
    }
    for_each_run(walker(*this, offset, to.size()), [&](const std::byte* from, k::u64 bytes) {
        std::memcpy(next, from, bytes);
        next += bytes;
    });
    note_copied(why, to.size());
    return {to.size(), {}};
}

k::status source::read(k::u64 offset, std::span<std::byte> to) const noexcept {
    return read_some(offset, to).status;
}

moved sink::write_some(k::u64 offset, std::span<const std::byte> from, reason why) noexcept {
    if (!contains(offset, from.size())) [[unlikely]]
        return {0, k::error::inval};
    const std::byte* next = from.data();
    if (user_) {
        const moved m = for_each_range(cursor(offset), from.size(), [&](user_address to, k::u64 done, k::u64 bytes) {
            return memory().copy_out(to, next + done, bytes);
        });
        note_copied(why, m.bytes);
        return m;
    }
    for_each_run(walker(*this, offset, from.size()), [&](std::byte* to, k::u64 bytes) {
        std::memcpy(to, next, bytes);
        next += bytes;
    });
    note_copied(why, from.size());
    return {from.size(), {}};
}

k::status sink::write(k::u64 offset, std::span<const std::byte> from) noexcept {
    return write_some(offset, from).status;
}

moved sink::zero_some(k::u64 offset, k::u64 bytes) noexcept {
    if (!contains(offset, bytes)) [[unlikely]]
        return {0, k::error::inval};
    if (user_)
        return for_each_range(cursor(offset), bytes,
                              [&](user_address to, k::u64, k::u64 run) { return memory().zero_out(to, run); });
    for_each_run(walker(*this, offset, bytes), [](std::byte* to, k::u64 run) { std::memset(to, 0, run); });
    return {bytes, {}};
}

k::status sink::zero(k::u64 offset, k::u64 bytes) noexcept {
    return zero_some(offset, bytes).status;
}

namespace {

moved copy_pages(const source& from, sink& to, k::u64 bytes) {
    walker in(from, 0, bytes), out(to, 0, bytes);
    while (in.left()) {
        const k::u64 run = std::min(in.run(), out.run());
        std::memmove(out.address(), in.address(), run);
        in.advance(run);
        out.advance(run);
    }
    return {bytes, {}};
}

moved copy_to_user(const source& from, sink& to, k::u64 bytes) {
    walker in(from, 0, bytes);
    return for_each_range(to.cursor(0), bytes, [&](user_address at, k::u64, k::u64 room) {
        k::u64 done = 0;
        while (done < room) {
            const k::u64 run = std::min(in.run(), room - done);
            const k::u64 good = to.memory().copy_out(at + done, in.address(), run);
            done += good;
            if (good != run) break;
            in.advance(run);
        }
        return done;
    });
}

moved copy_from_user(const source& from, sink& to, k::u64 bytes) {
    walker out(to, 0, bytes);
    return for_each_range(from.cursor(0), bytes, [&](user_address at, k::u64, k::u64 room) {
        k::u64 done = 0;
        while (done < room) {
            const k::u64 run = std::min(out.run(), room - done);
            const k::u64 good = from.memory().copy_in(out.address(), at + done, run);
            done += good;
            if (good != run) break;
            out.advance(run);
        }
        return done;
    });
}

} // namespace

moved copy_some(const source& from, sink& to, reason why) noexcept {
    const k::u64 bytes = std::min(from.size(), to.size());
    kassert(from.binding() == binding::pages || to.binding() == binding::pages);
    const moved m = from.binding() == binding::range ? copy_from_user(from, to, bytes)
                    : to.binding() == binding::range ? copy_to_user(from, to, bytes)
                                                     : copy_pages(from, to, bytes);
    note_copied(why, m.bytes);
    return m;
}

k::status copy(const source& from, sink& to, reason why) noexcept {
    if (to.size() < from.size()) return k::error::inval;
    return copy_some(from, to, why).status;
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
