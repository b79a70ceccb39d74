#pragma once

#include "drivers/pci/bus.h"

namespace ahci {

extern const pci::driver driver;

} // namespace ahci
