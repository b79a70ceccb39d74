// Waiting for children: what wait4() and waitid() have in common.
#pragma once

#include "kernel/proc/process.h"

namespace proc {

// Linux's options, those of both calls.
enum wait_option : k::u32 {
    wait_no_hang = 1,
    wait_stopped = 2,
    wait_exited = 4, // wait4() always means it
    wait_continued = 8,
    wait_no_reap = 0x1000000, // WNOWAIT
    wait_no_thread = 0x20000000,
    wait_all = 0x40000000,
    wait_clone = 0x80000000,
};

// Which children.
struct wait_for {
    enum class kind : k::u8 { any, process, group } what = kind::any;
    int number = 0; // of the process or group
};

struct wait_report {
    int pid = 0; // 0: wait_no_hang, and nothing has happened yet
    k::u32 uid = 0;
    int status = 0; // as wait4() gives it
    usage used{};   // of the child and those it has waited for
};

// Waits for something that `options` ask for and, but for wait_no_reap, takes notice of it: a zombie is gone then.
// ECHILD: there is no such child; EINTR.
k::result<wait_report> wait_for_child(process& parent, wait_for whom, k::u32 options) noexcept;

} // namespace proc
