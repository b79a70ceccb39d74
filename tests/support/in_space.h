// Lets a test's thread use a user space as if it were a process's: its page table is loaded on this CPU.
#pragma once

#include "kernel/lwkt/thread.h"
#include "sys/vm/space.h"

#include <optional>

namespace tests {

class in_space {
  public:
    explicit in_space(vm::space& s) noexcept {
        lwkt::critical section;
        lwkt::self().context.set_user(&s.map_for_cpu(), nullptr);
    }
    ~in_space() {
        lwkt::critical section;
        lwkt::self().context.set_user(nullptr, nullptr);
    }
    in_space(const in_space&) = delete;
};

inline bool put(vm::space& s, vm::user_address at, k::u32 value) {
    in_space here(s);
    return s.copy_out(at, &value, sizeof(value)) == sizeof(value);
}

// What is read there; nothing if it may not be.
inline std::optional<k::u32> get(vm::space& s, vm::user_address at) {
    in_space here(s);
    k::u32 value;
    if (s.copy_in(&value, at, sizeof(value)) != sizeof(value)) return std::nullopt;
    return value;
}

// Fresh memory at `at`, or anywhere.
inline vm::user_address fresh(vm::space& s, k::u64 pages, vm::user_address at = 0,
                              vm::sharing how = vm::sharing::private_copy) {
    vm::map_request what{.hint = at, .bytes = pages << arch::page_shift, .how = how, .fixed = at != 0};
    auto done = s.map(what);
    return done ? *done : 0;
}

} // namespace tests
