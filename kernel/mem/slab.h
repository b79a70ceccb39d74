// Small kernel memory: size classes of 16 to 2048 bytes, cut from pages, owned by CPUs.
//
// A slab belongs to the CPU that made it, and only that CPU takes objects from it or puts them back. An object
// freed on another CPU goes into a batch there, and a full batch travels home in one atomic step, without an
// interrupt. Larger requests (up to 16 MiB) are page blocks. Nothing here sleeps; no memory is a null.
// Any context but the log's.
#pragma once

#include "kernel/lib/types.h"

#include <cstddef>
#include <new>
#include <utility>

namespace mem {

[[nodiscard]] void* allocate(std::size_t bytes) noexcept; // aligned to 16
void free(void* object) noexcept;                         // null is allowed

// An object on the kernel heap, or null.
template <class T, class... Args> [[nodiscard]] T* make(Args&&... args) noexcept {
    static_assert(alignof(T) <= 16);
    void* at = allocate(sizeof(T));
    return at ? new (at) T(std::forward<Args>(args)...) : nullptr;
}
template <class T> void destroy(T* object) noexcept {
    if (!object) return;
    object->~T();
    mem::free(object);
}

// Owns an object on the kernel heap. (std::unique_ptr in little: <memory> would triple the time of every
// compilation that sees this header.)
template <class T> class box {
  public:
    box() = default;
    explicit box(T* object) noexcept : object_(object) {}
    box(box&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    box& operator=(box&& other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~box() { destroy(object_); }

    explicit operator bool() const { return object_ != nullptr; }
    T* get() const { return object_; }
    T& operator*() const { return *object_; }
    T* operator->() const { return object_; }
    T* release() { return std::exchange(object_, nullptr); }

  private:
    T* object_ = nullptr;
};
template <class T, class... Args> [[nodiscard]] box<T> make_box(Args&&... args) noexcept {
    return box<T>(make<T>(std::forward<Args>(args)...));
}

// Sends this CPU's half-full batches home and takes in what came home. The idle thread calls it.
void exchange_frees() noexcept;
// Gives this CPU's empty slabs back to the page allocator.
void trim_slabs() noexcept;

// Objects handed out and not yet given back; those in batches under way count as given back. Asks every CPU.
// Thread context.
k::u64 objects_in_use() noexcept;

} // namespace mem
