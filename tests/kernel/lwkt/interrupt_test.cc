// kernel/lwkt/interrupt: a device's message reaches its handler, on its CPU, until the line is taken apart.
#include "kernel/lwkt/interrupt.h"

#include "kernel/lwkt/thread.h"
#include "kernel/selftest/selftest.h"
#include "kernel/time/callout.h"

namespace {

struct watched {
    std::atomic<k::u64> calls = 0;
    std::atomic<unsigned> on_cpu = ~0u;
    std::atomic<bool> in_critical = false;

    static void handle(void* argument) {
        auto& self = *static_cast<watched*>(argument);
        self.on_cpu = arch::cpu::id();
        self.in_critical = arch::cpu::local().critical != 0;
        self.calls.fetch_add(1);
    }
    bool called(k::u64 times) const {
        const ktime::ns deadline = ktime::after(5 * ktime::second);
        while (calls.load() < times && ktime::now() < deadline)
            lwkt::sleep_for(100 * ktime::microsecond);
        return calls.load() >= times;
    }
};

} // namespace

SELFTEST(lwkt, an_interrupt_runs_its_handler_on_its_cpu) {
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        if (!lwkt::is_running(cpu)) continue;
        watched w;
        auto line = lwkt::interrupt::connect(cpu, watched::handle, &w);
        REQUIRE(line);
        line->raise();
        EXPECT(w.called(1));
        EXPECT_EQ(w.on_cpu.load(), cpu);
        EXPECT(w.in_critical.load());
    }
}

SELFTEST(lwkt, a_line_that_was_taken_apart_calls_nobody) {
    watched gone, stays;
    auto other = lwkt::interrupt::connect(0, watched::handle, &stays);
    REQUIRE(other);
    {
        auto line = lwkt::interrupt::connect(0, watched::handle, &gone);
        REQUIRE(line);
        EXPECT(line->message().data != other->message().data);
        lwkt::critical section; // the message waits, latched, until after the line has gone
        line->raise();
    }
    const k::u64 before = gone.calls.load();
    other->raise();
    EXPECT(stays.called(1));
    EXPECT_EQ(gone.calls.load(), before);
}

SELFTEST(lwkt, interrupts_run_out_and_come_back) {
    EXPECT(!lwkt::interrupt::connect(arch::cpu::count(), watched::handle, nullptr));
    watched w;
    lwkt::interrupt lines[arch::device_interrupts];
    unsigned count = 0;
    for (;; count++) {
        auto line = lwkt::interrupt::connect(0, watched::handle, &w);
        if (!line) {
            EXPECT_EQ(line.error(), k::error::nospc);
            break;
        }
        REQUIRE(count < arch::device_interrupts);
        lines[count] = *std::move(line);
    }
    EXPECT(count > 32);
    for (unsigned i = 0; i < count; i++)
        lines[i].raise();
    EXPECT(w.called(count));
    EXPECT_EQ(w.calls.load(), k::u64{count});
    lines[0] = {};
    EXPECT(bool(lwkt::interrupt::connect(0, watched::handle, &w)));
}
