// What ports there are, with what waits at them.
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/port_list.h"
#include "kernel/lwkt/thread.h"
#include "kernel/selftest/selftest.h"

namespace {

struct sight {
    std::string_view wanted;
    std::atomic<unsigned> times = 0, queued = 0;

    static void look(const lwkt::listed_port& p, void* self) {
        auto& s = *static_cast<sight*>(self);
        if (p.name() != s.wanted) return;
        s.times++;
        s.queued = p.of().queued();
    }
    explicit sight(std::string_view name) : wanted(name) {
        lwkt::call_everywhere([](void* self) { lwkt::visit_ports(look, self); }, this);
    }
};

} // namespace

SELFTEST(lwkt_port_list, a_listed_port_is_seen_on_its_cpu_with_what_waits_there) {
    const unsigned cpu = arch::cpu::id();
    lwkt::port at(cpu), back(cpu);
    lwkt::msg first, second;
    {
        const lwkt::listed_port listed(at, "a port of a test");
        EXPECT_EQ(sight("a port of a test").times.load(), 1u);
        EXPECT_EQ(sight("a port of a test").queued.load(), 0u);
        at.put(first, back);
        at.put(second, back);
        EXPECT_EQ(sight("a port of a test").queued.load(), 2u);
        EXPECT_EQ(at.get(), &first);
        EXPECT_EQ(sight("a port of a test").queued.load(), 1u);
        EXPECT_EQ(at.get(), &second);
    }
    EXPECT_EQ(sight("a port of a test").times.load(), 0u);
    lwkt::reply(first, {});
    lwkt::reply(second, {});
    back.wait_for(first);
    back.wait_for(second);
}

SELFTEST(lwkt_port_list, ports_come_and_go_in_any_order) {
    const unsigned last = arch::cpu::count() - 1;
    lwkt::port one(0), two(lwkt::is_running(last) ? last : 0), three(0);
    const lwkt::listed_port first(one, "a name longer than there is room for");
    {
        const lwkt::listed_port second(two, "second");
        const lwkt::listed_port third(three, "third");
        EXPECT_EQ(sight("second").times.load(), 1u);
        EXPECT_EQ(sight("third").times.load(), 1u);
    }
    EXPECT_EQ(sight("second").times.load(), 0u);
    EXPECT_EQ(sight("a name longer than there").times.load(), 1u);
}
