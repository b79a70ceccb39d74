// Text formatting without allocation: format_to(sink, "cpu {} at {:x}\n", id, address).
//
// {} takes integers, bool, char, pointers, strings and k::error; {:x} hexadecimal with 0x, {:X} without; {:>8} and
// {:<8} pad to a width with blanks, {:08} and {:08X} with zeros; {{ and }} are braces. A bad format prints what it can:
// a message must not kill its sender.
#pragma once

#include "kernel/lib/errno.h"
#include "kernel/lib/types.h"

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

namespace k {

// One argument, its type remembered.
class format_arg {
  public:
    enum class kind : u8 { unsigned_number, signed_number, boolean, character, pointer, text };

    template <std::integral T> constexpr format_arg(T v) : number_(static_cast<u64>(v)), bits_(sizeof(T) * 8) {
        if constexpr (std::same_as<T, bool>)
            kind_ = kind::boolean;
        else if constexpr (std::same_as<T, char>)
            kind_ = kind::character;
        else
            kind_ = std::is_signed_v<T> ? kind::signed_number : kind::unsigned_number;
    }
    template <class T>
    requires std::is_enum_v<T>
    constexpr format_arg(T v) : format_arg(static_cast<std::underlying_type_t<T>>(v)) {}
    constexpr format_arg(std::string_view v) : kind_(kind::text), text_(v) {}
    constexpr format_arg(const char* v) : format_arg(v ? std::string_view(v) : std::string_view("(null)")) {}
    format_arg(error e) : format_arg(name_of(e)) {}
    format_arg(const void* v) : kind_(kind::pointer), number_(reinterpret_cast<std::uintptr_t>(v)) {}

    kind type() const { return kind_; }
    u64 number() const { return number_; }
    // As the bits it had before it was widened, for hexadecimal.
    u64 bits() const { return bits_ < 64 ? number_ & ((u64{1} << bits_) - 1) : number_; }
    std::string_view text() const { return text_; }

  private:
    kind kind_{};
    u64 number_ = 0;
    u8 bits_ = 64;
    std::string_view text_{};
};

using format_args = std::span<const format_arg>;

// Where the characters go.
class text_sink {
  public:
    virtual void put(std::string_view text) = 0;

  protected:
    ~text_sink() = default;
};

// Into a caller's buffer; what does not fit is cut off.
class buffer_sink final : public text_sink {
  public:
    explicit buffer_sink(std::span<char> buffer) : buffer_(buffer) {}
    void put(std::string_view text) override;
    std::string_view view() const { return {buffer_.data(), used_}; }

  private:
    std::span<char> buffer_;
    std::size_t used_ = 0;
};

void format_with(text_sink& sink, std::string_view format, format_args args);

template <class... Args> void format_to(text_sink& sink, std::string_view format, const Args&... args) {
    const format_arg packed[] = {format_arg(args)..., format_arg(0)};
    format_with(sink, format, format_args(packed, sizeof...(Args)));
}

} // namespace k
