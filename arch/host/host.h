// How a program of the host (a test, a benchmark, a fuzzer) makes the machine and talks to it from outside.
//
// The machine is made once a process, from these options and from the environment: NUTCRACKER_MEM
// (MiB of memory, default 128), NUTCRACKER_CPUS (default 4) and NUTCRACKER_CMDLINE (appended to the command line).
#pragma once

#include "arch/machine.h"

#include <string_view>

namespace arch::host {

struct options {
    std::string_view command_line = {};
    int console_output = 1;     // a file descriptor
    bool console_input = false; // read standard input and give it to the kernel's console
};

// Makes the machine, starts CPU 0 as a new pthread in upcall::boot() and returns. The caller stays
// outside: it is no CPU and must not call kernel code that asks for one.
void start(const options& how);

// Makes the machine and turns the caller into its CPU 0, in a critical section, without booting a
// kernel: for fuzzers and tests of code that needs a CPU and memory, but neither threads nor time.
void become_boot_cpu(const options& how);

// What power_off() does instead of ending the process; the CPU that called it then stands still.
void on_power_off(void (*hook)(exit_status));

// Puts characters into the console's input, as if typed. From one pthread only, and not with console_input.
void type(std::string_view text);

} // namespace arch::host
