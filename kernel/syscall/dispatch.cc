#include "kernel/syscall/dispatch.h"

#include "kernel/lib/log.h"
#include "kernel/proc/process.h"
#include "kernel/syscall/table.h"
#include "kernel/syscall/trace_priv.h"

namespace syscalls {

namespace {

constexpr int nobody = -1;
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
    return pid == 0 || pid == t.owner.pid;
}

} // namespace

void trace(int pid) noexcept {
    traced_pid.store(pid, std::memory_order_relaxed);
}

bool dispatch(proc::thread& t) noexcept {
    arch::user_registers& r = t.user.registers();
    t.call_number = r.rax;
    const entry* called = find(r.rax);
    t.call = called;
    if (!called) [[unlikely]] {
        note_unknown(t, r.rax);
        r.rax = static_cast<k::u64>(failure(k::error::nosys));
        return false;
    }
    const bool shown = traced_pid.load(std::memory_order_relaxed) != nobody && traced(t);
    const k::i64 result = shown ? run_traced(t, *called) : called->run(r);
    r.rax = static_cast<k::u64>(result);
    return result == failure(k::error::intr);
}

} // namespace syscalls
