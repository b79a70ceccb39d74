#include "drivers/block/removal.h"

#include "drivers/block/cache.h"
#include "drivers/block/registry.h"

namespace block {

// Called once more when they are gone for certain: then also what did not stop gives everything back.
void removable_disks::let_go(bool gone) noexcept {
    for (unsigned i = 0; i < count_; i++) {
        disk& d = *disks_[i];
        device_ref on;
        for (unsigned n = 0; !gone && (on = nth_device(n)); n++)
            if (&on->on() == &d) (void)on->cache().sync(); // who calls fsync is told of errors
        remove_disk(d);
        static_cast<hardware_disk&>(d).leave();
    }
    if (!gone) return;
    while (count_)
        disks_[--count_] = {};
}

} // namespace block
