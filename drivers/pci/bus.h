// Which functions there are, and which driver each gets.
#pragma once

#include "drivers/pci/function.h"

namespace pci {

// Calls visit(address) for each function that answers on the buses of a window, behind bridges too; a bridge first,
// then what is behind it. Buses that bridges number against the rules are left out. Thread context.
class visitor {
  public:
    virtual void visit(address at) noexcept = 0;

  protected:
    ~visitor() = default;
};
void for_each_function(config_space& space, const arch::pci_window& buses, visitor& to) noexcept;

struct driver {
    std::string_view name;
    bool (*wants)(const function& f) noexcept;
    // Takes the function, which stays where it is as long as the kernel runs. An error leaves it to nobody.
    k::status (*attach)(function& f) noexcept;
};

// Finds the machine's functions, stops them from reaching memory, and gives each to the first driver that wants it.
// Boot, thread context.
void start(std::span<const driver* const> drivers) noexcept;

} // namespace pci
