// What the host port keeps for a CPU, and how a thread finds the CPU it runs on. Reached through arch/machine.h only.
//
// The rule: a kernel thread may resume on another pthread than the one it left, so nothing derived
// from thread-local storage may be remembered across a context switch. A compiler believes that a thread never
// changes and keeps such addresses in registers; so the pointer is read by a volatile asm each time.
#pragma once

#include <atomic>
#include <cstdint>

namespace arch {
class user_map;
}

namespace arch::host {

constexpr std::uint64_t never = ~std::uint64_t{0}; // a deadline that does not come

// Owned by the CPU's pthread, but for the atomics, which others latch.
struct alignas(128) cpu_state : cpu_local {
    bool interrupts_on;
    std::uint32_t relaxed;                  // rounds of cpu::relax()
    std::atomic<std::uint32_t> asleep;      // inside wait_for_event(): whoever latches an event must wake it
    std::atomic<std::uint64_t> deadline_ns; // clock::arm()'s, or never
    std::atomic<bool> running;
    user_map* loaded_map;
    vaddr start_stack_top; // where a secondary CPU begins; 0: on its pthread's own stack
    std::uint64_t pthread; // its pthread_t, once running
};

extern cpu_state cpu_states[max_cpus];

} // namespace arch::host

// Null in a pthread that is no CPU.
extern "C" __thread arch::host::cpu_state* host_local __attribute__((tls_model("local-exec")));

namespace arch::host {

// Null in a pthread that is no CPU.
inline cpu_state* this_cpu() noexcept {
    cpu_state* found;
    asm volatile("movq %%fs:host_local@tpoff, %0" : "=r"(found));
    return found;
}

// May events be delivered here and now?
inline bool events_due(const cpu_state& me) noexcept {
    return me.critical == 0 && me.interrupts_on && me.pending.load(std::memory_order_relaxed) != 0;
}

} // namespace arch::host
