#pragma once

#include "drivers/pci/bus.h"

namespace virtio_blk {

extern const pci::driver driver;

} // namespace virtio_blk
