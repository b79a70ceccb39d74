// What the calls that wait for files share: time-outs, and a signal mask for the length of a call.
#pragma once

#include "kernel/files/caller.h"
#include "kernel/proc/clock.h"

namespace syscalls {

// Until when a call waits. A relative time-out counts from the first time when the call begins anew after a signal.
class relative_wait {
  public:
    explicit relative_wait(ktime::ns fresh_deadline) noexcept
        : deadline_(proc::deadline_of_call(proc::current(), fresh_deadline)) {}
    ktime::ns deadline() const noexcept { return deadline_; }

    // Hands the call's outcome on; keeps the deadline for the case that it begins anew.
    k::result<k::u64> finish(k::result<k::u64> outcome) const noexcept {
        if (!outcome && outcome.error() == k::error::intr) proc::current().restart_deadline = deadline_;
        return outcome;
    }

  private:
    const ktime::ns deadline_;
};

inline ktime::ns remaining(ktime::ns deadline) noexcept {
    const ktime::ns now = ktime::now();
    return deadline > now ? deadline - now : 0;
}

// Null: for ever. EINVAL, EFAULT.
inline k::result<ktime::ns> deadline_after(vm::user_pointer<proc::time_spec> timeout) noexcept {
    if (!timeout) return ktime::forever;
    return ktime::after(TRY(TRY(timeout.read(files::callers_memory())).to_ns()));
}
// Tells how much of the time-out is left, if the memory can be written.
inline void write_remaining(vm::user_pointer<proc::time_spec> timeout, ktime::ns deadline) noexcept {
    if (timeout) (void)timeout.write(files::callers_memory(), proc::time_spec::of(remaining(deadline)));
}

// The mask for the length of the call; null: none. EINVAL, EFAULT.
inline k::status set_call_mask(vm::user_pointer<const k::u64> mask, k::u64 bytes) noexcept {
    if (!mask) return {};
    if (bytes != sizeof(k::u64)) return k::error::inval;
    proc::current().signals.set_temporary_mask(proc::signal_set(TRY(mask.read(files::callers_memory()))));
    return {};
}
// The end of such a call. After EINTR the mask stays until the signal's handler has been set up.
inline k::result<k::u64> end_call_mask(k::result<k::u64> outcome) noexcept {
    if (outcome || outcome.error() != k::error::intr) proc::current().signals.end_temporary_mask();
    return outcome;
}

} // namespace syscalls
