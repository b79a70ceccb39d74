// The physical side of a slice: the segments that a device is given.
#pragma once

#include "sys/xio/walk.h"

namespace xio {

struct segment {
    platform::physical_address address;
    k::u64 bytes;
};

// What a device can take. Zero means no limit.
struct segment_limits {
    k::u64 segment_bytes = 0; // the longest segment
    k::u64 segments = 0;      // how many in all
    k::u64 boundary = 0;      // a power of two that no segment may cross
};

// Yields one segment after the other; runs that lie together in memory become one, as far as the limits allow.
class segment_walker {
  public:
    segment_walker(const slice_base& slice, const segment_limits& limits) noexcept : walker_(slice), limits_(limits) {}

    bool done() const noexcept { return walker_.left() == 0; }
    segment next() noexcept {
        segment s{walker_.physical(), 0};
        while (walker_.left() && walker_.physical() == s.address + s.bytes) {
            const k::u64 part = std::min(walker_.run(), room(s));
            if (!part) break;
            s.bytes += part;
            walker_.advance(part);
        }
        return s;
    }

  private:
    // How much longer the segment may get.
    k::u64 room(const segment& s) const noexcept {
        k::u64 room = limits_.segment_bytes ? limits_.segment_bytes - s.bytes : ~k::u64{0};
        if (limits_.boundary) {
            const k::u64 edge = limits_.boundary - (s.address & (limits_.boundary - 1));
            room = std::min(room, edge - s.bytes);
        }
        return room;
    }

    walker walker_;
    segment_limits limits_;
};

// Calls visit(segment) for each. E2BIG, before the first call, if there would be more than limits.segments.
template <class Visit>
k::status for_each_segment(const slice_base& slice, const segment_limits& limits, Visit visit) noexcept {
    if (limits.segments) {
        k::u64 count = 0;
        for (segment_walker w(slice, limits); !w.done(); w.next())
            if (++count > limits.segments) return k::error::toobig;
    }
    for (segment_walker w(slice, limits); !w.done();)
        visit(w.next());
    return {};
}

} // namespace xio
