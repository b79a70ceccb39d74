// block::gather: writes that one thread has ready go to the disk together.
//
// Those that continue each other on the device are merged, as far as one request can carry them; those that lie apart
// are under way at the same time, so that many small ones take one round trip and not one each. Nothing is merged
// across finish(), and so never across a flush.
#pragma once

#include "drivers/block/device.h"

namespace block {

class gather {
  public:
    static constexpr unsigned most_stretches = 16; // that wait to be written
    static constexpr unsigned most_requests = 16;  // under way at once

    // What became of bytes of the device is told in pieces, from write() or finish(): EIO, EINVAL.
    using ended_function = void (*)(k::u64 offset, k::u64 bytes, k::status status, void* argument);
    gather(device& on, ended_function ended, void* argument) noexcept : on_(on), ended_(ended), argument_(argument) {}
    gather(const gather&) = delete;

    // Takes bytes for a place on the device, bound and stable. They are on their way at the latest when it is full, and
    // over when finish() is. Thread context, no token held.
    void write(k::u64 offset, xio::source from) noexcept;
    void finish() noexcept;

  private:
    struct stretch {
        k::u64 offset = 0;
        xio::source from;
    };
    bool merge(k::u64 offset, const xio::source& from) noexcept;

    device& on_;
    const ended_function ended_;
    void* const argument_;
    stretch stretches_[most_stretches];
    unsigned count_ = 0;
};

} // namespace block
