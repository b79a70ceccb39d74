// k::result<T>: a value or an error, and TRY, the one way to pass an error on.
//
// [[nodiscard]], so that no error is lost by accident. The interface is the part of std::expected
// that we use; value() asserts.
#pragma once

#include "kernel/lib/errno.h"
#include "kernel/lib/panic.h"

#include <new>
#include <type_traits>
#include <utility>

namespace k {

namespace detail {

// What a result holds.
template <class T, bool Plain> struct outcome {
    union {
        T value;
    };
    k::error error{};
    bool ok;

    explicit outcome(T&& v) : value(std::move(v)), ok(true) {}
    explicit outcome(k::error e) : error(e), ok(false) {}
    outcome(outcome&& other) : error(other.error), ok(other.ok) {
        if (ok) new (&value) T(std::move(other.value));
    }
    outcome& operator=(outcome&& other) {
        if (this == &other) return *this;
        this->~outcome();
        new (this) outcome(std::move(other));
        return *this;
    }
    ~outcome() {
        if (ok) value.~T();
    }
};

// A number or a pointer makes one that is as plain, and comes back in registers.
template <class T> struct outcome<T, true> {
    union {
        T value;
    };
    k::error error{};
    bool ok;

    explicit outcome(T v) : value(v), ok(true) {}
    explicit outcome(k::error e) : error(e), ok(false) {}
};

} // namespace detail

template <class T> class [[nodiscard]] result {
  public:
    static_assert(!std::is_reference_v<T>, "a result holds values; return a pointer instead");

    result(T value) : is_(std::move(value)) {}
    result(k::error e) : is_(e) {}
    result(result&&) = default;
    result& operator=(result&&) = default;
    result(const result&) = delete;
    result& operator=(const result&) = delete;

    bool has_value() const { return is_.ok; }
    explicit operator bool() const { return is_.ok; }

    T& value() & {
        kassert(is_.ok);
        return is_.value;
    }
    T&& value() && {
        kassert(is_.ok);
        return std::move(is_.value);
    }
    T& operator*() & { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    T value_or(T other) && { return is_.ok ? std::move(is_.value) : std::move(other); }

    k::error error() const {
        kassert(!is_.ok);
        return is_.error;
    }

  private:
    detail::outcome<T, std::is_trivially_copyable_v<T>> is_;
};

template <> class [[nodiscard]] result<void> {
  public:
    result() = default;
    result(k::error e) : error_(e), ok_(false) {}

    bool has_value() const { return ok_; }
    explicit operator bool() const { return ok_; }
    void value() const { kassert(ok_); }

    k::error error() const {
        kassert(!ok_);
        return error_;
    }

  private:
    k::error error_{};
    bool ok_ = true;
};

using status = result<void>;

} // namespace k

// The value of a k::result expression, or return its error from the enclosing function.
#define TRY(expression)                                                                                                \
    ({                                                                                                                 \
        auto try_result_ = (expression);                                                                               \
        if (!try_result_) [[unlikely]]                                                                                 \
            return try_result_.error();                                                                                \
        std::move(try_result_).value();                                                                                \
    })
