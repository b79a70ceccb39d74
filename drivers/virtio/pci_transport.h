// A virtio device on PCI, by the registers of virtio 1.0 (4.1.4); those of the time before are not used.
#pragma once

#include "drivers/pci/message_interrupts.h"
#include "drivers/virtio/transport.h"
#include "kernel/mem/slab.h"

namespace virtio {

// Is it a virtio device with that number, in its old or its new guise?
bool is_on(const pci::function& f, k::u16 device) noexcept;

class pci_transport final : public transport {
  public:
    // EOPNOTSUPP: it has no modern registers, or they are not where they could be, or no MSI-X; ENOMEM.
    static k::result<mem::box<pci_transport>> create(pci::function& f) noexcept;
    explicit pci_transport(pci::function& f) noexcept : function_(f), attached_(f) {} // for create()

    k::u64 device_features() noexcept override;
    void set_driver_features(k::u64 features) noexcept override;
    k::u8 status() noexcept override;
    void set_status(k::u8 bits) noexcept override;
    k::u32 read_config(unsigned offset, unsigned width) noexcept override;
    k::u8 config_generation() noexcept override;
    unsigned queue_count() noexcept override;
    k::u16 queue_size(unsigned q) noexcept override;
    k::status start_queue(unsigned q, k::u16 size, const queue_place& where, unsigned cpu,
                          lwkt::interrupt_handler handler, void* argument) noexcept override;
    void notify(unsigned q) noexcept override;
    iommu::domain* domain() noexcept override { return function_.domain(); }

  private:
    static constexpr unsigned most_queues = pci::message_interrupts::most;

    void forget_queues() noexcept override { interrupts_.disable(); }
    k::result<mem::register_window> map_capability(k::u8 kind, std::size_t least, unsigned* place = nullptr) noexcept;
    k::status find_registers() noexcept;
    void write_address(unsigned offset, arch::paddr address) noexcept;

    pci::function& function_;
    pci::attachment attached_;
    mem::register_window common_, notify_, config_;
    k::u32 notify_multiplier_ = 0;
    k::u32 notify_place_[most_queues] = {};
    pci::message_interrupts interrupts_;
};

} // namespace virtio
