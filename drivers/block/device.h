// block::device: a disk or a partition of one, as the rest of the kernel knows it: a name, a number, a range of
// sectors.
#pragma once

#include "drivers/block/disk.h"

namespace block {

class cache;

// What a device did, on one CPU. Times are sums of what each request took.
struct statistics {
    k::u64 requests[operations];
    k::u64 sectors[operations];
    k::u64 ns[operations];
    k::u64 failed;
    k::u64 submitted, completed; // their difference, over all CPUs, is in flight
};

class device final : public k::counted<device> {
  public:
    static constexpr unsigned longest_name = 15;
    static constexpr unsigned minors_a_disk = 16; // the disk and its partitions

    // ENOMEM.
    static k::result<k::ref<device>> create(k::ref<disk> on, std::string_view name, k::u32 major, k::u32 minor,
                                            k::u64 first, k::u64 sectors) noexcept;
    device(k::ref<disk> on, std::string_view name, k::u32 major, k::u32 minor, k::u64 first, k::u64 sectors) noexcept;
    void last_holder_left() noexcept;
    ~device();

    std::string_view name() const noexcept { return {name_, name_length_}; }
    k::u32 major() const noexcept { return major_; }
    k::u32 minor() const noexcept { return minor_; }
    bool is_partition() const noexcept { return minor_ % minors_a_disk != 0; }
    k::u64 first() const noexcept { return first_; }
    k::u64 sectors() const noexcept { return sectors_; }
    k::u64 bytes() const noexcept { return sectors_ << sector_shift; }
    disk& on() const noexcept { return *disk_; }
    const disk_properties& properties() const noexcept { return disk_->properties(); }

    // Hands a request to the driver, or completes it at once: EINVAL unless it lies on the device and on the
    // boundaries of its blocks, EROFS, EOPNOTSUPP for what it cannot do, EIO when the disk is gone. A flush of a disk
    // that keeps nothing back succeeds. done() may be called before this is over. Thread context or critical section;
    // returns on the CPU on which done() is called.
    void submit(request& r) noexcept;

    // The disk went away: what is submitted from now on fails.
    void mark_gone() noexcept { gone_.store(true, std::memory_order_release); }
    bool is_gone() const noexcept { return gone_.load(std::memory_order_acquire); }

    statistics read_statistics() const noexcept;
    // Its cached pages; they go with the device.
    block::cache& cache() const noexcept { return *cache_; }

  private:
    friend void complete(request& r, k::status status) noexcept;
    k::status check(const request& r) const noexcept;
    void finish(request& r) noexcept;
    static void finish_here(void* r) noexcept;

    const k::ref<disk> disk_;
    const k::u32 major_, minor_;
    const k::u64 first_, sectors_;
    char name_[longest_name];
    unsigned name_length_;
    std::atomic<bool> gone_ = false;
    block::cache* cache_ = nullptr;
    // Each CPU writes its own, in a critical section; others read.
    struct alignas(64) counters {
        statistics sum;
    };
    counters* counters_ = nullptr;
};

using device_ref = k::ref<device>;

// Moves all bytes of an xio from or to a device, from a byte on, in as many requests as it takes, and waits. How many
// bytes from the front are good, and what went wrong behind them. Thread context, no token held.
xio::moved read(device& from, k::u64 offset, const xio::sink& to) noexcept;
xio::moved write(device& to, k::u64 offset, const xio::source& from, bool durable = false) noexcept;
// What was written before is on the medium. EIO. Thread context.
k::status flush(device& of) noexcept;
k::status discard(device& of, k::u64 offset, k::u64 bytes) noexcept;

} // namespace block
