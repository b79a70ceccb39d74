// nvme::port: the registers and interrupts of an NVMe controller (NVM Express 1.4), whatever it is plugged into.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/interrupt.h"

namespace iommu {
class domain;
}

namespace nvme {

enum controller_register : unsigned {
    reg_capabilities = 0x00, // 64 bits
    reg_configuration = 0x14,
    reg_status = 0x1c,
    reg_admin_sizes = 0x24,
    reg_admin_submission = 0x28, // 64 bits
    reg_admin_completion = 0x30, // 64 bits
    reg_doorbells = 0x1000,
};

class port {
  public:
    virtual ~port() = default;
    // Offsets below size(). A controller that was pulled out reads as ones.
    virtual std::size_t size() noexcept = 0;
    virtual k::u32 read(unsigned offset) noexcept = 0;
    virtual void write(unsigned offset, k::u32 value) noexcept = 0; // any context
    virtual unsigned interrupts() noexcept = 0;
    virtual k::status connect(unsigned number, unsigned cpu, lwkt::interrupt_handler handler,
                              void* argument) noexcept = 0;
    virtual void disconnect() noexcept = 0; // all; no handler runs after it
    // What stands between it and memory (busdma::tag); null: nothing.
    virtual iommu::domain* domain() noexcept { return nullptr; }

    k::u64 read_64(unsigned offset) noexcept { return read(offset) | k::u64{read(offset + 4)} << 32; }
    void write_64(unsigned offset, k::u64 value) noexcept {
        write(offset, static_cast<k::u32>(value));
        write(offset + 4, static_cast<k::u32>(value >> 32));
    }
};

} // namespace nvme
