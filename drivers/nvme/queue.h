// A pair of queues of an NVMe disk, for one CPU.
#pragma once

#include "drivers/nvme/disk.h"

namespace nvme {

class queue final : public block::request_queue {
  public:
    queue(disk& of, unsigned cpu) noexcept : request_queue(of, cpu), disk_(of) {}
    k::status create(const busdma::tag& t, unsigned number) noexcept; // ENOMEM
    ring& pair() noexcept { return ring_; }

  private:
    void issue(unsigned slot, const block::request& r, std::span<const busdma::segment> segments) noexcept override;
    void take_answers() noexcept override;
    void point_to(command& c, unsigned slot, std::span<const busdma::segment> segments) noexcept;
    void describe(command& c, unsigned slot, std::span<const busdma::segment> segments) noexcept;
    std::byte* page_of(unsigned slot) noexcept { return pages_.data() + slot * arch::page_size; }
    arch::paddr page_address(unsigned slot) const noexcept { return pages_.address() + slot * arch::page_size; }

    disk& disk_;
    ring ring_;
    busdma::memory pages_; // one for each slot: its list of pages or descriptors, or its range to discard
};

} // namespace nvme
