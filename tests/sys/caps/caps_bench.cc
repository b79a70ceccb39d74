// What a message costs between threads of the kernel.
#include "kernel/bench/bench.h"
#include "sys/caps/caps.h"
#include "tests/kernel/lwkt/crew.h"

namespace {

bench::figure round_trips(bool in_place, unsigned cpu, bool counted) {
    caps::terms t{.name = "bench"};
    if (in_place) t.begin = [](caps::service&, caps::message&) { return true; };
    auto s = caps::service::create(t);
    auto c = s ? caps::client::connect({.name = "bench"}) : k::result<caps::client_ref>(k::error::nomem);
    auto m = caps::message::create();
    if (!s || !c || !m) return {0, "cycles", "no memory"};
    auto serve = [&](unsigned) {
        caps::service& here = **s;
        lwkt::successor client;
        while (auto a = here.get({}, client))
            (void)here.reply(*a, {}, &client);
    };
    lwkt_test::crew server;
    if (!in_place) server.start(cpu, serve);
    const auto call = [&] { (void)(*c)->call(*m); };
    const bench::figure f = counted ? bench::per_operation(200, call) : bench::ns_per_operation(100, call);
    (*s)->close();
    server.join();
    return f;
}

} // namespace

BENCHMARK(caps_call_same_cpu, 700) {
    return round_trips(false, arch::cpu::id(), true);
}

BENCHMARK(caps_call_in_place, 60) {
    return round_trips(true, 0, true);
}

BENCHMARK(caps_call_cross_cpu, 0) {
    if (arch::cpu::count() < 2) return {0, "ns", "needs two CPUs"};
    return round_trips(false, 1, false);
}
