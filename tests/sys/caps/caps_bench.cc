// What a message costs between threads of the kernel.
#include "kernel/bench/bench.h"
#include "sys/caps/caps.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/support/page_set.h"

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

constexpr unsigned mebibyte_order = 8;

// A mebibyte lent, sent with a call, looked at by the server's thread, sent back and released.
bench::figure pass_mebibyte(unsigned cpu) {
    const bench::figure failed{0, "failed", "no memory"};
    const vm::page_ref block = support::allocate_block(mebibyte_order);
    auto s = caps::service::create({.name = "bench"});
    auto c = s ? caps::client::connect({.name = "bench"}) : k::result<caps::client_ref>(k::error::nomem);
    auto m = caps::message::create();
    if (!block || !s || !c || !m) return failed;
    auto serve = [&](unsigned) {
        caps::service& here = **s;
        lwkt::successor client;
        while (auto a = here.get({}, client)) {
            auto mine = a->what->source(0);
            const bool seen = mine && mine->read_value<k::u8>(mine->size() / 2);
            a->what->clear();
            const k::status sent = seen ? a->what->add(std::move(*mine)) : k::status(k::error::inval);
            (void)here.reply(*a, sent, &client);
        }
    };
    lwkt_test::crew server;
    server.start(cpu, serve);
    bool good = true;
    const bench::figure f = bench::ns_per_operation(100, [&] {
        auto lent = xio::source::over_run(block.get(), 0, block.size());
        good &= lent && (*m)->add(std::move(*lent)) && (*c)->call(*m) && (*m)->result() &&
                (*m)->item_bytes() == block.size();
        if (*m) (*m)->clear();
    });
    (*s)->close();
    server.join();
    return good ? f : failed;
}

bench::figure copy_mebibyte() {
    const vm::page_ref from = support::allocate_block(mebibyte_order), to = support::allocate_block(mebibyte_order);
    if (!from || !to) return {0, "failed", "no memory"};
    return bench::ns_per_operation(10, [&] {
        std::memcpy(to.data(), from.data(), from.size());
        asm volatile("" : : "r"(to.data()) : "memory");
    });
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

BENCHMARK(caps_pass_1MiB_between_two_threads, 0) {
    return pass_mebibyte(arch::cpu::id());
}

BENCHMARK(caps_pass_1MiB_between_two_cpus, 0) {
    if (arch::cpu::count() < 2) return {0, "ns", "needs two CPUs"};
    return pass_mebibyte(1);
}

BENCHMARK(caps_pass_1MiB_against_memcpy, 50) {
    const bench::figure passed = pass_mebibyte(arch::cpu::id()), copied = copy_mebibyte();
    if (!passed.value) return {0, "times", "no memory"};
    return {copied.value / passed.value, "times", "between threads of a CPU; at least the budget"};
}
