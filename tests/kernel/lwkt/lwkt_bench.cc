// What threads, messages and locks cost. Budgets are instructions; what needs two CPUs or is too long is in ns.
#include "kernel/bench/bench.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/port.h"
#include "kernel/lwkt/token.h"
#include "kernel/lwkt/trace.h"
#include "kernel/lwkt/wait_queue.h"

namespace {

constexpr unsigned operations = 1000;

bench::figure not_measured(const char* why) {
    return {0, "cycles", why};
}

// A thread that serves a port, replying to everything until it gets a `stop`.
class server {
  public:
    enum command : k::u32 { echo, stop };

    explicit server(unsigned cpu) : port(cpu) {}

    bool start() {
        return lwkt::spawn(
                   "bench server", port.cpu(), lwkt::normal_priority,
                   [](void* self) { static_cast<server*>(self)->serve(); }, this)
            .has_value();
    }
    void end() {
        lwkt::msg last;
        last.command = stop;
        (void)port.call(last);
        done_.wait();
    }

    lwkt::port port;

  private:
    void serve() {
        for (bool more = true; more;) {
            lwkt::msg* m = port.wait();
            more = m->command != stop;
            lwkt::reply(*m, {});
        }
        done_.signal();
    }

    lwkt::completion done_;
};

} // namespace

// Two threads of one CPU yield to each other; the figure is one switch.
BENCHMARK(thread_yield_switch, 150) {
    struct partner {
        std::atomic<bool> stop = false;
        lwkt::completion done{};
    } p;
    const k::status made = lwkt::spawn(
        "bench partner", arch::cpu::id(), lwkt::normal_priority,
        [](void* argument) {
            auto& p = *static_cast<partner*>(argument);
            while (!p.stop.load(std::memory_order_relaxed))
                lwkt::yield();
            p.done.signal();
        },
        &p);
    if (!made) return not_measured("no memory");
    bench::figure f = bench::per_operation(operations, [] { lwkt::yield(); });
    p.stop.store(true);
    p.done.wait();
    f.value = (f.value + 1) / 2;
    return f;
}

BENCHMARK(port_call_in_place, 60) {
    lwkt::port port(arch::cpu::id(), [](lwkt::port&, lwkt::msg& m) {
        m.command++;
        return lwkt::begun::finished;
    });
    lwkt::msg m;
    return bench::per_operation(operations, [&] { (void)port.call(m); });
}

BENCHMARK(port_call_queued_same_cpu, 700) {
    server s(arch::cpu::id());
    if (!s.start()) return not_measured("no memory");
    lwkt::msg m;
    const bench::figure f = bench::per_operation(operations, [&] { (void)s.port.call(m); });
    s.end();
    return f;
}

BENCHMARK(port_call_cross_cpu, 0) {
    if (arch::cpu::count() < 2) return {0, "ns", "needs two CPUs"};
    server s(1);
    if (!s.start()) return not_measured("no memory");
    lwkt::msg m;
    const bench::figure f = bench::ns_per_operation(100, [&] { (void)s.port.call(m); });
    s.end();
    return f;
}

BENCHMARK(ipi_round_trip, 0) {
    if (arch::cpu::count() < 2) return {0, "ns", "needs two CPUs"};
    return bench::ns_per_operation(100, [] {
        lwkt::call_on(
            1, [](void*) {}, nullptr);
    });
}

BENCHMARK(token_exclusive, 0) {
    lwkt::token t;
    return bench::per_operation(operations, [&] { lwkt::token_hold hold(t); });
}

BENCHMARK(token_shared, 0) {
    lwkt::token t;
    return bench::per_operation(operations, [&] { lwkt::token_hold hold(t, lwkt::sharing::shared); });
}

BENCHMARK(critical_section, 0) {
    return bench::per_operation(operations, [] { lwkt::critical section; });
}

BENCHMARK(callout_arm_cancel, 0) {
    ktime::callout c{[](ktime::callout&) {}};
    const ktime::ns deadline = ktime::after(3600 * ktime::second);
    return bench::per_operation(operations, [&] {
        c.arm(deadline);
        c.cancel();
    });
}

// From spawn() to the thread's end, on one CPU.
BENCHMARK(thread_spawn_exit, 0) {
    return bench::per_operation(100, [] {
        if (lwkt::spawn(
                "bench", arch::cpu::id(), lwkt::normal_priority, [](void*) {}, nullptr))
            lwkt::yield();
    });
}

// One event of the list, as it is unless somebody looks, and while it is written down.
BENCHMARK(trace_event_off, 10) {
    if (trace::is_on.load()) return not_measured("it is on");
    return bench::per_operation(operations, [] { trace::note(trace::event::lent, 1, 2); });
}

BENCHMARK(trace_event_on, 0) {
    if (!trace::start(1024)) return not_measured("it is on, or no memory");
    const bench::figure f =
        bench::per_operation(operations, [] { trace::note(trace::event::lent, 1, 2, std::string_view("a name")); });
    trace::clear();
    return f;
}
