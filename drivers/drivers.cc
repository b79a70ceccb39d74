#include "drivers/drivers.h"

#include "drivers/ahci/driver.h"
#include "drivers/block/registry.h"
#include "drivers/edu/driver.h"
#include "drivers/nvme/driver.h"
#include "drivers/virtio_blk/driver.h"

namespace drivers {

namespace {
constexpr const pci::driver* all[] = {&virtio_blk::driver, &nvme::driver, &ahci::driver, &edu::driver};
}

void start() noexcept {
    pci::start(all);
    if (block::nth_device(0) && !block::start_writing_back()) k::panic("no memory for the thread that writes to disks");
}

} // namespace drivers
