// k::ref<T>: a counted reference to an object that counts its holders.
//
// T derives from k::counted<T> and says in T::last_holder_left() how it goes away; that runs on whichever CPU lets go
// last. Handles are moved; share() says that there will be one more holder.
#pragma once

#include "kernel/lib/panic.h"
#include "kernel/lib/types.h"

#include <atomic>
#include <utility>

namespace k {

template <class T> class ref;

template <class T> class counted {
  public:
    counted() = default;
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;

    u32 holders() const noexcept { return holders_.load(std::memory_order_acquire); }

  private:
    friend class ref<T>;
    std::atomic<u32> holders_ = 1;
};

template <class T> class ref {
  public:
    ref() = default;
    // Takes over a hold that the caller has (of a fresh object, the first).
    explicit ref(T* object) noexcept : object_(object) {}
    ref(ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    // A derived class's reference as its base's.
    template <class U>
    requires std::derived_from<U, T> ref(ref<U>&& other)
    noexcept : object_(other.release()) {}
    ref& operator=(ref&& other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~ref() { reset(); }

    // One more holder of an object that somebody holds now.
    static ref to(T& object) noexcept {
        const u32 before = object.holders_.fetch_add(1, std::memory_order_relaxed);
        kassert(before && before < ~u32{0} / 2);
        return ref(&object);
    }
    // The same of an object that may just be going away: empty then. The caller keeps its memory from being freed.
    static ref to_living(T& object) noexcept {
        u32 count = object.holders_.load(std::memory_order_relaxed);
        while (count)
            if (object.holders_.compare_exchange_weak(count, count + 1, std::memory_order_acquire)) return ref(&object);
        return ref();
    }
    ref share() const noexcept { return object_ ? to(*object_) : ref(); }

    void reset() noexcept {
        T* object = std::exchange(object_, nullptr);
        if (object && object->holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) object->last_holder_left();
    }
    // The same, but an object whose last holder this was is the caller's to end: it is what is returned, else null.
    T* drop() noexcept {
        T* object = std::exchange(object_, nullptr);
        return object && object->holders_.fetch_sub(1, std::memory_order_acq_rel) == 1 ? object : nullptr;
    }
    T* release() noexcept { return std::exchange(object_, nullptr); }

    explicit operator bool() const { return object_ != nullptr; }
    T* get() const { return object_; }
    T& operator*() const { return *object_; }
    T* operator->() const { return object_; }
    // Is it the same object?
    bool operator==(const ref& other) const { return object_ == other.object_; }

  private:
    T* object_ = nullptr;
};

} // namespace k
