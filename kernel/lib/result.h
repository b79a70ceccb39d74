// k::result<T>: a value or an error, and TRY, the one way to pass an error on.
//
// [[nodiscard]], so that no error is lost by accident. The interface is the part of std::expected
// that we use; value() asserts.
#pragma once

#include "kernel/lib/errno.h"
#include "kernel/lib/panic.h"

#include <type_traits>
#include <utility>

namespace k {

template <class T> class [[nodiscard]] result {
  public:
    static_assert(!std::is_reference_v<T>, "a result holds values; return a pointer instead");

    result(T value) : value_(std::move(value)), ok_(true) {}
    result(k::error e) : error_(e), ok_(false) {}
    result(result&& other) : error_(other.error_), ok_(other.ok_) {
        if (ok_) new (&value_) T(std::move(other.value_));
    }
    result(const result&) = delete;
    result& operator=(const result&) = delete;
    result& operator=(result&& other) {
        if (this == &other) return *this;
        this->~result();
        new (this) result(std::move(other));
        return *this;
    }
    ~result() {
        if (ok_) value_.~T();
    }

    bool has_value() const { return ok_; }
    explicit operator bool() const { return ok_; }

    T& value() & {
        kassert(ok_);
        return value_;
    }
    T&& value() && {
        kassert(ok_);
        return std::move(value_);
    }
    T& operator*() & { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    T value_or(T other) && { return ok_ ? std::move(value_) : std::move(other); }

    k::error error() const {
        kassert(!ok_);
        return error_;
    }

  private:
    union {
        T value_;
    };
    k::error error_{};
    bool ok_;
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
