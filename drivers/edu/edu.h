// QEMU's `edu` device (docs/specs/edu.rst of QEMU): it copies nearly 4 KiB between memory and a buffer of its own, and
// reaches 28 bits of address. It is there to try busdma on: what lies higher must bounce.
#pragma once

#include "drivers/busdma/busdma.h"
#include "drivers/pci/message_interrupts.h"
#include "kernel/lwkt/wait_queue.h"

namespace edu {

class device {
  public:
    // QEMU 7 and 8 take a transfer that reaches the very end of the 4 KiB for one that goes beyond, and abort.
    static constexpr k::u64 buffer_bytes = 4088;

    // The first one of the machine; null if there is none.
    static device* found() noexcept;

    explicit device(pci::function& f) noexcept : function_(f), attached_(f) {}
    k::status start() noexcept; // ENODEV: it does not answer as it should; ENOMEM

    // Copies bytes into the start of the device's buffer / out of it. EINVAL: too many, or not in one piece for it;
    // ETIMEDOUT. Thread context of CPU 0, one at a time.
    k::status put(const xio::source& from) noexcept;
    k::status get(const xio::sink& to) noexcept;
    const busdma::tag& limits() const noexcept { return limits_; }
    // Has it copy without a map: to see what stops it. True: it said that it is done. As above.
    bool copy_unasked(arch::paddr memory, k::u64 bytes, bool to_memory) noexcept;

  private:
    void begin(arch::paddr memory, k::u64 bytes, bool to_memory) noexcept;
    bool wait_for_end() noexcept;
    template <class Slice> k::status transfer(const Slice& what, bool to_memory) noexcept;
    static void interrupted(void* self) noexcept;

    pci::function& function_;
    pci::attachment attached_;
    mem::register_window registers_;
    pci::message_interrupts interrupts_;
    busdma::tag limits_{.address_bits = 28, .segments = 1, .segment_bytes = buffer_bytes};
    mem::box<busdma::bounce_pool> pool_;
    mem::box<busdma::map> map_;
    lwkt::wait_queue waiting_;
    std::atomic<bool> done_ = false;
};

} // namespace edu
