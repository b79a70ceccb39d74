// The queue of an AHCI disk: which command has which tag, and which must wait its turn.
#pragma once

#include "drivers/ahci/disk.h"

namespace ahci {

class queue final : public block::request_queue {
  public:
    queue(disk& of, unsigned cpu) noexcept : request_queue(of, cpu), disk_(of) {}
    // The list and what is received lie in memory of the disk's. ENOMEM.
    k::status create(const busdma::tag& t, std::byte* list, const std::byte* received) noexcept;
    // As it was made; nothing is in the device.
    void clear() noexcept;

    // Does one command that reads a page, and waits for it; while no requests are let in. EIO.
    k::status run_alone(ata_command what, arch::paddr to, k::u32 bytes, k::u64 first = 0, k::u32 count = 0) noexcept;

    // An error came among queued commands, and nobody has cleared that.
    bool has_queued_error() const noexcept { return queued_error_; }
    // Which it was. False: the device has no such command.
    bool note_failed(unsigned tag) noexcept;

  private:
    static constexpr unsigned none = slots;
    struct waiting {
        unsigned slot;
        std::span<const busdma::segment> segments;
    };

    void issue(unsigned slot, const block::request& r, std::span<const busdma::segment> segments) noexcept override;
    void take_answers() noexcept override;
    fate fate_of(unsigned slot) const noexcept override;

    bool goes_queued(const block::request& r) const noexcept;
    void give_what_can_go() noexcept;
    void give_queued(const waiting& w, unsigned tag) noexcept;
    void give_alone(const waiting& w) noexcept;
    k::u32 fill(unsigned tag, std::span<const busdma::segment> segments, bool writes) noexcept;
    void halt(std::string_view why) noexcept;
    void take_queued(bool error) noexcept;
    void take_lone(bool error) noexcept;
    k::status lone_outcome(const block::request& r) const noexcept;
    command_table& table(unsigned tag) noexcept { return reinterpret_cast<command_table*>(tables_.data())[tag]; }

    disk& disk_;
    command_header* list_ = nullptr;
    const std::byte* received_ = nullptr;
    busdma::memory tables_;
    busdma::memory ranges_; // what to discard
    k::u32 queued_ = 0;     // tags that the device has
    unsigned slot_of_[slots] = {};
    bool halted_ = false;       // an error came: it takes nothing before it has been reset
    bool queued_error_ = false; // among queued commands
    unsigned failed_ = none;    // the slot whose command it was, if the device has said so
    unsigned lone_ = none;      // the slot whose command is in the device alone, under tag 0
    waiting line_[slots];       // a ring
    unsigned line_start_ = 0, line_length_ = 0;
};

} // namespace ahci
