// sf_buf: looking at the bytes of a slice at contiguous addresses, for as long as the object lives.
//
// One contiguous run costs nothing: it is where the direct map has it. Scattered pages are shown through a window
// on this CPU only, so a view is made, used and dropped by one thread that is not handed over meanwhile.
// ENOMEM; EOPNOTSUPP for bytes that do not fill pages in the middle (a list put together from odd
// pieces): copy those.
#pragma once

#include "sys/xio/walk.h"

namespace xio {

// For reading: std::span<const std::byte>. Writing through it faults where scattered pages are shown.
class source_view {
  public:
    static k::result<source_view> map(const source& from) noexcept;
    std::span<const std::byte> bytes() const { return {address_, size_}; }

  private:
    source_view(const std::byte* address, k::u64 size, platform::window window) noexcept
        : window_(std::move(window)), address_(address), size_(size) {}
    platform::window window_;
    const std::byte* address_;
    k::u64 size_;
};

// For filling.
class sink_view {
  public:
    static k::result<sink_view> map(sink& to) noexcept;
    std::span<std::byte> bytes() const { return {address_, size_}; }

  private:
    sink_view(std::byte* address, k::u64 size, platform::window window) noexcept
        : window_(std::move(window)), address_(address), size_(size) {}
    platform::window window_;
    std::byte* address_;
    k::u64 size_;
};

} // namespace xio
