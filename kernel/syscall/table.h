// The system call table: one entry a call, declared once. Dispatch, tracing and docs/syscalls.md come from it.
//
// A handler is an ordinary function of typed parameters; the kinds of the arguments are deduced from their types:
//
//     k::result<k::u64> sys_read(fd from, user_buffer to, k::u64 bytes);
//     constexpr entry entries[] = {
//         call<sys_read>(0, "read", restarts),
//         call<sys_flock>(73, "flock", restarts, "only of files that have a name"),
//         ...
//     };
//     } // namespace
//     constinit const std::span<const entry> file_calls = entries;
//
// Numbers are Linux's for x86-64. Each *_calls.cc keeps its part of the table (declared in calls.h); table.cc joins
// them. (The namespace is in the plural because unistd.h, which some standard headers drag in, has a function of the
// other name.)
#pragma once

#include "arch/machine.h"
#include "kernel/lib/result.h"
#include "sys/vm/user_pointer.h"

#include <array>
#include <atomic>
#include <string_view>

namespace syscalls {

// What an argument is, for the tracer and the docs.
enum class kind : k::u8 { number, hexadecimal, descriptor, text, address };

struct fd {
    int number;
};
// Flags and masks: traced in hexadecimal.
struct bits {
    k::u64 value;
};
// The address of payload bytes.
struct user_buffer {
    xio::user_address at;
};
// A path or another text that ends with a zero byte.
struct user_text {
    xio::user_address at;
};

// What to do when a signal ended the call (EINTR) and the handler wants SA_RESTART, or no handler ran.
enum class on_signal : k::u8 {
    restarts,    // begins anew, also after a handler with SA_RESTART
    ends,        // EINTR after any handler, begins anew if none ran
    starts_over, // begins anew whatever the handler says: the signal came before the call
};
using enum on_signal;

constexpr unsigned most_arguments = 6;

struct entry {
    k::u16 number;
    on_signal after_signal;
    k::u8 arguments;
    std::string_view name;
    std::array<kind, most_arguments> kinds;
    // What the caller's rax becomes: the value, or a negative error number.
    k::i64 (*run)(const arch::user_registers& r) noexcept;
    std::string_view note; // for the docs: what is left out; empty: nothing that we know of
    // It reads or replaces more of the caller's registers than its arguments: it cannot run at once (dispatch.h).
    bool needs_registers = false;
};

constexpr k::i64 failure(k::error why) noexcept {
    return -static_cast<k::i64>(why);
}

namespace detail {

template <class T> struct convert {
    static_assert(std::is_integral_v<T>, "an argument is a number, fd, bits, user_buffer, user_text or user_pointer");
    static constexpr kind what = kind::number;
    static T from(k::u64 raw) noexcept { return static_cast<T>(raw); }
};
template <> struct convert<fd> {
    static constexpr kind what = kind::descriptor;
    static fd from(k::u64 raw) noexcept { return {static_cast<int>(raw)}; }
};
template <> struct convert<bits> {
    static constexpr kind what = kind::hexadecimal;
    static bits from(k::u64 raw) noexcept { return {raw}; }
};
template <> struct convert<user_buffer> {
    static constexpr kind what = kind::address;
    static user_buffer from(k::u64 raw) noexcept { return {raw}; }
};
template <> struct convert<user_text> {
    static constexpr kind what = kind::text;
    static user_text from(k::u64 raw) noexcept { return {raw}; }
};
template <class T> struct convert<vm::user_pointer<T>> {
    static constexpr kind what = kind::address;
    static vm::user_pointer<T> from(k::u64 raw) noexcept { return vm::user_pointer<T>(raw); }
};

inline k::u64 argument(const arch::user_registers& r, unsigned index) noexcept {
    switch (index) {
    case 0: return r.rdi;
    case 1: return r.rsi;
    case 2: return r.rdx;
    case 3: return r.r10;
    case 4: return r.r8;
    default: return r.r9;
    }
}

template <auto Function> struct adapter;
template <class... Args, k::result<k::u64> (*Function)(Args...)> struct adapter<Function> {
    static constexpr std::array<kind, most_arguments> kinds{convert<Args>::what...};
    static constexpr k::u8 count = sizeof...(Args);
    static k::i64 run(const arch::user_registers& r) noexcept {
        return run_with(r, std::index_sequence_for<Args...>());
    }
    template <std::size_t... Index>
    static k::i64 run_with([[maybe_unused]] const arch::user_registers& r, std::index_sequence<Index...>) {
        auto result = Function(convert<Args>::from(argument(r, Index))...);
        return result ? static_cast<k::i64>(*result) : failure(result.error());
    }
};

} // namespace detail

template <auto Function>
constexpr entry call(k::u16 number, std::string_view name, on_signal after = ends, std::string_view note = {}) {
    using adapted = detail::adapter<Function>;
    return {number, after, adapted::count, name, adapted::kinds, adapted::run, note};
}

constexpr entry with_registers(entry of) {
    of.needs_registers = true;
    return of;
}

// Joins the parts. Boot, once.
void initialise() noexcept;
// From now on no call runs at once. Any time.
void hold_back_all() noexcept;

constexpr unsigned most_calls = 512; // Linux's numbers are below
constexpr unsigned own_calls = 1024; // and our own from here on
constexpr unsigned most_own_calls = 64;

namespace detail {
constexpr unsigned all_numbers = own_calls + most_own_calls;
extern const entry* by_number[all_numbers];
extern std::atomic<const entry*> at_once[all_numbers];
} // namespace detail

// The entry of a number, or null.
inline const entry* find(k::u64 number) noexcept {
    return number < detail::all_numbers ? detail::by_number[number] : nullptr;
}

// The same, but null too for those that must not run at once.
inline const entry* find_at_once(k::u64 number) noexcept {
    return number < detail::all_numbers ? detail::at_once[number].load(std::memory_order_relaxed) : nullptr;
}

} // namespace syscalls
