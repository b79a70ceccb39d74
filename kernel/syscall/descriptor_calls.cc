// Descriptors: more of them, fewer of them, and what fcntl(2) says of them and of their files.
#include "kernel/files/pipe.h"
#include "kernel/files/stored_file.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"
#include "kernel/syscall/lock_calls.h"

namespace syscalls {

namespace {

using files::callers_limit;
using files::callers_table;
using files::file_ref;

constexpr k::u64 flag_cloexec = files::open_cloexec;

k::result<k::u64> as_number(k::result<int> fd) {
    if (!fd) return fd.error();
    return static_cast<k::u64>(*fd);
}

k::result<file_ref> held_file(fd of) {
    file_ref held = callers_table().get(of.number);
    if (!held) return k::error::badf;
    return held;
}

k::result<k::u64> duplicate_to(fd from, int to, bool close_on_exec) {
    file_ref held = TRY(held_file(from));
    TRY(callers_table().install_at(to, std::move(held), close_on_exec, callers_limit()));
    return static_cast<k::u64>(to);
}

k::result<k::u64> sys_close(fd which) {
    TRY(callers_table().close(which.number));
    return 0;
}

k::result<k::u64> sys_dup(fd from) {
    return as_number(files::give_to_caller(TRY(held_file(from)), false));
}

k::result<k::u64> sys_dup2(fd from, int to) {
    if (from.number == to) {
        TRY(files::callers_file(to));
        return static_cast<k::u64>(to);
    }
    return duplicate_to(from, to, false);
}

k::result<k::u64> sys_dup3(fd from, int to, bits flags) {
    if ((flags.value & ~flag_cloexec) || from.number == to) return k::error::inval;
    return duplicate_to(from, to, flags.value & flag_cloexec);
}

constexpr k::u64 range_unshare = 2, range_cloexec = 4;

k::result<k::u64> sys_close_range(k::u32 first, k::u32 last, bits flags) {
    if (first > last || (flags.value & ~(range_unshare | range_cloexec))) return k::error::inval;
    if (flags.value & range_unshare) {
        proc::thread& t = proc::current();
        if (t.files->holders() > 1) t.set_files(TRY(t.files->clone(false)));
    }
    if (flags.value & range_cloexec)
        callers_table().set_close_on_exec_range(first, last);
    else
        callers_table().close_range(first, last);
    return 0;
}

enum fcntl_command : int {
    f_dupfd = 0,
    f_getfd = 1,
    f_setfd = 2,
    f_getfl = 3,
    f_setfl = 4,
    f_setown = 8,
    f_getown = 9,
    f_setsig = 10,
    f_getsig = 11,
    f_dupfd_cloexec = 1030,
    f_setpipe_sz = 1031,
    f_getpipe_sz = 1032,
    f_add_seals = 1033,
    f_get_seals = 1034,
};

constexpr k::u32 changeable_flags =
    files::open_append | files::open_nonblock | files::open_direct | files::open_async | files::open_no_access_time;

k::result<k::u64> duplicate_from(fd from, k::u64 least, bool close_on_exec) {
    file_ref held = TRY(held_file(from));
    if (least >= callers_limit()) return k::error::inval;
    return as_number(files::give_to_caller(std::move(held), close_on_exec, static_cast<int>(least)));
}

k::result<k::u64> pipe_fcntl(files::file& f, int command, k::u64 argument) {
    files::pipe* p = files::pipe_of(f);
    if (!p) return k::error::badf;
    if (command == f_getpipe_sz) return p->capacity();
    return p->set_capacity(static_cast<k::u32>(argument));
}

k::result<k::u64> sys_fcntl(fd of, int command, k::u64 argument) {
    if (is_lock_command(command)) return lock_fcntl(of, command, argument);
    file_use f = TRY(files::callers_file(of.number));
    switch (command) {
    case f_dupfd: return duplicate_from(of, argument, false);
    case f_dupfd_cloexec: return duplicate_from(of, argument, true);
    case f_getfd: return TRY(callers_table().closes_on_exec(of.number)) ? 1 : 0;
    case f_setfd: TRY(callers_table().set_close_on_exec(of.number, argument & 1)); return 0;
    // Linux tells of O_LARGEFILE only where it is not the rule.
    case f_getfl: return f->flags();
    case f_setfl: f->change_flags(changeable_flags, static_cast<k::u32>(argument)); return 0;
    case f_setown: f->set_owner(static_cast<int>(argument)); return 0;
    case f_getown: return static_cast<k::u64>(static_cast<k::i64>(f->owner()));
    case f_getsig: return 0;
    case f_setsig:
        if (argument) return k::error::inval;
        return 0;
    case f_setpipe_sz:
    case f_getpipe_sz: return pipe_fcntl(*f, command, argument);
    case f_add_seals: TRY(files::add_seals(*f, static_cast<k::u32>(argument))); return 0;
    case f_get_seals: return files::seals_of(*f);
    default: return k::error::inval;
    }
}

constexpr entry entries[] = {
    call<sys_close>(3, "close"),
    call<sys_dup>(32, "dup"),
    call<sys_dup2>(33, "dup2"),
    call<sys_fcntl>(72, "fcntl", restarts, "no leases; an owner is remembered and gets no signals"),
    call<sys_dup3>(292, "dup3"),
    call<sys_close_range>(436, "close_range"),
};

} // namespace

constinit const std::span<const entry> descriptor_calls = entries;

} // namespace syscalls
