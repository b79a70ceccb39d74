// A message with a number, and a thread that answers it: the other side of the tests of ports.
#pragma once

#include "kernel/lwkt/port.h"
#include "tests/kernel/lwkt/crew.h"

namespace lwkt_test {

struct number_msg : lwkt::msg {
    unsigned number = 0;
    unsigned answer = 0;
};

constexpr k::u32 stop_command = 99;

// Answers number + 1000, and EIO to every seventh, until stop(). Run it by a crew: it is the thread's body.
struct server {
    explicit server(unsigned cpu, lwkt::port::begin_function begin = nullptr) : in(cpu, begin) {}

    void operator()(unsigned) {
        for (;;) {
            lwkt::msg* m = in.wait();
            if (m->command == stop_command) return lwkt::reply(*m, {});
            auto& n = static_cast<number_msg&>(*m);
            n.answer = n.number + 1000;
            lwkt::reply(n, n.number % 7 ? k::status() : k::status(k::error::io));
        }
    }
    // No message may be put any more.
    void stop() {
        number_msg last;
        last.number = 1; // a begin function must not finish this one
        last.command = stop_command;
        (void)in.call(last);
    }

    lwkt::port in;
};

} // namespace lwkt_test
