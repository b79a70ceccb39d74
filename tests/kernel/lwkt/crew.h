// Threads that a test starts and waits for, and waiting with a watchdog.
//
// Waiting here is sleeping and looking again, so that the tests of wait queues and ports do not rest on what they
// test. What hangs ends the machine with the backtrace of every CPU: its threads still use the test's frame.
#pragma once

#include "kernel/lib/panic.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"
#include "kernel/time/callout.h"

namespace lwkt_test {

// Longer than anything takes under a sanitizer on a busy machine.
constexpr ktime::ns patience = 150 * ktime::second;

// Sleeps until the condition holds.
template <class Condition> void wait_until(Condition holds, k::where where = k::where::here()) {
    for (const ktime::ns deadline = ktime::after(patience); !holds(); lwkt::sleep_for(50 * ktime::microsecond))
        if (ktime::now() > deadline) k::panic("watchdog at {}:{}", where.file, where.line);
}

// Waits for another CPU or for an event of this one without giving the CPU away. Any context.
template <class Condition> void spin_until(Condition holds, k::where where = k::where::here()) {
    for (const ktime::ns deadline = ktime::after(patience); !holds(); arch::cpu::relax())
        if (ktime::now() > deadline) k::panic("watchdog at {}:{}", where.file, where.line);
}

// Lets others of this CPU run until the condition holds. Thread context.
template <class Condition> void yield_until(Condition holds, k::where where = k::where::here()) {
    for (const ktime::ns deadline = ktime::after(patience); !holds(); lwkt::yield()) {
        arch::cpu::relax();
        if (ktime::now() > deadline) k::panic("watchdog at {}:{}", where.file, where.line);
    }
}

// Keeps the CPU busy for that long.
inline void spin_for(ktime::ns duration) {
    const ktime::ns end = ktime::after(duration);
    while (ktime::now() < end)
        arch::cpu::relax();
}

// A place where threads of several CPUs begin at once. The threads spin: one a CPU, or none ever starts.
class starting_line {
  public:
    explicit starting_line(unsigned runners) : missing_(runners) {}
    void wait() {
        missing_.fetch_sub(1);
        spin_until([this] { return missing_.load() == 0; });
    }

  private:
    std::atomic<unsigned> missing_;
};

// Threads with one body, which is called with the thread's number (0, 1, ... in the order of starting) and must live
// until join() has returned.
class crew {
  public:
    crew() = default;
    crew(const crew&) = delete;
    crew& operator=(const crew&) = delete;
    ~crew() { join(); }

    // False, and the test failed, if the thread could not be made.
    template <class Body> bool start(unsigned cpu, Body& body, lwkt::priority level = lwkt::normal_priority) {
        struct job {
            crew& owner;
            Body& body;
            unsigned number;
        };
        void* at = mem::allocate(sizeof(job));
        auto* work = at ? new (at) job{*this, body, started_} : nullptr;
        running_.fetch_add(1);
        const k::status spawned = !work ? k::status(k::error::nomem)
                                        : lwkt::spawn(
                                              "crew", cpu, level,
                                              [](void* argument) {
                                                  auto* work = static_cast<job*>(argument);
                                                  crew& owner = work->owner;
                                                  work->body(work->number);
                                                  mem::destroy(work);
                                                  owner.running_.fetch_sub(1); // and no more of the owner
                                              },
                                              work);
        if (spawned) {
            started_++;
            return true;
        }
        mem::destroy(work);
        running_.fetch_sub(1);
        selftest::fail(k::where::here(), "no thread for CPU {}: {}", cpu, spawned.error());
        return false;
    }

    // One thread, or several, on every CPU.
    template <class Body> bool start_everywhere(Body& body, unsigned each = 1) {
        for (unsigned i = 0; i < each; i++)
            for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
                if (!start(cpu, body)) return false;
        return true;
    }

    unsigned running() const { return running_.load(); }
    void join(k::where where = k::where::here()) {
        wait_until([this] { return running_.load() == 0; }, where);
    }

  private:
    unsigned started_ = 0;
    std::atomic<unsigned> running_ = 0;
};

} // namespace lwkt_test
