// The first thread.
#pragma once

// Starts the subsystems above memory and threads, then does what the command line asks: selftest[=GLOB] and
// bench[=GLOB] run and power off, a boot module named "exec" is a monitor command to run, and else there is the
// monitor.
void kernel_main(void*);
