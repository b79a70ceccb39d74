// virtio::transport: a virtio device (OASIS virtio 1.2), whatever it is plugged into. Read this header first of
// drivers/virtio. What the device says is a stranger's word; who uses it checks it.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/interrupt.h"

namespace iommu {
class domain;
}

namespace virtio {

// Device status (2.1).
enum status_bit : k::u8 {
    status_acknowledge = 1,
    status_driver = 2,
    status_driver_ok = 4,
    status_features_ok = 8,
    status_needs_reset = 64,
    status_failed = 128,
};

// Features of all devices (6).
constexpr k::u64 feature_indirect = k::u64{1} << 28;
constexpr k::u64 feature_event_index = k::u64{1} << 29;
constexpr k::u64 feature_version_1 = k::u64{1} << 32;
constexpr k::u64 feature_platform_access = k::u64{1} << 33; // it goes through an IOMMU as other devices do

struct queue_place {
    arch::paddr descriptors, available, used;
};

// Thread context, one thread at a time, but for notify().
class transport {
  public:
    virtual ~transport() = default;

    virtual k::u64 device_features() noexcept = 0;
    virtual void set_driver_features(k::u64 features) noexcept = 0;
    virtual k::u8 status() noexcept = 0;
    virtual void set_status(k::u8 bits) noexcept = 0;
    // The device's own registers, width 1, 2 or 4 bytes, aligned to it. Those that it has not read as 0.
    virtual k::u32 read_config(unsigned offset, unsigned width) noexcept = 0;
    // Changes when the registers did: what was read before and after with the same is of one piece.
    virtual k::u8 config_generation() noexcept = 0;

    virtual unsigned queue_count() noexcept = 0;        // at most as many as can interrupt
    virtual k::u16 queue_size(unsigned q) noexcept = 0; // the largest; 0: no such queue
    // Has the device use a ring of that size, and interrupt that CPU.
    virtual k::status start_queue(unsigned q, k::u16 size, const queue_place& where, unsigned cpu,
                                  lwkt::interrupt_handler handler, void* argument) noexcept = 0;
    // There is something new in a ring. Any context.
    virtual void notify(unsigned q) noexcept = 0;
    // What stands between it and memory (busdma::tag); null: nothing.
    virtual iommu::domain* domain() noexcept { return nullptr; }

    // Resets the device. True once it says that it has stopped: it touches no memory any more. No handler runs after.
    bool reset() noexcept;
    // The first steps of 3.1.1, after a reset: takes those of the `wanted` features that the device has. EOPNOTSUPP:
    // not all of the `needed` ones, or it does not agree.
    k::result<k::u64> negotiate(k::u64 wanted, k::u64 needed) noexcept;
    // The last one.
    void drive() noexcept { set_status(static_cast<k::u8>(status() | status_driver_ok)); }
    // A register of 64 bits, in one piece.
    k::u64 read_config_64(unsigned offset) noexcept;

  protected:
    virtual void forget_queues() noexcept = 0; // takes the interrupts apart
};

} // namespace virtio
