// Futexes: sleeping on a word of user memory.
//
// A hash of buckets, each a spinlock and a list of waiters. A waiter stands on the sleeping thread's stack. The word is
// read under the bucket's lock, and a waker takes that lock after it has changed the word: no wake-up is lost. A waker
// takes waiters out under the lock and wakes them after it.
#pragma once

#include "kernel/lib/result.h"
#include "sys/vm/space.h"

namespace proc {

// What names the word in the spaces that share it. `known_private`: the caller says that nobody else does; then nothing
// is looked up. EFAULT; EINVAL if it is not aligned.
k::result<vm::space::word_key> futex_key(vm::space& space, xio::user_address at, bool known_private) noexcept;

constexpr k::u32 any_bit = ~k::u32{0};

// Sleeps until woken, if the word has the expected value; EAGAIN if not. Only wakers that have a bit of `bits` count.
// EFAULT, ETIMEDOUT, EINTR. The running thread's space.
k::status futex_wait(vm::space& space, xio::user_address at, bool known_private, k::u32 expected, k::u32 bits,
                     ktime::ns deadline) noexcept;

// Wakes up to `count` threads that wait on the word. Returns how many. Thread context. EFAULT, EINVAL.
k::result<k::u64> futex_wake(vm::space& space, xio::user_address at, int count) noexcept;

// Marks each lock of a set_robust_list() list that thread `id` holds as ownerless, and wakes one that waits for it.
// However hostile the list, this ends. Thread context. `head` 0: no list.
void release_robust_list(vm::space& space, xio::user_address head, int id) noexcept;

} // namespace proc
