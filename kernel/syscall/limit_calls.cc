// System calls about resource limits and about what was used.
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/usage_record.h"

namespace syscalls {

namespace {

using proc::current;
using proc::current_process;
using proc::current_space;
using proc::limit;
using vm::user_pointer;

k::result<proc::resource> resource_of(k::u32 number) {
    if (number >= proc::resources) return k::error::inval;
    return static_cast<proc::resource>(number);
}

k::status set_limit(proc::process& p, proc::resource what, limit to) {
    if (what == proc::resource::files && to.hard > files::fd_table::most) return k::error::perm;
    TRY(p.limits.set(what, to, current_process().who.privileged()));
    if (what == proc::resource::cpu) p.timers.limit_changed();
    // The space keeps its own copy, so that mapping need not ask the process.
    if (auto space = p.share_space()) {
        if (what == proc::resource::address_space) space->set_limit(to.soft);
        if (what == proc::resource::data) space->set_data_limit(to.soft);
    }
    return {};
}

k::result<k::u64> sys_getrlimit(k::u32 number, user_pointer<limit> to) {
    TRY(to.write(current_space(), current_process().limits.get(TRY(resource_of(number)))));
    return 0;
}

k::result<k::u64> sys_setrlimit(k::u32 number, user_pointer<const limit> from) {
    const proc::resource what = TRY(resource_of(number));
    TRY(set_limit(current_process(), what, TRY(from.read(current_space()))));
    return 0;
}

// A process whose limits the caller may see and change, held; 0 is its own.
k::result<k::ref<proc::process>> accessible(int pid) {
    proc::process& own = current_process();
    lwkt::token_hold hold(proc::tree);
    proc::process* p = pid ? proc::find_process(pid) : &own;
    if (!p) return k::error::srch;
    const proc::credentials mine = own.who.read(), its = p->who.read();
    const bool same = mine.user.real == its.user.real && mine.user.real == its.user.effective &&
                      mine.user.real == its.user.saved && mine.group.real == its.group.real &&
                      mine.group.real == its.group.effective && mine.group.real == its.group.saved;
    if (p != &own && !same && !mine.privileged()) return k::error::perm;
    return k::ref<proc::process>::to(*p);
}

k::result<k::u64> sys_prlimit64(int pid, k::u32 number, user_pointer<const limit> from, user_pointer<limit> to) {
    const proc::resource what = TRY(resource_of(number));
    limit wanted{};
    if (from) wanted = TRY(from.read(current_space()));
    k::ref<proc::process> p = TRY(accessible(pid));
    const limit old = p->limits.get(what);
    if (from) TRY(set_limit(*p, what, wanted));
    if (to) TRY(to.write(current_space(), old));
    return 0;
}

enum class whose : int { children = -1, process = 0, thread = 1 };

k::result<k::u64> sys_getrusage(int who, user_pointer<usage_record> to) {
    proc::usage used{};
    switch (static_cast<whose>(who)) {
    case whose::process:
        used = current_process().used();
        used.peak_pages = current_space().size().resident_pages;
        break;
    case whose::thread: used = proc::usage_of(current()); break;
    case whose::children: {
        lwkt::token_hold hold(proc::tree);
        used = current_process().dead_children;
        break;
    }
    default: return k::error::inval;
    }
    TRY(to.write(current_space(), usage_record::of(used)));
    return 0;
}

// struct tms, in ticks of a hundredth of a second.
struct ticks_record {
    k::i64 user, system, childrens_user, childrens_system;
};
constexpr k::u64 tick_ns = 10 * ktime::millisecond;

k::result<k::u64> sys_times(user_pointer<ticks_record> to) {
    if (to) {
        const proc::usage own = current_process().used();
        proc::usage children;
        {
            lwkt::token_hold hold(proc::tree);
            children = current_process().dead_children;
        }
        auto ticks = [](k::u64 ns) { return static_cast<k::i64>(ns / tick_ns); };
        TRY(to.write(current_space(),
                     {ticks(own.user_ns), ticks(own.system_ns), ticks(children.user_ns), ticks(children.system_ns)}));
    }
    return ktime::now() / tick_ns;
}

constexpr std::string_view enforced = "enforced: CPU, DATA, STACK, NPROC, NOFILE, MEMLOCK, AS, SIGPENDING";

constexpr entry entries[] = {
    call<sys_getrlimit>(97, "getrlimit"),
    call<sys_getrusage>(98, "getrusage", ends, "times, faults, waits"),
    call<sys_times>(100, "times"),
    call<sys_setrlimit>(160, "setrlimit", ends, enforced),
    call<sys_prlimit64>(302, "prlimit64", ends, enforced),
};

} // namespace

constinit const std::span<const entry> limit_calls = entries;

} // namespace syscalls
