// What a driver leaves with a PCI function that has its disks, so that they can be pulled out.
#pragma once

#include "drivers/block/hardware_disk.h"
#include "drivers/pci/function.h"

namespace block {

class removable_disks final : public pci::user {
  public:
    static constexpr unsigned most = 32; // disks of one function

    // At most that many.
    void add(k::ref<disk> d) noexcept { disks_[count_++] = std::move(d); }
    // Thread context, blocks. Before they are gone, what is cached of them is written back.
    void let_go(bool gone) noexcept override;

  private:
    // All of them are a hardware_disk.
    k::ref<disk> disks_[most];
    unsigned count_ = 0;
};

} // namespace block
