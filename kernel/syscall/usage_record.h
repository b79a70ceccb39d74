// struct rusage of the ABI.
#pragma once

#include "kernel/proc/process.h"

namespace syscalls {

struct usage_record {
    struct time {
        k::i64 seconds, microseconds;
    };
    time user, system;
    k::i64 peak_kib;
    k::i64 unused_sizes[3];
    k::i64 minor_faults, major_faults;
    k::i64 unused_counts[6];
    k::i64 waits, preemptions;

    static usage_record of(const proc::usage& used) noexcept {
        auto split = [](k::u64 ns) {
            return time{static_cast<k::i64>(ns / ktime::second), static_cast<k::i64>(ns % ktime::second / 1000)};
        };
        usage_record r{};
        r.user = split(used.user_ns);
        r.system = split(used.system_ns);
        r.peak_kib = static_cast<k::i64>(used.peak_pages * (arch::page_size / 1024));
        r.minor_faults = static_cast<k::i64>(used.faults);
        r.waits = static_cast<k::i64>(used.waits);
        return r;
    }
};
static_assert(sizeof(usage_record) == 144);

} // namespace syscalls
