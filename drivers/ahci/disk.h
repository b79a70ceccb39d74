// A disk on a port of an AHCI controller. It has one queue, on the CPU to which the controller's interrupt goes.
//
// Commands are queued (NCQ) where disk and controller can, as many at once as both take; a flush, a discard, and what
// is tried a second time, go alone. After an error the port is stopped. A disk that keeps a log of such errors is asked
// which command it was: that one fails with EIO, and the others are queued again. Else the disk is reset (COMRESET),
// and each command that was under way is tried again alone: then an error has only one that it can belong to.
#pragma once

#include "drivers/ahci/command.h"
#include "drivers/ahci/host.h"
#include "drivers/block/hardware_disk.h"

namespace ahci {

class queue;

class disk final : public block::hardware_disk {
  public:
    // Brings up what is plugged into a port. ENXIO: nothing, or no disk; EOPNOTSUPP: it lacks what we need, or says
    // nonsense of itself; EIO; ENOMEM. Thread context, blocks.
    static k::result<k::ref<block::disk>> create(k::ref<host> on, unsigned port,
                                                 ktime::ns timeout_ns = usual_timeout_ns) noexcept;
    disk(k::ref<host> on, unsigned port, ktime::ns timeout_ns) noexcept
        : hardware_disk(timeout_ns), host_(std::move(on)), port_(port) {}
    ~disk();

    std::string_view driver() const noexcept override { return "ahci"; }
    unsigned bounce_pages() const noexcept override { return bounce_pages_; }
    unsigned sector_shift() const noexcept { return sector_shift_; } // from sectors of 512 bytes to the disk's
    unsigned tags() const noexcept { return tags_; }                 // commands at once; 1: they are not queued

    k::u32 read(port_register r) noexcept { return host_->read(port_, r); }
    void write(port_register r, k::u32 value) noexcept { host_->write(port_, r, value); }

  private:
    static constexpr unsigned bounce_pages_ = 8; // for what begins at an odd address

    bool stop_device() noexcept override;
    bool look_into_failure() noexcept override;
    k::status start_device() noexcept override;
    void set_up_port() noexcept;
    template <class Done> bool wait_for(Done done, ktime::ns patience) noexcept;
    bool stop_engine(k::u32 what, k::u32 runs) noexcept;
    k::status reset_link() noexcept;
    k::status identify() noexcept;
    k::status read_properties() noexcept;
    k::u16 said(unsigned word) const noexcept;
    queue& only_queue() noexcept;

    const k::ref<host> host_;
    const unsigned port_;
    busdma::memory lists_; // the command list, then what was received
    busdma::memory page_;  // what the disk says of itself
    unsigned tags_ = 1, sector_shift_ = 0;
    bool is_up_ = false;                            // its properties are known
    bool has_log_ = false, error_was_read_ = false; // of errors; and so no reset is needed
    k::u64 sectors_said_ = 0;
};

} // namespace ahci
