// The binding state `range`: bytes named by user addresses, nothing looked up, nothing held.
//
// Good only inside the system call that made it, in the thread that made it: the ranges themselves belong to the
// caller and are not copied. Moving bytes through a range faults pages in and may therefore block. What is bad at some
// byte ends the move there; how many bytes were good is always known. Operations that need pages (segments, views,
// comparing, messages) want a bound xio; sys/vm binds (sys/vm/loan.h).
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lib/types.h"

#include <span>

namespace xio {

using user_address = k::u64;

// A space of user addresses, as far as moving bytes goes. Each function moves bytes in order and returns how many
// were good: all of them, or those before the first byte that may not be reached so. Any address and length.
class user_memory {
  public:
    virtual k::u64 copy_in(void* to, user_address from, k::u64 bytes) noexcept = 0;
    virtual k::u64 copy_out(user_address to, const void* from, k::u64 bytes) noexcept = 0;
    virtual k::u64 zero_out(user_address to, k::u64 bytes) noexcept = 0;
    // The same, but what would have to be made accessible first ends the move. Never sleep; moving nothing is fine.
    virtual k::u64 copy_in_at_hand(void*, user_address, k::u64) noexcept { return 0; }
    virtual k::u64 copy_out_at_hand(user_address, const void*, k::u64) noexcept { return 0; }

  protected:
    ~user_memory() = default;
};

struct user_range {
    user_address base;
    k::u64 bytes;
};

// Several, one after the other, as readv and writev name them.
struct user_ranges {
    user_memory* memory;
    std::span<const user_range> ranges;
};

// What came of moving bytes that may turn out bad on the way.
struct moved {
    k::u64 bytes = 0;   // good ones, from the start
    k::status status{}; // why it ended before the last: EFAULT

    // What a system call reports: bytes if there were any, else the error.
    k::result<k::u64> as_result() const {
        if (!bytes && !status) return status.error();
        return bytes;
    }
};

} // namespace xio
