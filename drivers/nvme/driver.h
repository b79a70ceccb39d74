#pragma once

#include "drivers/pci/bus.h"

namespace nvme {

extern const pci::driver driver;

} // namespace nvme
