// The monitor: a small command line on the console, for as long as there is no user mode, and for when it fails.
#pragma once

#include <cstddef>
#include <span>

namespace monitor {

// Reads commands from the console and runs them, for ever. The first thread, at the end of the way up.
[[noreturn]] void interact();

// Runs the one command that a boot module holds, its output between marks that a script can find: lines of
// byte 1 followed by exec-begin, and by exec-end and the status. True if the command succeeded.
bool run_module(std::span<const std::byte> text);

} // namespace monitor
