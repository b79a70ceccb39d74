// The ways in which bytes are lent, copied and given, without the choice between them: for loan.h's functions, which
// choose, and for calibrate.cc, which measures. Contexts as in loan.h.
#pragma once

#include "sys/vm/loan.h"

namespace vm {

// The pages of a range, pinned. EFAULT, ENOMEM; EAGAIN or EBUSY: this memory cannot be lent so, or keeps changing.
k::result<xio::source> lent(space& from, const xio::source& range, xio::stability promise,
                            k::u64 whole_from = least_snapshot) noexcept;
// The bytes of a range in fresh pages. EFAULT, ENOMEM.
k::result<xio::source> copied(space& from, const xio::source& range, xio::reason why) noexcept;
// Puts the source's whole pages from `offset` on at [first, first + bytes), all page aligned, in the place of what is
// there. How many bytes were given.
k::u64 give_pages(space& to, user_address first, k::u64 bytes, const xio::source& from, k::u64 offset) noexcept;

void set_thresholds(const loan_thresholds& now) noexcept;

} // namespace vm
