#include "drivers/nvme/driver.h"

#include "drivers/block/registry.h"
#include "drivers/block/removal.h"
#include "drivers/nvme/disk.h"
#include "drivers/pci/message_interrupts.h"

namespace nvme {

namespace {

constexpr k::u32 class_nvme = 0x010802;
constexpr k::u64 most_register_bytes = reg_doorbells + 0x1000; // doorbells of more queues than there are CPUs

class pci_port final : public port {
  public:
    explicit pci_port(pci::function& f) noexcept : function_(f), attached_(f) {}
    k::status find_registers() noexcept {
        registers_ = TRY(function_.map(0, 0, std::min(function_.register_bar(0).bytes, most_register_bytes)));
        if (registers_.size() <= reg_doorbells) return k::error::opnotsupp;
        interrupts_ = TRY(pci::message_interrupts::create(function_));
        return {};
    }

    std::size_t size() noexcept override { return registers_.size(); }
    k::u32 read(unsigned offset) noexcept override { return registers_.at<k::u32>(offset); }
    void write(unsigned offset, k::u32 value) noexcept override { registers_.at<k::u32>(offset) = value; }
    unsigned interrupts() noexcept override { return interrupts_.count(); }
    k::status connect(unsigned number, unsigned cpu, lwkt::interrupt_handler handler,
                      void* argument) noexcept override {
        if (!interrupts_.is_on()) interrupts_ = TRY(pci::message_interrupts::create(function_)); // after a reset
        return interrupts_.connect(number, cpu, handler, argument);
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
    return f.class_code == class_nvme;
}

k::status attach(pci::function& f) noexcept {
    auto bus = mem::make_box<pci_port>(f);
    if (!bus) return k::error::nomem;
    TRY(bus->find_registers());
    auto made = TRY(disk::create(mem::box<port>(bus.release())));
    auto disks = mem::make_box<block::removable_disks>();
    if (!disks) return k::error::nomem;
    disks->add(made.share());
    TRY(block::add_disk(std::move(made), block::nvme_disks));
    f.set_user(mem::box<pci::user>(disks.release()));
    return {};
}

} // namespace

constinit const pci::driver driver{"nvme", wants, attach};

} // namespace nvme
