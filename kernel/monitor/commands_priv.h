// The commands that look into the kernel's state.
#pragma once

#include <string_view>

namespace monitor {

bool show_cpus(std::string_view);
bool show_pages(std::string_view);
bool show_ports(std::string_view);
bool show_threads(std::string_view);
bool show_xio(std::string_view);

} // namespace monitor
