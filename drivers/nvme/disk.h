// A namespace of an NVMe controller as a disk: an admin queue for bringing it up, and a pair of queues a CPU as far as
// the controller has them, each with its interrupt on its CPU.
#pragma once

#include "drivers/block/hardware_disk.h"
#include "drivers/nvme/ring.h"

namespace nvme {

class queue;

class disk final : public block::hardware_disk {
  public:
    // Brings a controller up with its first namespace. EOPNOTSUPP: it lacks what we need, or says nonsense of itself;
    // EIO: it does not stop or start; ENOMEM. Thread context, blocks.
    static k::result<k::ref<block::disk>> create(mem::box<port> bus, ktime::ns timeout_ns = usual_timeout_ns) noexcept;
    // Controllers that come up from here on are given page lists, whatever they offer. Boot.
    static void keep_to_page_lists() noexcept;
    disk(mem::box<port> bus, ktime::ns timeout_ns) noexcept : hardware_disk(timeout_ns), bus_(std::move(bus)) {}

    std::string_view driver() const noexcept override { return "nvme"; }
    unsigned bounce_pages() const noexcept override { return bounce_pages_; }
    port& bus() const noexcept { return *bus_; }
    k::u32 name_space() const noexcept { return name_space_; }
    unsigned doorbell_bytes() const noexcept { return doorbell_bytes_; }
    unsigned block_shift() const noexcept { return block_shift_; }         // from sectors of 512 bytes to the device's
    bool takes_descriptors() const noexcept { return takes_descriptors_; } // scatter lists in place of page lists

  private:
    static constexpr unsigned bounce_pages_ = 8; // a queue; for what does not lie on pages

    bool stop_device() noexcept override;
    k::status start_device() noexcept override;
    bool wait_for_ready(bool ready) noexcept;
    k::status enable() noexcept;
    k::result<k::u32> administrate(command c) noexcept;
    k::status identify(k::u32 what, k::u32 name_space) noexcept;
    k::status read_controller() noexcept;
    void set_limits() noexcept;
    k::status read_name_space() noexcept;
    k::status make_queues() noexcept;
    k::status start_queues() noexcept;
    template <class T> T said(std::size_t offset) const noexcept;

    mem::box<port> bus_;
    ring admin_;
    busdma::memory page_; // what the controller says of itself
    ktime::ns patience_ns_ = 0;
    k::u32 name_space_ = 0;
    unsigned doorbell_bytes_ = 4, block_shift_ = 0;
    bool can_discard_ = false, has_write_cache_ = false, takes_descriptors_ = false;
};

} // namespace nvme
