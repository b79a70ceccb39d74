// The first process.
#pragma once

#include "kernel/lib/result.h"

#include <string_view>

namespace proc {

// Makes process 1 of a program in the boot archive, its standard files at the console. If the program cannot be run the
// machine goes off as failed. ENOSYS: this machine has no user mode; ENOMEM.
k::status start_init(std::string_view path, std::span<const std::string_view> arguments,
                     std::span<const std::string_view> environment) noexcept;

// Its last thread leaves: the machine goes off, as failed if the wait status is not 0.
[[noreturn]] void init_has_ended(int status) noexcept;

} // namespace proc
