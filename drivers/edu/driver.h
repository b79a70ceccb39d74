#pragma once

#include "drivers/pci/bus.h"

namespace edu {

extern const pci::driver driver;

} // namespace edu
