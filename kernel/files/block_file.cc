#include "kernel/files/block_file.h"

#include "drivers/block/cache.h"
#include "drivers/block/registry.h"
#include "kernel/files/caller.h"
#include "kernel/files/requests.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/mem/slab.h"
#include "sys/vm/loan.h"

namespace files {

namespace {

constexpr k::u64 direct_piece = 4 << 20; // that is lent at a time

// Only stable pages may reach a device: a range is lent, pages that were handed in are as their sender promised.
k::result<xio::source> bind(const xio::source& from) noexcept {
    if (from.binding() == xio::binding::pages) return from.clone();
    return vm::bind_source(static_cast<vm::space&>(from.memory()), from, xio::stability::stable);
}

class block_file final : public file {
  public:
    block_file(block::device_ref device, k::u32 flags) noexcept : file(flags), device_(std::move(device)) {}

    k::result<k::u64> read(xio::sink& to) noexcept override {
        lwkt::sleep_hold hold(position_lock_);
        const k::u64 done = TRY(read_at(to, position_));
        position_ += done;
        return done;
    }
    k::result<k::u64> write(xio::source& from) noexcept override {
        lwkt::sleep_hold hold(position_lock_);
        const k::u64 done = TRY(write_at(from, position_));
        position_ += done;
        return done;
    }
    k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept override;
    k::result<k::u64> write_at(xio::source& from, k::u64 offset) noexcept override;
    k::result<k::u64> seek(k::i64 offset, int from) noexcept override;
    k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept override;
    k::status sync() noexcept override { return device_->cache().sync(); }

  private:
    k::status describe(stat_record&) noexcept override { return k::error::badf; } // it always has a node
    bool is_on_blocks(k::u64 offset, k::u64 bytes) const noexcept {
        return (offset | bytes) % device_->properties().block_bytes == 0;
    }
    xio::moved read_direct(k::u64 offset, xio::sink& to) noexcept;
    xio::moved write_direct(k::u64 offset, const xio::source& from) noexcept;
    xio::moved write_cached(k::u64 offset, const xio::source& from) noexcept;
    k::status discard(k::u64 argument) noexcept;

