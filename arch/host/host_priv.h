// What the files of the host port need of each other.
#pragma once

#include "arch/host/host.h"

#include <cstdint>

namespace arch::host {

// The pieces of the machine, in the order in which start() makes them.
void make_clock();
void make_memory(std::uint64_t bytes);
void make_kernel_map();
void make_faults();
void make_console(int output_descriptor);
void read_standard_input(); // starts the pthread that does
void start_timer();         // starts the pthread that latches event_timer

// Turns the calling pthread into CPU `id`.
void become_cpu(unsigned id);

// Goes on in `entry` on the stack that ends at `top`; the pthread's own stack is never returned to.
[[noreturn]] void leave_pthread_stack(vaddr top, void (*entry)());

// The end of the stack on which this CPU began.
vaddr boot_stack_top() noexcept;

// A stack for signal handlers, so that an overflown kernel stack can still be reported.
void give_signal_stack();

// Latches an event on a CPU and wakes it if it sleeps. Any pthread.
void latch(cpu_state& whom, event what) noexcept;

// Latches event_timer if the CPU's deadline has passed, exactly once. Any pthread.
void fire_if_due(cpu_state& whom, std::uint64_t now_ns) noexcept;

// The memfd that is physical memory; the offset is the physical address.
extern int memory_file;

extern unsigned cpu_count;
extern std::uint64_t boot_time_ns; // CLOCK_MONOTONIC at clock::now_ns() == 0

// Sleeps while the word holds `expected`, at most until clock::now_ns() reaches the deadline; may wake early.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t deadline_ns) noexcept;
void futex_wake(std::atomic<std::uint32_t>& word) noexcept;

// A pthread that serves the machine and is no CPU. Dies if it cannot be made.
void start_helper(void* (*body)(void*));

// Writes to the standard error output. Any context, signal handlers included.
[[gnu::format(printf, 1, 2)]] void report(const char* format, ...) noexcept;

// Ends the process as a failure, with the backtrace from this program counter and frame.
[[noreturn]] void die_at(std::string_view why, std::uintptr_t pc, std::uintptr_t frame) noexcept;

void print_backtrace(std::uintptr_t pc, std::uintptr_t frame) noexcept;

} // namespace arch::host
