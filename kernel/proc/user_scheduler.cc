#include "kernel/proc/user_scheduler.h"

namespace proc {

namespace {

void move_to(thread& t, unsigned cpu) noexcept {
    // Before it leaves: a kick that goes to the old CPU from now on need not find it, for it looks at its attention
    // bits again when it has arrived.
    lwkt::settle(); // who asks what it has used asks the new CPU from now on
    t.home.store(cpu, std::memory_order_seq_cst);
    const k::status moved = lwkt::hand_over(cpu);
    kassert(moved);
}

bool allows(k::u32 cpus, unsigned cpu) {
    return cpus >> cpu & 1;
}

} // namespace

k::u32 running_cpus() noexcept {
    k::u32 cpus = 0;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        if (lwkt::is_running(cpu)) cpus |= 1u << cpu;
    return cpus;
}

unsigned choose_cpu(k::u32 allowed) noexcept {
    const unsigned here = arch::cpu::id();
    unsigned best = here;
    k::u32 least = allows(allowed, here) ? lwkt::load_of(here) : ~k::u32{0};
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        if (!allows(allowed, cpu)) continue;
        const k::u32 load = lwkt::load_of(cpu);
        if (load >= least) continue;
        least = load;
        best = cpu;
    }
    return best;
}

void give_way(thread& t) noexcept {
    const k::u32 allowed = t.affinity.load(std::memory_order_acquire);
    const unsigned here = arch::cpu::id();
    if (!allows(allowed, here)) {
        move_to(t, choose_cpu(allowed));
    } else if (lwkt::load_of(here) > 1) {
        const unsigned other = choose_cpu(allowed);
        if (other != here && lwkt::load_of(other) == 0)
            move_to(t, other);
        else
            lwkt::yield();
    }
}

k::status set_affinity(thread& t, k::u32 allowed) noexcept {
    allowed &= running_cpus();
    if (!allowed) return k::error::inval;
    t.affinity.store(allowed, std::memory_order_release);
    if (static_cast<lwkt::user_part*>(&t) == lwkt::self().user) {
        give_way(t);
    } else if (!allows(allowed, t.home.load(std::memory_order_relaxed))) {
        t.attention.fetch_or(attention_move, std::memory_order_release);
        kick(k::ref<thread>::to(t));
    }
    return {};
}

} // namespace proc
