#include "kernel/proc/process.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/group.h"

#include <algorithm>

namespace proc {

void usage::add(const usage& other) noexcept {
    user_ns += other.user_ns;
    system_ns += other.system_ns;
    faults += other.faults;
    waits += other.waits;
    peak_pages = std::max(peak_pages, other.peak_pages);
}

process::process(int number) noexcept : pid(number) {}
process::process(int number, const process& parents) noexcept : pid(number), limits(parents.limits) {}

process::~process() NO_THREAD_SAFETY_ANALYSIS {
    kassert(threads.empty() && children.empty() && !group && !payer && !space);
}

void process::last_holder_left() noexcept {
    mem::destroy(this);
}

k::ref<vm::space> process::share_space() const noexcept {
    lwkt::spin_guard guard(threads_lock);
    return space.share();
}

k::ref<places> process::where() const noexcept {
    lwkt::spin_guard guard(places_lock);
    return where_.share();
}

k::ref<held_program> process::program() const noexcept {
    lwkt::spin_guard guard(places_lock);
    return program_.share();
}

void process::set_where(k::ref<places> to) noexcept {
    lwkt::spin_guard guard(places_lock);
    std::swap(where_, to); // `to` goes after the lock: it was made before the guard
}

void process::set_program(k::ref<held_program> to) noexcept {
    lwkt::spin_guard guard(places_lock);
    std::swap(program_, to);
}

void ask_to_charge(process& p) noexcept {
    k::u32 cpus = 0;
    p.for_each_thread([&](thread& t) {
        t.attention.fetch_or(attention_charge, std::memory_order_seq_cst);
        cpus |= 1u << t.home.load(std::memory_order_seq_cst);
    });
    // The interrupt itself brings a thread out of user mode; those that sleep look when they go back there.
    for (unsigned cpu = 0; cpus; cpu++, cpus >>= 1)
        if (cpus & 1)
            lwkt::send(
                cpu, [](void*) {}, nullptr);
}

usage usage_of(const thread& t) noexcept {
    const cpu_time time = cpu_time_of(t);
    return {time.user_ns, time.system_ns, t.faults.load(std::memory_order_relaxed),
            t.sleeps.load(std::memory_order_relaxed), 0};
}

usage process::used() const noexcept {
    lwkt::spin_guard guard(threads_lock);
    usage sum = dead_threads;
    for (const thread& t : threads)
        sum.add(usage_of(t));
    return sum;
}

} // namespace proc
