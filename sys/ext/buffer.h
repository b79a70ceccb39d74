// ext::buffer: some bytes of memory that devices and the cache can reach: a block's, or a record's.
#pragma once

#include "kernel/lib/panic.h"
#include "kernel/lib/result.h"
#include "kernel/mem/slab.h"

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

namespace ext {

class buffer {
  public:
    static k::result<buffer> create(std::size_t bytes) noexcept {
        buffer made;
        made.at_ = static_cast<std::byte*>(mem::allocate(bytes));
        if (!made.at_) return k::error::nomem;
        made.bytes_ = bytes;
        return made;
    }
    buffer() = default;
    buffer(buffer&& other) noexcept : at_(std::exchange(other.at_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    buffer& operator=(buffer&& other) noexcept {
        std::swap(at_, other.at_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~buffer() { mem::free(at_); }

    std::span<std::byte> bytes() noexcept { return {at_, bytes_}; }
    std::span<const std::byte> bytes() const noexcept { return {at_, bytes_}; }
    void zero() noexcept { std::memset(at_, 0, bytes_); }
    // A record that lies at an offset; of trivial types without alignment (format.h), and inside the buffer.
    template <class T> T& as(std::size_t offset = 0) noexcept {
        kassert(offset + sizeof(T) <= bytes_);
        return *reinterpret_cast<T*>(at_ + offset);
    }

  private:
    std::byte* at_ = nullptr;
    std::size_t bytes_ = 0;
};

} // namespace ext
