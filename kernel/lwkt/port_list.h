// Ports that have a name, for whoever wants to see them (/proc/ports). A port that is not listed works as well.
#pragma once

#include "kernel/lwkt/port.h"

#include <string_view>

namespace lwkt {

class listed_port {
  public:
    // Lists a port for as long as this lives, which is no longer than the port. What is beyond longest_name is cut off.
    // Any thread or critical section.
    static constexpr std::size_t longest_name = 24;
    listed_port(const port& of, std::string_view name) noexcept;
    ~listed_port();
    listed_port(const listed_port&) = delete;
    listed_port& operator=(const listed_port&) = delete;

    std::string_view name() const noexcept { return {name_, length_}; }
    const port& of() const noexcept { return of_; }

  private:
    friend class port_list;

    const port& of_;
    char name_[longest_name];
    const std::size_t length_;
    listed_port *next_ = nullptr, *before_ = nullptr; // of the list
};

// Calls visit(listed, argument) for the listed ports of this CPU, whose queues it may look at. In a critical section or
// an IPI function; the list is locked meanwhile.
void visit_ports(void (*visit)(const listed_port& p, void* argument), void* argument) noexcept;

} // namespace lwkt
