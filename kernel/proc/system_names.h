// What this system calls itself: uname(2), sethostname(2), /proc.
#pragma once

#include "kernel/lib/types.h"

#include <cstddef>
#include <string_view>

namespace proc {

constexpr std::size_t longest_system_name = 64;
// The text, with zeroes behind it.
struct system_name {
    char text[longest_system_name + 1];
    std::string_view view() const noexcept { return text; }
};

constexpr std::string_view system_type = "Linux";
// A release that C libraries take for a Linux that has all they want to use.
constexpr std::string_view system_release = "6.1.0-nutcracker", system_version = "Nutcracker", machine_type = "x86_64";

system_name host_name() noexcept;
system_name domain_name() noexcept;
// What is too long is cut off.
void set_host_name(std::string_view to) noexcept;
void set_domain_name(std::string_view to) noexcept;

} // namespace proc
