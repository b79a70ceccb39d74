// Walking the bytes of a slice in the direct map: the one place that turns extents into addresses. Each step is a
// physically contiguous run, as long as the extent allows.
#pragma once

#include "sys/xio/xio.h"

#include <algorithm>

namespace xio {

class walker {
  public:
    explicit walker(const slice_base& slice) noexcept : at_(slice.start()), left_(slice.size()) {}
    // Starts `offset` bytes in, at most to the end.
    walker(const slice_base& slice, k::u64 offset, k::u64 bytes) noexcept : at_(slice.start()), left_(bytes) {
        if (offset && bytes) at_.advance(offset);
    }

    k::u64 left() const { return left_; }
    // Bytes that lie together here.
    k::u64 run() const { return std::min(at_.at().bytes - at_.offset, left_); }
    // Where they are.
    std::byte* address() const {
        const extent& e = at_.at();
        return platform::direct(e.first) + e.offset + at_.offset;
    }
    platform::physical_address physical() const {
        const extent& e = at_.at();
        return platform::physical(e.first) + e.offset + at_.offset;
    }
    void advance(k::u64 bytes) {
        left_ -= bytes;
        if (left_) at_.advance(bytes);
    }

  private:
    position at_;
    k::u64 left_;
};

// Calls visit(address, bytes) for each contiguous run.
template <class Visit> void for_each_run(walker w, Visit visit) {
    while (w.left()) {
        const k::u64 run = w.run();
        visit(w.address(), run);
        w.advance(run);
    }
}

} // namespace xio
