// The account that every test must leave as it found it.
#pragma once

#include "kernel/mem/page.h"

namespace selftest {

struct resources {
    vm::page_account pages;
    k::u64 objects; // of the slab allocator
    k::u64 threads;
};

// Empties every CPU's caches (dead threads, free objects, free pages) and counts. Thread context; visits
// all CPUs and comes back.
resources count_resources();

// Fails the running test if anything is missing or left over. Gives threads that are just ending two seconds.
void expect_same_resources(const resources& before);

} // namespace selftest
