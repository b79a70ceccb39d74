#include "drivers/block/gather.h"

#include "drivers/block/batch.h"
#include "drivers/busdma/busdma.h"

namespace block {

// What begins where the last stretch ends becomes part of it. Without memory for that it stays one of its own.
bool gather::merge(k::u64 offset, const xio::source& from) noexcept {
    if (!count_) return false;
    stretch& last = stretches_[count_ - 1];
    if (last.offset + last.from.size() != offset) return false;
    auto both = xio::source::append(last.from, from);
    if (!both) return false;
    last.from = *std::move(both);
    return true;
}

void gather::write(k::u64 offset, xio::source from) noexcept {
    if (from.empty() || merge(offset, from)) return;
    if (count_ == most_stretches) finish();
    stretches_[count_].offset = offset;
    stretches_[count_++].from = std::move(from);
}

void gather::finish() noexcept {
    const disk& d = on_.on();
    unsigned at = 0; // the first stretch of which something is left
    while (at < count_) {
        batch<most_requests> b;
        while (at < count_ && !b.full()) {
            stretch& s = stretches_[at];
            const k::u64 fits = busdma::fitting(d.limits(), d.bounce_pages(), s.from, on_.properties().block_bytes);
            if (!fits || s.offset % sector_bytes) {
                ended_(s.offset, s.from.size(), k::error::inval, argument_);
                s.from = {};
            } else {
                request& r = b.add();
                r.what = operation::write;
                r.sector = s.offset >> sector_shift;
                r.from = s.from.split_front(fits);
                s.offset += fits;
            }
            if (s.from.empty()) at++;
        }
        k::u64 offsets[most_requests]; // submitting counts a partition's start in
        for (unsigned i = 0; i < b.requests().size(); i++)
            offsets[i] = b.requests()[i].sector << sector_shift;
        b.run(on_);
        for (unsigned i = 0; i < b.requests().size(); i++) {
            const request& r = b.requests()[i];
            ended_(offsets[i], r.bytes(), as_seen_outside(r.status), argument_);
        }
    }
    count_ = 0;
}

} // namespace block
