// All disks of the machine, and what is on them.
#pragma once

#include "drivers/block/device.h"

namespace block {

constexpr unsigned most_devices = 128;

// Which names a driver's disks get: "vd" makes vda, vdb, ... with minors 0, 16, ...
struct disk_family {
    std::string_view prefix;
    k::u32 major;
    bool numbered = false; // nvme0n1p1 instead of vda1
};
extern const disk_family virtio_disks, nvme_disks, ahci_disks;

// Gives a disk a name, reads its partitions and makes all of it known. ENOSPC: too many; ENOMEM. Unreadable tables
// leave it without partitions. Thread context, blocks.
k::result<device_ref> add_disk(k::ref<disk> fresh, const disk_family& family) noexcept;
// Takes a disk and its partitions out. Those who have them open keep them, and get EIO. Thread context.
void remove_disk(disk& gone) noexcept;

// By number; empty if there is none. Any thread.
device_ref find_device(k::u32 major, k::u32 minor) noexcept;
// The n-th, in the order in which they came; empty behind the last.
device_ref nth_device(unsigned n) noexcept;

// Writes back what is cached of all devices, and flushes them. The first error. Thread context.
k::status write_all_back() noexcept;

// Has a thread write dirty pages of all devices back every two seconds. Once, at boot. ENOMEM.
k::status start_writing_back() noexcept;

} // namespace block
