#include "kernel/syscall/dispatch.h"

#include "kernel/lib/log.h"
#include "kernel/proc/process.h"
#include "kernel/syscall/trace_priv.h"

namespace syscalls {

namespace {

constexpr int nobody = -1, everybody = 0;
std::atomic<int> traced_pid = nobody;

// Ten lines, then one a second: whoever tries all numbers does not fill the log.
void note_unknown(const proc::thread& t, k::u64 number) {
    static std::atomic<k::u32> notes = 0;
    static std::atomic<ktime::ns> quiet_until = 0;
    if (notes.fetch_add(1, std::memory_order_relaxed) >= 10) {
        notes.store(10, std::memory_order_relaxed);
        ktime::ns until = quiet_until.load(std::memory_order_relaxed);
        const ktime::ns now = ktime::now();
        if (now < until || !quiet_until.compare_exchange_strong(until, now + ktime::second)) return;
    }
    k::log("process {} ({}): system call {} is not known\n", t.owner.pid, t.name, number);
}

bool traced(const proc::thread& t) {
    const int pid = traced_pid.load(std::memory_order_relaxed);
    return pid == everybody || pid == t.owner.pid;
}

} // namespace

void trace(int pid) noexcept {
    traced_pid.store(pid, std::memory_order_relaxed);
    hold_back_all();
}

void dispatch(proc::thread& t) noexcept {
    arch::user_registers& r = t.user.registers();
    t.call_number = r.rax;
    t.call = find(r.rax);
    if (!t.call) {
        note_unknown(t, r.rax);
        r.rax = static_cast<k::u64>(failure(k::error::nosys));
    } else {
        r.rax = static_cast<k::u64>(traced(t) ? run_traced(t, *t.call) : t.call->run(r));
    }
}

} // namespace syscalls
