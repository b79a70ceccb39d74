// Grace periods: structures that are read without a lock.
//
// Idea: a reader looks in a critical section and takes no lock and writes nothing. Whoever takes an object out of such
// a structure, so that no new reader can find it, retires it; its memory goes once every CPU has left the critical
// section that it was in then.
// Guarantee: what a reader found stays memory of that kind until it leaves its critical section.
// Prohibition: nothing that was found may be used afterwards, unless the reader made itself a holder
// (k::ref::to_living()).
// Cost: nothing for readers. Objects are freed in batches, some milliseconds late, by a thread that asks each CPU
// twice.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/time/callout.h"

namespace lwkt {

// The base of what can be retired.
struct retirable {
    retirable* next_retired = nullptr;
    void (*free_retired)(retirable&) = nullptr;
};

// Calls free(object) once no reader can be looking at it any more, in thread context. Any thread or critical section,
// but not from an IPI function. Never fails.
void retire(retirable& object, void (*free)(retirable&)) noexcept;

// Returns when all that was retired before is freed. Thread context.
void wait_for_readers() noexcept;

// Boot, once, when threads can be made: starts the thread that frees. ENOMEM.
k::status start_freeing_retired() noexcept;

} // namespace lwkt
