#include "kernel/lwkt/grace.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/wait_queue.h"
#include "kernel/mem/slab.h"

namespace lwkt {

namespace {

constexpr ktime::ns longest_delay = 20 * ktime::millisecond;
constexpr k::u32 hasty = 256; // so many on one CPU do not wait for the time to be up

struct retired_here {
    retirable* first;
    k::u32 count;
};
per_cpu<retired_here> lists;

// Rounds that were asked for and those that are over. The thread runs until they are equal.
std::atomic<k::u64> asked = 0, done = 0;

struct sleepers {
    wait_queue work, ended; // the thread that frees / those in wait_for_readers()
};
sleepers* queues; // made at boot, for ever

void take_list(void* to) {
    retired_here& here = lists.local();
    auto* first = static_cast<std::atomic<retirable*>*>(to);
    while (retirable* object = here.first) {
        here.first = object->next_retired;
        object->next_retired = first->load(std::memory_order_relaxed);
        while (!first->compare_exchange_weak(object->next_retired, object, std::memory_order_acq_rel)) {
        }
    }
    here.count = 0;
}

// Two rounds: after the first nothing of the batch can be found any more by anybody who starts to look; after the
// second all those who had started are through, on whichever CPU.
void run_round() {
    std::atomic<retirable*> batch = nullptr;
    call_everywhere(take_list, &batch);
    call_everywhere([](void*) {}, nullptr);
    for (retirable* object = batch.load(std::memory_order_acquire); object;) {
        retirable* next = object->next_retired;
        object->free_retired(*object);
        object = next;
    }
}

[[noreturn]] void free_for_ever(void*) {
    for (;;) {
        queues->work.wait([] { return asked.load(std::memory_order_acquire) != done.load(std::memory_order_relaxed); });
        const k::u64 reached = asked.load(std::memory_order_acquire);
        run_round();
        done.store(reached, std::memory_order_release);
        queues->ended.wake_all();
    }
}

k::u64 ask() {
    const k::u64 round = asked.fetch_add(1, std::memory_order_acq_rel) + 1;
    queues->work.wake_one();
    return round;
}

// One a CPU, armed by the first object of a batch. Made at boot; what is retired before waits for the first round.
ktime::callout* timers[arch::max_cpus];

} // namespace

void retire(retirable& object, void (*free)(retirable&)) noexcept {
    object.free_retired = free;
    critical section;
    retired_here& here = lists.local();
    object.next_retired = here.first;
    here.first = &object;
    ktime::callout* timer = timers[arch::cpu::id()];
    if (!timer) return;
    if (++here.count == 1 && !timer->armed()) timer->arm(ktime::after(longest_delay));
    if (here.count == hasty) ask();
}

void wait_for_readers() noexcept {
    const k::u64 round = ask();
    queues->ended.wait([round] { return done.load(std::memory_order_acquire) >= round; });
}

k::status start_freeing_retired() noexcept {
    queues = mem::make<sleepers>();
    if (!queues) return k::error::nomem;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        timers[cpu] = mem::make<ktime::callout>([](ktime::callout&) { (void)ask(); });
        if (!timers[cpu]) return k::error::nomem;
    }
    return spawn("grace", arch::cpu::id(), normal_priority + 1, free_for_ever, nullptr);
}

} // namespace lwkt
