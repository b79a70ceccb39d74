// Loans: sources and sinks over user memory, and how bytes come back into it without being copied.
//
// A range source or sink (xio::source::over_user) names user addresses. Binding it makes pages of it, pinned, that may
// outlive the call, stand in messages and reach devices. Built in two steps: fault everything in, holding no lock; then
// look up, protect and pin without blocking. What is small, cannot be kept as it is, is over its limit or keeps
// changing is copied instead, and the ledger says why: the caller need not care.
//
// All functions: thread context of a thread of that space, no token held, may block.
#pragma once

#include "sys/vm/snapshot.h"
#include "sys/vm/space.h"
#include "sys/xio/xio.h"

namespace vm {

// The source's bytes, bound to pages. `promise` is what the consumer needs: blocked (the caller sleeps until the
// consumer has let go, and each byte is read once), stable (nobody changes them), live (shared on purpose). All of the
// range, or EFAULT, ENOMEM. From `lend_from` bytes on nothing is copied for being small; 0: where lending pays. From
// `whole_from` pages on, private memory is lent as a snapshot: that pays earlier for who will map it.
k::result<xio::source> bind_source(space& from, const xio::source& range, xio::stability promise, k::u64 lend_from = 0,
                                   k::u64 whole_from = least_snapshot) noexcept;

// Fresh private memory that shows all of a snapshot's bytes, which are whole pages. EAGAIN: it is something else; map
// memory and deliver to it. ENOMEM.
k::result<user_address> map_whole(space& to, const xio::source& from) noexcept;

// The sink's pages, each faulted in for writing and sole. EFAULT, ENOMEM; EAGAIN: this memory cannot be pinned so
// (fill a fresh sink and copy).
k::result<xio::sink> bind_sink(space& to, const xio::sink& range) noexcept;

// Moves bytes from pages into user memory: whole aligned pages of private memory take the source's own pages where
// that is worth it, or from `give_from` bytes on if that is not 0; everything else is copied. As many bytes as both
// have, until one is bad.
xio::moved deliver(space& to, xio::sink& range, const xio::source& from, k::u64 give_from = 0) noexcept;

// From how many bytes on a loan is cheaper than a copy.
struct loan_thresholds {
    k::u64 blocked;        // no protection
    k::u64 stable_one_cpu; // the space runs on this CPU only
    k::u64 stable_many;    // others must be told
    k::u64 deliver;        // giving pages instead of copying bytes
    k::u64 pages_a_space;  // what one space may have lent at a time, in pages
};
// What counts until calibrate_loans() has measured, and what it stays near to.
inline constexpr loan_thresholds initial_thresholds = {
    .blocked = arch::page_size,
    .stable_one_cpu = 16 * 1024,
    .stable_many = 32 * 1024,
    .deliver = 16 * 1024,
    .pages_a_space = 16384,
};
const loan_thresholds& thresholds() noexcept;
// Measures what copying and lending cost on this machine, sets the thresholds and logs them, in a few milliseconds. At
// boot, once other CPUs run; again whenever nobody else lends. Without memory the thresholds stay. Thread context of a
// thread that has no user memory; blocks.
void calibrate_loans() noexcept;
// Is a stable loan of that many bytes worth it for this space, now?
bool worth_lending(space& from, k::u64 bytes) noexcept;

} // namespace vm
