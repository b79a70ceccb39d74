// Slots out of which a device can be pulled while the machine runs (PCI Express Base 6.7): ports of bridges that say
// so. Nothing is ever put in: a slot that was emptied stays so until the next start.
//
// Someone who presses the slot's button (or QEMU's device_del) asks first: the drivers of what is in it let go, and
// then the slot's power goes off. A device that is gone without a word is noticed too.
#pragma once

#include "drivers/pci/function.h"

namespace pci {

// One thread looks at these slots four times a second; none where no slot is in use. Boot, after the drivers. ENOMEM.
k::status start_watching_slots(std::span<function* const> functions) noexcept;

// Cuts the power first and tells the drivers after it, as if the device had been torn out: for trying them.
void tear_out_when_asked() noexcept;

} // namespace pci
