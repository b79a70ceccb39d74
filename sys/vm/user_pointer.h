// Typed pointers into user memory: single objects and small arrays, each access a checked copy. Payload does not
// come this way but as an xio.
#pragma once

#include "kernel/lib/result.h"
#include "sys/xio/user_memory.h"

#include <span>
#include <string_view>
#include <type_traits>

namespace vm {

// The address of a T in the space of the running thread. Nothing is known of it until it is read or written; EFAULT
// then. Thread context, may block. Null is an address like any other: test it where null has a meaning.
template <class T>
requires std::is_trivially_copyable_v<T>
class user_pointer {
  public:
    using value_type = std::remove_const_t<T>;

    user_pointer() = default;
    explicit user_pointer(xio::user_address at) noexcept : at_(at) {}

    explicit operator bool() const noexcept { return at_ != 0; }
    xio::user_address address() const noexcept { return at_; }
    user_pointer operator+(k::u64 elements) const noexcept { return user_pointer(at_ + elements * sizeof(T)); }

    k::result<value_type> read(xio::user_memory& memory) const noexcept {
        value_type value;
        if (memory.copy_in(&value, at_, sizeof(value)) != sizeof(value)) return k::error::fault;
        return value;
    }
    k::status write(xio::user_memory& memory, const value_type& value) const noexcept requires(!std::is_const_v<T>) {
        if (memory.copy_out(at_, &value, sizeof(value)) != sizeof(value)) return k::error::fault;
        return {};
    }
    k::status read_array(xio::user_memory& memory, std::span<value_type> to) const noexcept {
        if (memory.copy_in(to.data(), at_, to.size_bytes()) != to.size_bytes()) return k::error::fault;
        return {};
    }
    k::status write_array(xio::user_memory& memory, std::span<const value_type> from) const noexcept
        requires(!std::is_const_v<T>) {
        if (memory.copy_out(at_, from.data(), from.size_bytes()) != from.size_bytes()) return k::error::fault;
        return {};
    }

  private:
    xio::user_address at_ = 0;
};

// A text that ends with a zero byte, copied into `buffer`. EFAULT; ENAMETOOLONG if no zero byte comes within it.
k::result<std::string_view> read_user_text(xio::user_memory& memory, xio::user_address at,
                                           std::span<char> buffer) noexcept;

} // namespace vm
