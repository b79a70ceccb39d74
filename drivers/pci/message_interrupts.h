// The interrupts of a function, as messages: MSI-X (PCI Local Bus 6.8.2) if it has that, else one MSI (6.8.1). Pin
// interrupts are not used. Thread context.
#pragma once

#include "drivers/pci/function.h"
#include "kernel/lwkt/interrupt.h"

namespace pci {

class message_interrupts {
  public:
    static constexpr unsigned most = 32; // that are used of a function's

    message_interrupts() = default;
    message_interrupts(message_interrupts&&) noexcept = default;
    message_interrupts& operator=(message_interrupts&& other) noexcept;
    ~message_interrupts() { disable(); }

    // Those that the function has, all masked, messages switched on. ENXIO: it has none, or their table is not where
    // it could be; ENOMEM.
    static k::result<message_interrupts> create(const function& f) noexcept;

    bool is_on() const noexcept { return place_ != 0; }
    unsigned count() const noexcept { return count_; }
    bool has_table() const noexcept { return bool(table_); } // it is MSI-X
    // Has message `index`, below count(), run handler(argument) on a CPU; once each. See lwkt::interrupt::connect().
    k::status connect(unsigned index, unsigned cpu, lwkt::interrupt_handler handler, void* argument) noexcept;
    // The messages come no more, and no handler runs.
    void disable() noexcept;

  private:
    k::status find_table(unsigned place) noexcept;

    const function* function_ = nullptr;
    unsigned place_ = 0; // of the capability
    unsigned count_ = 0;
    mem::register_window table_; // of MSI-X; none: MSI
    lwkt::interrupt lines_[most];
};

} // namespace pci
