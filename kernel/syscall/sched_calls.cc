// System calls about CPUs and priorities. There is one policy, SCHED_OTHER, with turns; niceness is kept and shown, and
// changes nothing.
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/proc/user_scheduler.h"
#include "kernel/syscall/calls.h"

#include <algorithm>

namespace syscalls {

namespace {

using proc::current;
using proc::current_process;
using proc::current_space;
using vm::user_pointer;

// May the caller change this process?
bool may_change(proc::process& p) {
    const proc::identity mine = current_process().who.user(), its = p.who.user();
    return mine.effective == 0 || mine.effective == its.real || mine.effective == its.effective;
}

// The thread of a number, held; 0 is the caller.
k::result<k::ref<proc::thread>> named_thread(int number) {
    if (number < 0) return k::error::inval;
    if (!number) return k::ref<proc::thread>::to(current());
    lwkt::token_hold hold(proc::tree);
    proc::thread* t = proc::find_thread(number);
    if (!t) return k::error::srch;
    return k::ref<proc::thread>::to(*t);
}

k::result<k::u64> sys_sched_yield() {
    lwkt::yield();
    return 0;
}

k::result<k::u64> sys_sched_setaffinity(int number, k::u32 bytes, user_pointer<const k::u8> mask) {
    k::u64 wanted = 0;
    const k::u64 known = std::min<k::u64>(bytes, sizeof(wanted)); // beyond are CPUs that no machine here has
    if (current_space().copy_in(&wanted, mask.address(), known) != known) return k::error::fault;
    k::ref<proc::thread> t = TRY(named_thread(number));
    if (!may_change(t->owner)) return k::error::perm;
    TRY(proc::set_affinity(*t, static_cast<k::u32>(wanted)));
    return 0;
}

k::result<k::u64> sys_sched_getaffinity(int number, k::u32 bytes, user_pointer<k::u64> mask) {
    if (bytes < sizeof(k::u64) || bytes % sizeof(k::u64)) return k::error::inval;
    k::ref<proc::thread> t = TRY(named_thread(number));
    TRY(mask.write(current_space(), t->affinity.load(std::memory_order_relaxed) & proc::running_cpus()));
    return sizeof(k::u64);
}

k::result<k::u64> sys_getcpu(user_pointer<k::u32> cpu, user_pointer<k::u32> node) {
    if (cpu) TRY(cpu.write(current_space(), arch::cpu::id()));
    if (node) TRY(node.write(current_space(), 0));
    return 0;
}

// --- Policies.

enum policy : int { other = 0, first_in = 1, round_robin = 2, batch = 3, idle = 5 };
constexpr int reset_on_fork = 0x40000000;

bool is_real_time(int what) {
    return what == first_in || what == round_robin;
}

k::status set_policy(int number, int what, int priority) {
    k::ref<proc::thread> t = TRY(named_thread(number));
    what &= ~reset_on_fork;
    if (is_real_time(what)) return k::error::perm;
    if ((what != other && what != batch && what != idle) || priority) return k::error::inval;
    if (!may_change(t->owner)) return k::error::perm;
    return {};
}

k::result<k::u64> sys_sched_setparam(int number, user_pointer<const int> priority) {
    if (!priority) return k::error::inval;
    TRY(set_policy(number, other, TRY(priority.read(current_space()))));
    return 0;
}

k::result<k::u64> sys_sched_getparam(int number, user_pointer<int> priority) {
    if (!priority) return k::error::inval;
    TRY(named_thread(number));
    TRY(priority.write(current_space(), 0));
    return 0;
}

k::result<k::u64> sys_sched_setscheduler(int number, int what, user_pointer<const int> priority) {
    if (!priority || what < 0) return k::error::inval;
    TRY(set_policy(number, what, TRY(priority.read(current_space()))));
    return 0;
}

k::result<k::u64> sys_sched_getscheduler(int number) {
    TRY(named_thread(number));
    return other;
}

k::result<k::u64> sys_sched_get_priority_max(int what) {
    if (is_real_time(what)) return 99;
    if (what == other || what == batch || what == idle) return 0;
    return k::error::inval;
}

k::result<k::u64> sys_sched_get_priority_min(int what) {
    if (is_real_time(what)) return 1;
    return sys_sched_get_priority_max(what);
}

struct time_record {
    k::i64 seconds, nanoseconds;
};

k::result<k::u64> sys_sched_rr_get_interval(int number, user_pointer<time_record> to) {
    TRY(named_thread(number));
    TRY(to.write(current_space(), {0, lwkt::slice_ns}));
    return 0;
}

// --- Niceness.

// Calls visit(process&) for those that getpriority() and setpriority() mean.
template <class Visit> k::status for_each_named(int kind, int number, Visit visit) {
    lwkt::token_hold hold(proc::tree);
    bool any = false;
    auto visit_one = [&](proc::process& p) {
        any = true;
        visit(p);
    };
    switch (kind) {
    case 0:
        if (proc::thread* t = number ? proc::find_thread(number) : &current()) visit_one(t->owner);
        break;
    case 1:
        if (proc::group* g = number ? proc::find_group(number) : current_process().group.get())
            proc::for_each_member(*g, visit_one);
        break;
    case 2: {
        const k::u32 user = number ? static_cast<k::u32>(number) : current_process().who.user().real;
        auto one = [&](proc::process& p) {
            if (p.who.user().real == user) visit_one(p);
        };
        proc::for_each_process([](proc::process& p, void* how) { (*static_cast<decltype(one)*>(how))(p); }, &one);
        break;
    }
    default: return k::error::inval;
    }
    if (!any) return k::error::srch;
    return {};
}

k::result<k::u64> sys_getpriority(int kind, int number) {
    int least = 19;
    TRY(for_each_named(kind, number, [&](proc::process& p) { least = std::min(least, p.nice.load()); }));
    return static_cast<k::u64>(20 - least); // so that it is never negative
}

k::result<k::u64> sys_setpriority(int kind, int number, int nice) {
    nice = std::clamp(nice, -20, 19);
    k::status worst;
    TRY(for_each_named(kind, number, [&](proc::process& p) {
        if (!may_change(p))
            worst = k::error::perm;
        else if (nice < p.nice.load() && !current_process().who.privileged())
            worst = k::error::acces;
        else
            p.nice = nice;
    }));
    TRY(worst);
    return 0;
}

constexpr std::string_view one_policy = "SCHED_OTHER; real-time policies are refused";

constexpr entry entries[] = {
    call<sys_sched_yield>(24, "sched_yield"),
    call<sys_getpriority>(140, "getpriority"),
    call<sys_setpriority>(141, "setpriority", ends, "kept, without effect"),
    call<sys_sched_setparam>(142, "sched_setparam", ends, one_policy),
    call<sys_sched_getparam>(143, "sched_getparam"),
    call<sys_sched_setscheduler>(144, "sched_setscheduler", ends, one_policy),
    call<sys_sched_getscheduler>(145, "sched_getscheduler"),
    call<sys_sched_get_priority_max>(146, "sched_get_priority_max"),
    call<sys_sched_get_priority_min>(147, "sched_get_priority_min"),
    call<sys_sched_rr_get_interval>(148, "sched_rr_get_interval"),
    call<sys_sched_setaffinity>(203, "sched_setaffinity"),
    call<sys_sched_getaffinity>(204, "sched_getaffinity"),
    call<sys_getcpu>(309, "getcpu"),
};

} // namespace

constinit const std::span<const entry> sched_calls = entries;

} // namespace syscalls
