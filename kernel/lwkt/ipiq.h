// IPI queues: how one CPU gets another to run a function.
//
// Each pair of CPUs has a ring with one producer and one consumer, so sending takes no lock and allocates
// nothing. One interrupt covers all messages that arrive before the target looks; a target that is already
// looking gets none.
//
// The function runs on the target in a critical section, in order of sending from each source. It must not
// block and must not send: whoever runs out of room in a ring serves its own incoming rings until
// there is room, and because the functions it serves never wait for room themselves, every CPU always
// gets on. That is the whole argument against deadlock, and send() asserts it.
#pragma once

#include "kernel/lib/types.h"

namespace lwkt {

using ipi_function = void (*)(void* argument);

// Runs function(argument) on CPU `target` soon. Any thread or critical section, but not from an
// IPI function. If the target is this CPU the function runs before send() returns.
void send(unsigned target, ipi_function function, void* argument) noexcept;

// Runs the function on CPU `target` and waits until it has returned. Thread context; serves incoming messages
// while it waits.
void call_on(unsigned target, ipi_function function, void* argument) noexcept;

// The same on every CPU but this one, or on all; waits for all of them.
void call_everywhere_else(ipi_function function, void* argument) noexcept;
void call_everywhere(ipi_function function, void* argument) noexcept;

// Runs what came in for this CPU. In a critical section.
void serve_incoming() noexcept;

// Is this CPU running an IPI function right now?
bool in_ipi_function() noexcept;

struct ipi_counters {
    k::u64 sent;       // messages
    k::u64 interrupts; // hardware interrupts that took
    k::u64 ring_full;  // times a sender had to wait for room
};
// Asks that CPU. Thread context.
ipi_counters ipi_statistics(unsigned cpu) noexcept;

// Makes the rings of CPU `cpu`, for which memory is found. Boot, before that CPU starts. False: no memory.
bool initialise_ipi_rings(unsigned cpu);

} // namespace lwkt
