// Running pieces of a test on other CPUs.
#pragma once

#include "kernel/lwkt/thread.h"
#include "kernel/lwkt/wait_queue.h"

namespace support {

// Runs body() in a thread of CPU `cpu` and waits until it has returned. An error if there is no thread for it.
template <class Body> k::status run_on(unsigned cpu, Body body) {
    struct job {
        Body& body;
        lwkt::completion done{};
    };
    job work{body};
    auto started = lwkt::spawn(
        "test helper", cpu, lwkt::normal_priority,
        [](void* argument) {
            job& work = *static_cast<job*>(argument);
            work.body();
            work.done.signal();
        },
        &work);
    if (started) work.done.wait();
    return started ? k::status() : started.error();
}

// Runs body(cpu) in threads of all CPUs at once and waits for all. On a CPU without memory for a thread, nothing.
template <class Body> void run_everywhere(Body body) {
    struct job {
        Body& body;
        lwkt::completion done;
    };
    job work{body, lwkt::completion(arch::cpu::count())};
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        const bool runs = lwkt::is_running(cpu) && lwkt::spawn(
                                                       "test helper", cpu, lwkt::normal_priority,
                                                       [](void* argument) {
                                                           job& work = *static_cast<job*>(argument);
                                                           work.body(arch::cpu::id());
                                                           work.done.signal();
                                                       },
                                                       &work);
        if (!runs) work.done.signal();
    }
    work.done.wait();
}

// Runs aside() in another thread, of the last CPU, while body() runs here, and waits for it. False: there is no thread.
template <class Aside, class Body> bool run_aside(Aside aside, Body body) {
    struct job {
        Aside& aside;
        lwkt::completion done{};
    };
    job work{aside};
    unsigned last = arch::cpu::count() - 1;
    while (!lwkt::is_running(last))
        last--;
    const auto started = lwkt::spawn(
        "test helper", last, lwkt::normal_priority,
        [](void* argument) {
            job& work = *static_cast<job*>(argument);
            work.aside();
            work.done.signal();
        },
        &work);
    if (!started) return false;
    body();
    work.done.wait();
    return true;
}

} // namespace support
