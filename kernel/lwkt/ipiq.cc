#include "kernel/lwkt/ipiq.h"

#include "kernel/lwkt/scheduler_priv.h"
#include "kernel/lwkt/trace.h"
#include "kernel/mem/slab.h"

#include <bit>

namespace lwkt {

namespace {

struct ipi_message {
    ipi_function function;
    void* argument;
};

// From one source CPU to one target. The producer owns `head` and its view of the tail, the consumer owns `tail`.
class ring {
  public:
    static constexpr k::u32 size = 32;

    k::u32 used() const { return head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire); }
    void push(ipi_message m) {
        const k::u32 head = head_.load(std::memory_order_relaxed);
        slots_[head % size] = m;
        head_.store(head + 1, std::memory_order_release); // the slot is filled before it is seen
    }
    bool pop(ipi_message& m) {
        const k::u32 tail = tail_.load(std::memory_order_relaxed);
        if (tail == head_.load(std::memory_order_acquire)) return false;
        m = slots_[tail % size];
        tail_.store(tail + 1, std::memory_order_release); // the slot is read before it may be overwritten
        return true;
    }

  private:
    alignas(64) std::atomic<k::u32> head_;
    alignas(64) std::atomic<k::u32> tail_;
    ipi_message slots_[size];
};

// What a CPU receives.
struct alignas(64) incoming {
    // A bit for each source that pushed since the target last looked. The sender that finds it 0 raises the interrupt.
    std::atomic<k::u32> sources;
    ring* rings; // one a source CPU
};
incoming inboxes[arch::max_cpus];

// In a critical section.
void wait_for_room(ring& r, ipi_state& state) {
    state.counters.ring_full++;
    while (r.used() > ring::size / 4) {
        serve_incoming();
        arch::cpu::relax();
    }
}

// A call whose sender waits on its own stack.
struct waiting_call {
    ipi_function function;
    void* argument;
    std::atomic<unsigned> remaining;

    static void run(void* self) {
        auto& call = *static_cast<waiting_call*>(self);
        call.function(call.argument);
        call.remaining.fetch_sub(1, std::memory_order_release); // the caller's frame may be gone after this
    }
    void wait() {
        while (remaining.load(std::memory_order_acquire)) {
            {
                critical section;
                serve_incoming();
            }
            arch::cpu::relax();
        }
    }
};

} // namespace

per_cpu<ipi_state> ipi_states;

void send(unsigned target, ipi_function function, void* argument) noexcept {
    critical section;
    const unsigned self = arch::cpu::id();
    if (target == self) return function(argument);
    ipi_state& state = ipi_states.local();
    kassert(!state.serving);
    incoming& in = inboxes[target];
    ring& r = in.rings[self];
    if (r.used() > ring::size / 2) [[unlikely]]
        wait_for_room(r, state);
    r.push({function, argument});
    state.counters.sent++;
    if (in.sources.fetch_or(1u << self, std::memory_order_acq_rel)) return;
    state.counters.interrupts++;
    trace::note(trace::event::ipi_sent, target);
    arch::cpu::send_ipi(target);
}

void serve_incoming() noexcept {
    ipi_state& state = ipi_states.local();
    if (state.serving) return;
    incoming& in = inboxes[arch::cpu::id()];
    state.serving = true;
    while (k::u32 sources = in.sources.exchange(0, std::memory_order_acq_rel)) {
        trace::note(trace::event::ipi_taken, sources);
        for (; sources; sources &= sources - 1) {
            ring& r = in.rings[std::countr_zero(sources)];
            ipi_message m;
            while (r.pop(m))
                m.function(m.argument);
        }
    }
    state.serving = false;
}

bool in_ipi_function() noexcept {
    return ipi_states.local().serving;
}

void call_on(unsigned target, ipi_function function, void* argument) noexcept {
    waiting_call call{function, argument, 1};
    send(target, waiting_call::run, &call);
    call.wait();
}

void call_everywhere_else(ipi_function function, void* argument) noexcept {
    const unsigned count = arch::cpu::count();
    waiting_call call{function, argument, 0};
    unsigned self;
    {
        critical section; // the set of "everyone else" must not change under us
        self = arch::cpu::id();
        for (unsigned cpu = 0; cpu < count; cpu++) {
            if (cpu == self || !scheduler_of(cpu)) continue;
            call.remaining.fetch_add(1, std::memory_order_relaxed);
            send(cpu, waiting_call::run, &call);
        }
    }
    call.wait();
}

void call_everywhere(ipi_function function, void* argument) noexcept {
    // This CPU's own part first; a thread moves only at its own request, so both halves see one "here".
    send(arch::cpu::id(), function, argument);
    call_everywhere_else(function, argument);
}

ipi_counters ipi_statistics(unsigned cpu) noexcept {
    ipi_counters counters{};
    auto read = [](void* out) { *static_cast<ipi_counters*>(out) = ipi_states.local().counters; };
    if (scheduler_of(cpu)) call_on(cpu, read, &counters);
    return counters;
}

bool initialise_ipi_rings(unsigned cpu) {
    const unsigned count = arch::cpu::count();
    auto* rings = static_cast<ring*>(mem::allocate(sizeof(ring) * count));
    if (!rings) return false;
    for (unsigned source = 0; source < count; source++)
        new (&rings[source]) ring{};
    inboxes[cpu].rings = rings;
    return true;
}

} // namespace lwkt