    const block::device_ref device_;
    lwkt::sleep_lock position_lock_;
    k::u64 position_ GUARDED_BY(position_lock_) = 0;
};

k::result<k::u64> block_file::read_at(xio::sink& to, k::u64 offset) noexcept {
    if (offset >= device_->bytes() || to.empty()) return 0;
    if (!(flags() & open_direct)) return device_->cache().read(offset, to).as_result();
    if (!is_on_blocks(offset, to.size())) return k::error::inval;
    xio::sink part = TRY(to.slice(0, std::min(to.size(), device_->bytes() - offset)));
    return read_direct(offset, part).as_result();
}

k::result<k::u64> block_file::write_at(xio::source& from, k::u64 offset) noexcept {
    if (from.empty()) return 0;
    if (offset >= device_->bytes()) return k::error::nospc;
    xio::moved m;
    if (flags() & open_direct) {
        if (!is_on_blocks(offset, from.size())) return k::error::inval;
        const xio::source part = TRY(from.slice(0, std::min(from.size(), device_->bytes() - offset)));
        m = write_direct(offset, part);
    } else {
        m = write_cached(offset, from);
        if (m.bytes && (flags() & open_data_sync)) TRY(sync());
    }
    return m.as_result();
}

xio::moved block_file::read_direct(k::u64 offset, xio::sink& to) noexcept {
    xio::moved sum;
    while (sum.bytes < to.size() && sum.status) {
        auto piece = to.slice(sum.bytes, std::min(direct_piece, to.size() - sum.bytes));
        xio::moved m;
        if (piece->binding() == xio::binding::pages) {
            m = device_->cache().read_direct(offset + sum.bytes, *piece);
        } else {
            auto& space = static_cast<vm::space&>(piece->memory());
            auto bound = vm::bind_sink(space, *piece);
            if (bound) {
                m = device_->cache().read_direct(offset + sum.bytes, *bound);
            } else if (bound.error() != k::error::again) {
                m.status = bound.error();
            } else { // memory that cannot be lent: by way of fresh pages
                auto fresh = xio::sink::fresh(piece->size());
                if (!fresh) return {sum.bytes, fresh.error()};
                const xio::moved got = device_->cache().read_direct(offset + sum.bytes, *fresh);
                auto filled = fresh->into_source();
                if (!filled) return {sum.bytes, filled.error()};
                const xio::source good = *filled->slice(0, got.bytes);
                m = vm::deliver(space, *piece, good);
                if (m.status) m.status = got.status;
            }
        }
        sum.bytes += m.bytes;
        sum.status = m.status;
    }
    return sum;
}

xio::moved block_file::write_direct(k::u64 offset, const xio::source& from) noexcept {
    xio::moved sum;
    while (sum.bytes < from.size() && sum.status) {
        auto piece = from.slice(sum.bytes, std::min(direct_piece, from.size() - sum.bytes));
        auto bound = bind(*piece);
        if (!bound) return {sum.bytes, bound.error()};
        const xio::moved m = device_->cache().write_direct(offset + sum.bytes, *bound, flags() & open_data_sync);
        sum.bytes += m.bytes;
        sum.status = m.status;
    }
    return sum;
}

// Whole pages are lent, and the cache takes them as they are.
xio::moved block_file::write_cached(k::u64 offset, const xio::source& from) noexcept {
    const bool on_pages = from.binding() == xio::binding::range &&
                          (offset | from.front_range().base) % arch::page_size == 0 &&
                          from.front_range().bytes == from.size();
    if (on_pages && vm::worth_lending(static_cast<vm::space&>(from.memory()), from.size())) {
        auto bound = bind(from);
        if (bound) return device_->cache().write(offset, *bound);
    }
    return device_->cache().write(offset, from);
}

k::result<k::u64> block_file::seek(k::i64 offset, int from) noexcept {
    enum : int { from_start, from_here, from_end };
    lwkt::sleep_hold hold(position_lock_);
    k::i64 base = 0;
    switch (from) {
    case from_start: break;
    case from_here: base = static_cast<k::i64>(position_); break;
    case from_end: base = static_cast<k::i64>(device_->bytes()); break;
    default: return k::error::inval;
    }
    k::i64 to;
    if (__builtin_add_overflow(base, offset, &to)) return k::error::overflow;
    if (to < 0) return k::error::inval;
    position_ = static_cast<k::u64>(to);
    return position_;
}

// BLKDISCARD: where, and how many bytes.
k::status block_file::discard(k::u64 argument) noexcept {
    struct range {
        k::u64 offset, bytes;
    };
    if (!writable()) return k::error::badf;
    const range r = TRY(argument_at<range>(argument));
    if (!is_on_blocks(r.offset, r.bytes)) return k::error::inval;
    if (r.offset > device_->bytes() || r.bytes > device_->bytes() - r.offset) return k::error::inval;
    return device_->cache().discard(r.offset, r.bytes);
}

k::result<k::u64> block_file::ioctl(k::u32 request, k::u64 argument) noexcept {
    const block::disk_properties& p = device_->properties();
    switch (request) {
    case request_block_is_read_only: TRY(answer(argument, p.read_only ? 1 : 0)); return 0;
    case request_block_sectors: TRY(answer(argument, device_->sectors())); return 0;
    case request_block_bytes: TRY(answer(argument, device_->bytes())); return 0;
    case request_block_unit: TRY(answer(argument, static_cast<int>(p.block_bytes))); return 0;
    case request_block_physical_unit: TRY(answer(argument, p.physical_bytes)); return 0;
    case request_block_flush:
        if (!proc::current_process().who.privileged()) return k::error::acces;
        TRY(device_->cache().sync());
        device_->cache().drop_clean();
        return 0;
    case request_block_discard: TRY(discard(argument)); return 0;
    default: return k::error::notty;
    }
}

} // namespace

k::result<file_ref> open_block_device(k::u64 number, k::u32 flags) noexcept {
    block::device_ref device = block::find_device(number >> 8 & 0xfff, number & 0xff);
    if (!device) return k::error::nxio;
    const bool writes = (flags & open_access_mode) != open_read_only;
    if (writes && device->properties().read_only) return k::error::rofs;
    auto* made = mem::make<block_file>(std::move(device), flags);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

} // namespace files
