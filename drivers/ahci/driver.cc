#include "drivers/ahci/driver.h"

#include "drivers/ahci/disk.h"
#include "drivers/block/registry.h"
#include "drivers/block/removal.h"
#include "drivers/pci/message_interrupts.h"
#include "kernel/lib/log.h"

namespace ahci {

namespace {

constexpr k::u32 class_ahci = 0x010601;
constexpr unsigned register_range = 5;
constexpr k::u64 most_register_bytes = first_port + most_ports * port_bytes;

class pci_port final : public host_port {
  public:
    explicit pci_port(pci::function& f) noexcept : function_(f), attached_(f) {}
    k::status find_registers() noexcept {
        const k::u64 bytes = std::min(function_.register_bar(register_range).bytes, most_register_bytes);
        registers_ = TRY(function_.map(register_range, 0, bytes));
        interrupts_ = TRY(pci::message_interrupts::create(function_));
        return {};
    }

    std::size_t size() noexcept override { return registers_.size(); }
    k::u32 read(unsigned offset) noexcept override { return registers_.at<k::u32>(offset); }
    void write(unsigned offset, k::u32 value) noexcept override { registers_.at<k::u32>(offset) = value; }
    k::status connect(unsigned cpu, lwkt::interrupt_handler handler, void* argument) noexcept override {
        return interrupts_.connect(0, cpu, handler, argument);
    }
    void disconnect() noexcept override { interrupts_.disable(); }
    iommu::domain* domain() noexcept override { return function_.domain(); }

  private:
    pci::function& function_;
    pci::attachment attached_;
    mem::register_window registers_;
    pci::message_interrupts interrupts_;
};

bool wants(const pci::function& f) noexcept {
    return f.class_code == class_ahci;
}

// A port that has no disk, or one that does not come up, is no reason to leave the others alone.
k::status attach(pci::function& f) noexcept {
    auto bus = mem::make_box<pci_port>(f);
    if (!bus) return k::error::nomem;
    TRY(bus->find_registers());
    auto disks = mem::make_box<block::removable_disks>();
    if (!disks) return k::error::nomem;
    constexpr unsigned boot_cpu = 0;
    const k::ref<host> made = TRY(host::create(mem::box<host_port>(bus.release()), boot_cpu));
    for (unsigned port = 0; port < most_ports; port++) {
        if (!made->has_port(port) || !made->may_have_device(port)) continue;
        auto found = disk::create(made.share(), port);
        if (!found) {
            if (found.error() != k::error::nxio) k::log("ahci port {}: {}\n", port, found.error());
            continue;
        }
        TRY(block::add_disk(found->share(), block::ahci_disks));
        disks->add(*std::move(found));
    }
    f.set_user(mem::box<pci::user>(disks.release()));
    return {};
}

} // namespace

constinit const pci::driver driver{"ahci", wants, attach};

} // namespace ahci
