// What happens in the kernel, as a list of events a CPU: thread switches, messages, interrupts between CPUs, faults,
// loans, transfers by devices. `tools/trace` makes pictures of it.
//
// While it is off, note() costs a load and a branch. While it is on, each CPU writes into a ring of its own, without a
// lock, and the oldest events are written over. Switched by the option `trace`, or through /proc/trace.
#pragma once

#include "kernel/lib/format.h"
#include "kernel/lib/result.h"

#include <atomic>

namespace trace {

enum class event : k::u16 {
    switched,    // a: the thread that runs from here on, b: the one before
    message_put, // a: the message, b: its items' bytes
    message_got, // a: the message
    replied,     // a: the message, b: its items' bytes
    ipi_sent,    // a: to which CPU
    ipi_taken,   // a: from which CPUs, a bit each
    fault,       // a: the address, b: what for
    lent,        // a: the address, b: bytes
    loan_broken, // a: the page that the writer gets a copy of; of what is lent as a snapshot only the fault is told
    dma_loaded,  // a: bytes, b: segments
};
constexpr unsigned events = 10;

inline constinit std::atomic<bool> is_on = false;

// Any context. `name`: of what runs or is asked, as far as there is room.
void write_down(event what, k::u64 a, k::u64 b, std::string_view name) noexcept;
template <class Name = std::string_view> // its length is not looked for in vain
inline void note(event what, k::u64 a, k::u64 b = 0, const Name& name = {}) noexcept {
    if (is_on.load(std::memory_order_relaxed)) [[unlikely]]
        write_down(what, a, b, name);
}

// Begins with empty rings of so many events a CPU. EBUSY: it is on, or what was noted is still there; ENOMEM. Thread
// context, as the following.
k::status start(unsigned events_a_cpu = 8192) noexcept;
// Nothing is noted any more; what was stays until it is cleared.
void stop() noexcept;
// Stops, and frees the rings.
void clear() noexcept;

// A line for each event, each CPU's in the order of time: CPU, nanoseconds, name, a and b (hexadecimal), and the text.
// The first of a CPU's is `lost`, with their number, if earlier ones were written over.
void put(k::text_sink& to) noexcept;

} // namespace trace
