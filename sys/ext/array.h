// A sorted array that grows: for what is looked up by bisection and changed seldom. Errors are values.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/mem/slab.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>

namespace ext {

template <class T>
requires std::is_trivially_copyable_v<T>
class array {
  public:
    array() = default;
    array(array&& other) noexcept
        : at_(std::exchange(other.at_, nullptr)), count_(std::exchange(other.count_, 0)),
          room_(std::exchange(other.room_, 0)) {}
    array& operator=(array&& other) noexcept {
        std::swap(at_, other.at_);
        std::swap(count_, other.count_);
        std::swap(room_, other.room_);
        return *this;
    }
    ~array() { mem::free(at_); }

    std::size_t size() const noexcept { return count_; }
    bool empty() const noexcept { return !count_; }
    T& operator[](std::size_t i) noexcept {
        kassert(i < count_);
        return at_[i];
    }
    const T& operator[](std::size_t i) const noexcept {
        kassert(i < count_);
        return at_[i];
    }
    std::span<T> all() noexcept { return {at_, count_}; }
    std::span<const T> all() const noexcept { return {at_, count_}; }
    T& back() noexcept { return (*this)[count_ - 1]; }

    // Room for so many in all. ENOMEM.
    k::status reserve(std::size_t wanted) noexcept {
        if (wanted <= room_) return {};
        const std::size_t room = std::max<std::size_t>({wanted, room_ * 2, 4});
        auto* fresh = static_cast<T*>(mem::allocate(room * sizeof(T)));
        if (!fresh) return k::error::nomem;
        if (count_) std::memcpy(fresh, at_, count_ * sizeof(T));
        mem::free(std::exchange(at_, fresh));
        room_ = room;
        return {};
    }
    k::status append(const T& what) noexcept { return insert(count_, what); }
    k::status insert(std::size_t before, const T& what) noexcept {
        TRY(reserve(count_ + 1));
        std::memmove(at_ + before + 1, at_ + before, (count_ - before) * sizeof(T));
        at_[before] = what;
        count_++;
        return {};
    }
    k::status append_all(std::span<const T> what) noexcept {
        TRY(reserve(count_ + what.size()));
        if (!what.empty()) std::memcpy(at_ + count_, what.data(), what.size_bytes());
        count_ += what.size();
        return {};
    }
    void erase(std::size_t first, std::size_t count = 1) noexcept {
        std::memmove(at_ + first, at_ + first + count, (count_ - first - count) * sizeof(T));
        count_ -= count;
    }
    void clear() noexcept { count_ = 0; }

  private:
    T* at_ = nullptr;
    std::size_t count_ = 0, room_ = 0;
};

} // namespace ext
