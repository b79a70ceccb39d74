// System calls that make, replace, end and wait for processes and threads.
#include "kernel/files/paths.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/exec.h"
#include "kernel/proc/exit.h"
#include "kernel/proc/fork.h"
#include "kernel/proc/group.h"
#include "kernel/proc/wait.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/usage_record.h"

#include <algorithm>

namespace syscalls {

namespace {

using proc::current;
using proc::current_process;
using proc::current_space;
using vm::user_pointer;

// --- New ones.

k::result<k::u64> make(const proc::clone_request& what) {
    return static_cast<k::u64>(TRY(proc::clone(current(), what)));
}

k::result<k::u64> sys_fork() {
    return make({.flags = 0, .exit_signal = proc::sig_chld});
}

k::result<k::u64> sys_vfork() {
    return make({.flags = proc::clone_vfork | proc::clone_vm, .exit_signal = proc::sig_chld});
}

constexpr k::u64 signal_mask = 0xff; // of clone()'s flags

k::result<k::u64> sys_clone(bits flags, k::u64 stack, user_pointer<int> parent_tid, user_pointer<int> child_tid,
                            k::u64 tls) {
    return make({.flags = flags.value & ~signal_mask & 0xffffffff,
                 .exit_signal = static_cast<int>(flags.value & signal_mask),
                 .stack = stack,
                 .tls = tls,
                 .parent_tid = parent_tid.address(),
                 .child_tid = child_tid.address()});
}

// struct clone_args.
struct clone_record {
    k::u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_bytes, tls;
    k::u64 set_tid, set_tid_count, cgroup;
};
constexpr k::u64 first_clone_record_bytes = 64;

// A structure that may be of an older or newer kind than ours: what is missing is 0, what is more must be.
k::status read_versioned(xio::user_address at, k::u64 bytes, std::span<std::byte> out) {
    const k::u64 known = std::min<k::u64>(bytes, out.size());
    if (current_space().copy_in(out.data(), at, known) != known) return k::error::fault;
    for (k::u64 i = known; i < bytes; i++) {
        k::u8 more;
        if (current_space().copy_in(&more, at + i, 1) != 1) return k::error::fault;
        if (more) return k::error::toobig;
    }
    return {};
}

k::result<k::u64> sys_clone3(user_pointer<const clone_record> from, k::u64 bytes) {
    if (bytes > arch::page_size) return k::error::toobig;
    if (bytes < first_clone_record_bytes) return k::error::inval;
    clone_record r{};
    TRY(read_versioned(from.address(), bytes, std::as_writable_bytes(std::span(&r, 1))));
    const bool bad_stack = r.stack ? !r.stack_bytes || r.stack + r.stack_bytes < r.stack : r.stack_bytes != 0;
    const bool bad_signal =
        (r.exit_signal & ~signal_mask) || (r.exit_signal && (r.flags & (proc::clone_thread | proc::clone_parent)));
    if ((r.flags & (signal_mask | proc::clone_detached)) || bad_stack || bad_signal || r.set_tid || r.set_tid_count)
        return k::error::inval;
    return make({.flags = r.flags,
                 .exit_signal = static_cast<int>(r.exit_signal),
                 .stack = r.stack + r.stack_bytes,
                 .tls = r.tls,
                 .parent_tid = r.parent_tid,
                 .child_tid = r.child_tid});
}

k::result<k::u64> sys_set_tid_address(user_pointer<int> at) {
    current().clear_child_tid = at.address();
    return static_cast<k::u64>(current().tid);
}

// --- Another program.

constexpr k::u64 at_no_follow = 0x100, at_empty_path = 0x1000;

k::result<k::u64> run_program(int directory, user_text path, xio::user_address arguments, xio::user_address environment,
                              k::u64 flags) {
    files::path_buffer buffer;
    if (!buffer) return k::error::nomem;
    std::string_view text = TRY(vm::read_user_text(current_space(), path.at, buffer.room()));
    files::eyes as;
    proc::user_texts texts(current_space(), arguments, environment);
    const bool is_descriptor = text.empty() && (flags & at_empty_path);
    const bool is_elsewhere = directory != files::at_working_directory && !text.starts_with('/');
    if (!is_descriptor && !is_elsewhere && !(flags & at_no_follow)) {
        const vfs::view v = as.from_here();
        TRY(proc::exec(current(), {v, text}, texts));
        return 0;
    }
    const auto last = flags & at_no_follow ? vfs::last_link::keep : vfs::last_link::follow;
    const vfs::found file = TRY(files::find_file(as, directory, text, last, flags & at_empty_path));
    if (file.node->is(vfs::node_type::link)) return k::error::loop;
    // Interpreters of scripts find the file by its descriptor.
    files::path_buffer named;
    if (!named) return k::error::nomem;
    if (is_elsewhere) {
        k::buffer_sink out(named.room());
        k::format_to(out, "/dev/fd/{}{}{}", directory, is_descriptor ? "" : "/", text);
        text = out.view();
    }
    const vfs::view v = as.from_here();
    TRY(proc::exec(current(), {v, text, &file}, texts));
    return 0;
}

k::result<k::u64> sys_execve(user_text path, user_pointer<const k::u64> arguments,
                             user_pointer<const k::u64> environment) {
    return run_program(files::at_working_directory, path, arguments.address(), environment.address(), 0);
}

k::result<k::u64> sys_execveat(fd directory, user_text path, user_pointer<const k::u64> arguments,
                               user_pointer<const k::u64> environment, bits flags) {
    if (flags.value & ~(at_empty_path | at_no_follow)) return k::error::inval;
    return run_program(directory.number, path, arguments.address(), environment.address(), flags.value);
}

// --- The end.

k::result<k::u64> sys_exit(int code) {
    proc::leave_with(code);
}

k::result<k::u64> sys_exit_group(int code) {
    proc::end_process(current_process(), proc::exited_with(code));
    proc::leave();
}

// --- Waiting.

int own_group() {
    lwkt::token_hold hold(proc::tree);
    return current_process().group->number;
}

k::status write_usage(user_pointer<usage_record> to, const proc::usage& used) {
    return to ? to.write(current_space(), usage_record::of(used)) : k::status();
}

using wait_kind = proc::wait_for::kind;

k::result<k::u64> sys_wait4(int pid, user_pointer<int> status, bits options, user_pointer<usage_record> usage) {
    constexpr k::u32 known = proc::wait_no_hang | proc::wait_stopped | proc::wait_continued | proc::wait_no_thread |
                             proc::wait_clone | proc::wait_all;
    const auto wanted = static_cast<k::u32>(options.value);
    if (wanted & ~known) return k::error::inval;
    if (pid == -0x7fffffff - 1) return k::error::srch;
    proc::wait_for whom;
    if (pid > 0) whom = {wait_kind::process, pid};
    if (pid == 0) whom = {wait_kind::group, own_group()};
    if (pid < -1) whom = {wait_kind::group, -pid};
    const proc::wait_report report = TRY(proc::wait_for_child(current_process(), whom, wanted | proc::wait_exited));
    if (report.pid) {
        if (status) TRY(status.write(current_space(), report.status));
        TRY(write_usage(usage, report.used));
    }
    return static_cast<k::u64>(report.pid);
}

// What waitid() fills in of siginfo_t.
struct child_info {
    k::i32 signal, error, code, pad, pid;
    k::u32 uid;
    k::i32 status;
};

child_info describe(const proc::wait_report& report) {
    if (!report.pid) return {};
    child_info info{proc::sig_chld, 0, 0, 0, report.pid, report.uid, 0};
    if (report.status == proc::continued_status) {
        info.code = proc::cld_continued;
        info.status = proc::sig_cont;
    } else if ((report.status & 0xff) == 0x7f) {
        info.code = proc::cld_stopped;
        info.status = report.status >> 8 & 0xff;
    } else if (report.status & 0x7f) {
        info.code = proc::cld_killed;
        info.status = report.status & 0x7f;
    } else {
        info.code = proc::cld_exited;
        info.status = report.status >> 8 & 0xff;
    }
    return info;
}

k::result<k::u64> sys_waitid(int kind, int id, user_pointer<child_info> info, bits options,
                             user_pointer<usage_record> usage) {
    constexpr k::u32 events = proc::wait_exited | proc::wait_stopped | proc::wait_continued;
    constexpr k::u32 known =
        events | proc::wait_no_hang | proc::wait_no_reap | proc::wait_no_thread | proc::wait_clone | proc::wait_all;
    const auto wanted = static_cast<k::u32>(options.value);
    if ((wanted & ~known) || !(wanted & events)) return k::error::inval;
    proc::wait_for whom;
    switch (kind) {
    case 0: break;
    case 1:
        if (id <= 0) return k::error::inval;
        whom = {wait_kind::process, id};
        break;
    case 2:
        if (id < 0) return k::error::inval;
        whom = {wait_kind::group, id ? id : own_group()};
        break;
    default: return k::error::inval;
    }
    const proc::wait_report report = TRY(proc::wait_for_child(current_process(), whom, wanted));
    if (report.pid) TRY(write_usage(usage, report.used));
    if (info) TRY(info.write(current_space(), describe(report)));
    return 0;
}

// --- Who is who.

k::result<k::u64> sys_getpid() {
    return static_cast<k::u64>(current_process().pid);
}

k::result<k::u64> sys_getppid() {
    return static_cast<k::u64>(current_process().parent_pid.load(std::memory_order_relaxed));
}

k::result<k::u64> sys_gettid() {
    return static_cast<k::u64>(current().tid);
}

k::result<k::u64> sys_getpgrp() {
    return static_cast<k::u64>(own_group());
}

// The process that a call names; 0 is the caller's.
proc::process* named(int pid) REQUIRES(proc::tree) {
    return pid ? proc::find_process(pid) : &current_process();
}

k::result<k::u64> sys_getpgid(int pid) {
    lwkt::token_hold hold(proc::tree);
    const proc::process* p = named(pid);
    if (!p) return k::error::srch;
    return static_cast<k::u64>(p->group->number);
}

k::result<k::u64> sys_getsid(int pid) {
    lwkt::token_hold hold(proc::tree);
    const proc::process* p = named(pid);
    if (!p) return k::error::srch;
    return static_cast<k::u64>(p->group->in->number);
}

k::result<k::u64> sys_setpgid(int pid, int group) {
    if (group < 0) return k::error::inval;
    TRY(proc::set_group(current_process(), pid, group));
    return 0;
}

k::result<k::u64> sys_setsid() {
    return static_cast<k::u64>(TRY(proc::lead_session(current_process())));
}

constexpr entry entries[] = {
    call<sys_getpid>(39, "getpid"),
    with_registers(
        call<sys_clone>(56, "clone", starts_over, "no namespaces, no pidfd; FS and SIGHAND only for threads")),
    with_registers(call<sys_fork>(57, "fork", starts_over)),
    with_registers(call<sys_vfork>(58, "vfork", starts_over)),
    with_registers(call<sys_execve>(59, "execve")),
    call<sys_exit>(60, "exit"),
    call<sys_wait4>(61, "wait4", restarts),
    call<sys_setpgid>(109, "setpgid"),
    call<sys_getppid>(110, "getppid"),
    call<sys_getpgrp>(111, "getpgrp"),
    call<sys_setsid>(112, "setsid"),
    call<sys_getpgid>(121, "getpgid"),
    call<sys_getsid>(124, "getsid"),
    call<sys_gettid>(186, "gettid"),
    call<sys_set_tid_address>(218, "set_tid_address"),
    call<sys_exit_group>(231, "exit_group"),
    call<sys_waitid>(247, "waitid", restarts, "no P_PIDFD"),
    with_registers(call<sys_execveat>(322, "execveat")),
    with_registers(call<sys_clone3>(435, "clone3", starts_over, "as clone; no set_tid, no cgroup")),
};

} // namespace

constinit const std::span<const entry> process_calls = entries;

} // namespace syscalls
