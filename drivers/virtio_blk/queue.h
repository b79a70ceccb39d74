// One queue of a virtio disk: its ring, and what the device reads and writes beside the data.
#pragma once

#include "drivers/virtio_blk/disk.h"

namespace virtio_blk {

class queue final : public block::request_queue {
  public:
    queue(disk& of, unsigned index, unsigned cpu) noexcept : request_queue(of, cpu), bus_(of.bus()), index_(index) {}
    k::status create(const busdma::tag& t) noexcept; // ENOMEM
    // Tells the device of an empty ring. Thread context.
    k::status start_device() noexcept;

  private:
    struct shared_words {
        k::u32 type, reserved;
        k::u64 sector;
        k::u64 discard_sector;
        k::u32 discard_sectors, discard_flags;
        k::u8 status;
        k::u8 unused[7];
    };

    void issue(unsigned slot, const block::request& r, std::span<const busdma::segment> segments) noexcept override;
    void take_answers() noexcept override;
    k::status outcome(unsigned slot, k::u32 written) noexcept;
    shared_words& words(unsigned slot) noexcept { return reinterpret_cast<shared_words*>(words_.data())[slot]; }
    arch::paddr address_of(unsigned slot, std::size_t field) const noexcept {
        return words_.address() + slot * sizeof(shared_words) + field;
    }

    virtio::transport& bus_;
    const unsigned index_;
    virtio::queue ring_;
    busdma::memory words_;
};

} // namespace virtio_blk
