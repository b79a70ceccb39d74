// ahci::host: a controller with up to 32 ports, which share its interrupt. It lives as long as a disk on it does.
#pragma once

#include "drivers/ahci/port.h"
#include "kernel/lib/ref.h"
#include "kernel/mem/slab.h"

namespace block {
class request_queue;
}

namespace ahci {

class host final : public k::counted<host> {
  public:
    // Takes the controller from the firmware, resets it, and connects its interrupt to a CPU. EOPNOTSUPP: it lacks
    // what we need, or says nonsense of itself; EIO: it does not reset; ENOMEM. Thread context, blocks.
    static k::result<k::ref<host>> create(mem::box<host_port> bus, unsigned cpu) noexcept;
    host(mem::box<host_port> bus, unsigned cpu) noexcept : bus_(std::move(bus)), cpu_(cpu) {} // for create()
    void last_holder_left() noexcept;                                                         // thread context

    unsigned cpu() const noexcept { return cpu_; } // where the interrupt comes
    bool has_port(unsigned port) const noexcept { return ports_ >> port & 1; }
    unsigned slots() const noexcept { return slots_; } // commands a port holds
    bool has_queuing() const noexcept { return has_queuing_; }
    unsigned address_bits() const noexcept { return address_bits_; }
    iommu::domain* domain() const noexcept { return bus_->domain(); }

    // Of a port that it has.
    k::u32 read(unsigned port, port_register r) noexcept { return bus_->read(place(port, r)); }
    void write(unsigned port, port_register r, k::u32 value) noexcept { bus_->write(place(port, r), value); }

    // Is something plugged into a port, as far as one can tell without waking it? Nothing: it may be a bay.
    bool may_have_device(unsigned port) noexcept { return read(port, port_status) & 0xf; }

    // Whose handler runs (request_queue::interrupted) when a port interrupts; null: nobody's, and when this is over it
    // does not run. Thread context; ends on the CPU where it began.
    void set_queue(unsigned port, block::request_queue* q) noexcept;

  private:
    static unsigned place(unsigned port, port_register r) noexcept { return first_port + port * port_bytes + r; }
    k::status take_over() noexcept;
    k::status reset() noexcept;
    template <class Done> bool wait_for(Done done, k::u64 patience_ns) noexcept;
    static void interrupted(void* self);

    mem::box<host_port> bus_;
    const unsigned cpu_;
    k::u32 ports_ = 0;
    unsigned slots_ = 0, address_bits_ = 32;
    bool has_queuing_ = false;
    // Changed and read on cpu_ only, in a critical section.
    block::request_queue* queues_[most_ports] = {};
};

} // namespace ahci
