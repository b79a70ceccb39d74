// Bytes for tests: buffers from the kernel heap (stacks are small) and patterns to fill them with.
#pragma once

#include "kernel/lib/random.h"
#include "kernel/mem/slab.h"

#include <cstring>
#include <span>

namespace support {

class buffer {
  public:
    // Empty, and false, without memory.
    explicit buffer(std::size_t size) : data_(static_cast<std::byte*>(mem::allocate(size))), size_(data_ ? size : 0) {
        if (data_) std::memset(data_, 0, size);
    }
    buffer(const buffer&) = delete;
    buffer& operator=(const buffer&) = delete;
    ~buffer() { mem::free(data_); }

    explicit operator bool() const { return data_ != nullptr; }
    std::span<std::byte> bytes() const { return {data_, size_}; }
    std::span<std::byte> first(std::size_t count) const { return bytes().first(count); }
    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }

  private:
    std::byte* data_;
    std::size_t size_;
};

// Bytes that depend on the seed and on their place.
inline void fill_pattern(std::span<std::byte> bytes, k::u64 seed) {
    k::random random(seed * 2 + 1);
    for (std::byte& b : bytes)
        b = static_cast<std::byte>(random.next() >> 32);
}

inline bool has_pattern(std::span<const std::byte> bytes, k::u64 seed) {
    k::random random(seed * 2 + 1);
    for (std::byte b : bytes)
        if (b != static_cast<std::byte>(random.next() >> 32)) return false;
    return true;
}

inline bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

inline bool all_bytes_are(std::span<const std::byte> bytes, unsigned value) {
    for (std::byte b : bytes)
        if (b != static_cast<std::byte>(value)) return false;
    return true;
}

} // namespace support
