// Files that stand for something else than bytes in a place: events, timers, signals, memory.
#include "kernel/files/event_file.h"
#include "kernel/files/signal_file.h"
#include "kernel/files/stored_file.h"
#include "kernel/files/timer_file.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"

namespace syscalls {

namespace {

using files::file_ref;
using files::timer_spec;
using vm::user_pointer;

constexpr k::u64 nonblock_or_cloexec = files::open_nonblock | files::open_cloexec;

k::u32 file_flags(bits flags) {
    return static_cast<k::u32>(flags.value) & files::open_nonblock;
}

k::result<k::u64> give(file_ref what, bool close_on_exec) {
    return static_cast<k::u64>(TRY(files::give_to_caller(std::move(what), close_on_exec)));
}

// --- eventfd

constexpr k::u64 event_semaphore = 1;

k::result<k::u64> sys_eventfd2(k::u32 count, bits flags) {
    if (flags.value & ~(event_semaphore | nonblock_or_cloexec)) return k::error::inval;
    return give(TRY(files::make_event_file(count, flags.value & event_semaphore, file_flags(flags))),
                flags.value & files::open_cloexec);
}

k::result<k::u64> sys_eventfd(k::u32 count) {
    return sys_eventfd2(count, {0});
}

// --- timerfd

k::result<k::u64> sys_timerfd_create(int clock, bits flags) {
    if (flags.value & ~nonblock_or_cloexec) return k::error::inval;
    return give(TRY(files::make_timer_file(clock, file_flags(flags))), flags.value & files::open_cloexec);
}

constexpr k::u64 timer_absolute = 1, timer_cancel_on_set = 2; // the second is accepted and does nothing

k::result<k::u64> sys_timerfd_settime(fd of, bits flags, user_pointer<const timer_spec> to,
                                      user_pointer<timer_spec> old) {
    if (flags.value & ~(timer_absolute | timer_cancel_on_set)) return k::error::inval;
    const timer_spec wanted = TRY(to.read(callers_memory()));
    file_use f = TRY(files::callers_file(of.number));
    timer_spec before;
    TRY(files::set_timer(*f, flags.value & timer_absolute, wanted, before));
    if (old) TRY(old.write(callers_memory(), before));
    return 0;
}

k::result<k::u64> sys_timerfd_gettime(fd of, user_pointer<timer_spec> to) {
    file_use f = TRY(files::callers_file(of.number));
    timer_spec now;
    TRY(files::get_timer(*f, now));
    TRY(to.write(callers_memory(), now));
    return 0;
}

// --- signalfd

k::result<k::u64> sys_signalfd4(fd of, user_pointer<const k::u64> mask, k::u64 mask_bytes, bits flags) {
    if (mask_bytes != sizeof(k::u64) || (flags.value & ~nonblock_or_cloexec)) return k::error::inval;
    const proc::signal_set wanted(TRY(mask.read(callers_memory())));
    if (of.number == -1)
        return give(TRY(files::make_signal_file(wanted, file_flags(flags))), flags.value & files::open_cloexec);
    file_use f = TRY(files::callers_file(of.number));
    TRY(files::change_signal_file(*f, wanted));
    return static_cast<k::u64>(of.number);
}

k::result<k::u64> sys_signalfd(fd of, user_pointer<const k::u64> mask, k::u64 mask_bytes) {
    return sys_signalfd4(of, mask, mask_bytes, {0});
}

// --- memfd

constexpr k::u64 memory_cloexec = 1, memory_sealable = 2, memory_no_exec = 8, memory_exec = 16;

k::result<k::u64> sys_memfd_create(user_text name, bits flags) {
    if (flags.value & ~(memory_cloexec | memory_sealable | memory_no_exec | memory_exec)) return k::error::inval;
    char text[files::longest_memory_name + 1];
    auto called = vm::read_user_text(callers_memory(), name.at, text);
    if (!called) return called.error() == k::error::nametoolong ? k::error::inval : called.error();
    proc::process& p = proc::current_process();
    return give(TRY(files::make_memory_file(*called, flags.value & memory_sealable, p.who.user().for_files,
                                            p.who.group().for_files)),
                flags.value & memory_cloexec);
}

constexpr entry entries[] = {
    call<sys_signalfd>(282, "signalfd", ends, "see signalfd4"),
    call<sys_timerfd_create>(283, "timerfd_create"),
    call<sys_eventfd>(284, "eventfd"),
    call<sys_timerfd_settime>(286, "timerfd_settime", ends, "TFD_TIMER_CANCEL_ON_SET does nothing"),
    call<sys_timerfd_gettime>(287, "timerfd_gettime"),
    call<sys_signalfd4>(289, "signalfd4", ends, "poll tells of the signals of the process that made the file"),
    call<sys_eventfd2>(290, "eventfd2"),
    call<sys_memfd_create>(319, "memfd_create", ends, "no huge pages, no seals against writing"),
};

} // namespace

constinit const std::span<const entry> event_calls = entries;

} // namespace syscalls
