// A virtio disk (virtio 1.2, 5.2): a queue a CPU as far as the device has them, each with its interrupt on its CPU.
#pragma once

#include "drivers/block/hardware_disk.h"
#include "drivers/virtio/queue.h"

namespace virtio_blk {

class queue;

class disk final : public block::hardware_disk {
  public:
    // Brings a device up, ready for requests. EOPNOTSUPP: it lacks what we need, or says nonsense of itself; ENOMEM.
    // Thread context, blocks.
    static k::result<k::ref<block::disk>> create(mem::box<virtio::transport> bus,
                                                 ktime::ns timeout_ns = usual_timeout_ns) noexcept;
    disk(mem::box<virtio::transport> bus, ktime::ns timeout_ns) noexcept // for create()
        : hardware_disk(timeout_ns), bus_(std::move(bus)) {}

    std::string_view driver() const noexcept override { return "virtio"; }
    virtio::transport& bus() const noexcept { return *bus_; }

  private:
    bool stop_device() noexcept override { return bus_->reset(); }
    k::status start_device() noexcept override;
    k::status negotiate() noexcept;
    k::status read_properties() noexcept;
    k::status make_queues() noexcept;
    k::status start_queues() noexcept;

    mem::box<virtio::transport> bus_;
    k::u64 features_ = 0;
};

} // namespace virtio_blk
