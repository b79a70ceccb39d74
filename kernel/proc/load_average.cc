#include "kernel/proc/load_average.h"

#include "kernel/lwkt/thread.h"
#include "kernel/time/callout.h"

namespace proc {

namespace {

constexpr ktime::ns period = 5 * ktime::second;
// e to the power of -5/60, -5/300 and -5/900.
constexpr k::u64 kept[] = {60296, 64453, 65173};
std::atomic<k::u64> averages[3];

k::u64 running_threads() noexcept {
    k::u64 sum = 0;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        if (lwkt::is_running(cpu)) sum += lwkt::load_of(cpu);
    return sum;
}

void sample(ktime::callout& again) noexcept {
    const k::u64 now = running_threads() << load_shift;
    for (unsigned i = 0; i < 3; i++) {
        const k::u64 before = averages[i].load(std::memory_order_relaxed);
        const k::u64 one = k::u64{1} << load_shift;
        averages[i].store((before * kept[i] + now * (one - kept[i])) >> load_shift, std::memory_order_relaxed);
    }
    again.arm(ktime::after(period));
}

} // namespace

void start_load_average() noexcept {
    // For ever: nothing takes it out.
    alignas(ktime::callout) static std::byte room[sizeof(ktime::callout)];
    auto* every = new (room) ktime::callout(sample);
    lwkt::critical section;
    every->arm(ktime::after(period));
}

load_average load_now() noexcept {
    const auto get = [](unsigned i) { return averages[i].load(std::memory_order_relaxed); };
    return {get(0), get(1), get(2)};
}

} // namespace proc
