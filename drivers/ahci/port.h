// ahci::host_port: the registers and the interrupt of an AHCI controller (Serial ATA AHCI 1.3.1), whatever it is
// plugged into. AHCI calls the controller a host bus adapter; the word port is taken by it for a place for one disk.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/interrupt.h"

namespace iommu {
class domain;
}

namespace ahci {

// Of the controller (3.1).
enum host_register : unsigned {
    reg_capabilities = 0x00,
    reg_control = 0x04,
    reg_interrupts = 0x08, // a bit a port; written as ones to clear
    reg_ports = 0x0c,
    reg_version = 0x10,
    reg_more_capabilities = 0x24,
    reg_handoff = 0x28,
};
// Of a port (3.3), from where its registers begin.
enum port_register : unsigned {
    port_list = 0x00,     // 64 bits
    port_received = 0x08, // 64 bits
    port_interrupts = 0x10,
    port_interrupt_enable = 0x14,
    port_command = 0x18,
    port_task_file = 0x20,
    port_signature = 0x24,
    port_status = 0x28,
    port_control = 0x2c,
    port_error = 0x30,
    port_active = 0x34,
    port_issue = 0x38,
};
constexpr unsigned most_ports = 32;
constexpr unsigned first_port = 0x100, port_bytes = 0x80;

class host_port {
  public:
    virtual ~host_port() = default;
    // Offsets below size(). A controller that was pulled out reads as ones.
    virtual std::size_t size() noexcept = 0;
    virtual k::u32 read(unsigned offset) noexcept = 0;
    virtual void write(unsigned offset, k::u32 value) noexcept = 0; // any context
    // There is one interrupt for all ports.
    virtual k::status connect(unsigned cpu, lwkt::interrupt_handler handler, void* argument) noexcept = 0;
    virtual void disconnect() noexcept = 0; // no handler runs after it
    // What stands between it and memory (busdma::tag); null: nothing.
    virtual iommu::domain* domain() noexcept { return nullptr; }
};

} // namespace ahci
