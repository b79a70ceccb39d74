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

} // namespace support
