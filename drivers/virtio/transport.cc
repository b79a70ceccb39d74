#include "drivers/virtio/transport.h"

#include "kernel/lwkt/thread.h"
#include "kernel/time/callout.h"

namespace virtio {

bool transport::reset() noexcept {
    constexpr ktime::ns patience = ktime::second;
    set_status(0);
    const ktime::ns deadline = ktime::after(patience);
    constexpr k::u8 gone = 0xff; // pulled out: it touches nothing any more
    for (k::u8 now; (now = status()) != 0 && now != gone;) {
        if (ktime::now() > deadline) return false;
        lwkt::sleep_for(ktime::millisecond);
    }
    forget_queues();
    return true;
}

k::result<k::u64> transport::negotiate(k::u64 wanted, k::u64 needed) noexcept {
    set_status(status_acknowledge);
    set_status(status_acknowledge | status_driver);
    const k::u64 taken = device_features() & wanted;
    if ((taken & needed) != needed) {
        set_status(status_failed);
        return k::error::opnotsupp;
    }
    set_driver_features(taken);
    set_status(status_acknowledge | status_driver | status_features_ok);
    if (!(status() & status_features_ok)) {
        set_status(status_failed);
        return k::error::opnotsupp;
    }
    return taken;
}

k::u64 transport::read_config_64(unsigned offset) noexcept {
    constexpr unsigned attempts = 16; // a device that changes all the time gets what it deserves
    k::u64 value = 0;
    for (unsigned i = 0; i < attempts; i++) {
        const k::u8 before = config_generation();
        value = read_config(offset, 4) | k::u64{read_config(offset + 4, 4)} << 32;
        if (config_generation() == before) break;
    }
    return value;
}

} // namespace virtio
