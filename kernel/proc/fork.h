// New processes and threads, all by way of clone().
#pragma once

#include "kernel/proc/process.h"

namespace proc {

// Linux's flags of clone(2), as far as we know them.
enum clone_flag : k::u64 {
    clone_vm = 0x100,
    clone_fs = 0x200,
    clone_files = 0x400,
    clone_sighand = 0x800,
    clone_ptrace = 0x2000,
    clone_vfork = 0x4000,
    clone_parent = 0x8000,
    clone_thread = 0x10000,
    clone_sysvsem = 0x40000,
    clone_settls = 0x80000,
    clone_parent_settid = 0x100000,
    clone_child_cleartid = 0x200000,
    clone_detached = 0x400000,
    clone_untraced = 0x800000,
    clone_child_settid = 0x1000000,
    clone_io = 0x80000000,
    clone_clear_sighand = 0x100000000,
};

struct clone_request {
    k::u64 flags = 0;
    int exit_signal = 0;
    xio::user_address stack = 0; // where it begins; 0: that of the maker
    xio::user_address tls = 0;
    xio::user_address parent_tid = 0, child_tid = 0;
};

// Makes a thread or a process after the running thread, which it returns twice from. Returns the number. With
// clone_vfork: when the child is done with the memory. EINVAL: a combination that makes no sense or that is not
// supported; EAGAIN: no number or over RLIMIT_NPROC; ENOMEM; EINTR: a signal is to be taken first, or the process is
// about to end. Thread context.
k::result<int> clone(thread& maker, const clone_request& what) noexcept;

// A process without a parent and its one thread, with nothing in it yet but a place, entered in the tables. For init.
k::result<k::ref<thread>> make_first_process(k::ref<places> where) noexcept;
// Sets a thread that was made going, on a CPU that it may use. ENOMEM.
k::status start_thread(k::ref<thread> t) noexcept;

} // namespace proc
