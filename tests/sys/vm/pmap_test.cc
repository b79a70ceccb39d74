// sys/vm/pmap: which CPUs are asked to forget translations, and how often.
#include "sys/vm/pmap.h"

#include "tests/kernel/lwkt/crew.h"

SELFTEST(pmap, a_cpu_that_only_keeps_a_map_for_later_is_asked_once) {
    const unsigned other = arch::cpu::count() - 1;
    if (other == arch::cpu::id()) return;
    vm::pmap map;
    REQUIRE(map.create());
    const auto active = [&] { return map.machine_map().active() & 1u << other; };
    std::atomic<bool> go_on = false;
    auto user = [&](unsigned) {
        arch::context& mine = lwkt::self().context;
        {
            lwkt::critical section;
            mine.set_user(&map.machine_map(), nullptr);
        }
        // Asked while it runs with the map, it forgets and keeps it.
        lwkt_test::spin_until([&] { return go_on.exchange(false); });
        EXPECT(active());
        lwkt_test::wait_until([&] { return go_on.load(); });
        EXPECT(active()); // it has come back
        lwkt::critical section;
        mine.set_user(nullptr, nullptr);
    };
    lwkt_test::crew c;
    REQUIRE(c.start(other, user));
    lwkt_test::wait_until(active);
    vm::flush_cpus(1u << other, 0x1000, 1);
    go_on = true;
    // It sleeps most of the time now, and the idle thread has its map loaded.
    lwkt_test::wait_until([&] {
        vm::flush_cpus(active(), 0x1000, 1);
        return !active();
    });
    go_on = true;
    c.join();
    EXPECT(!active());
    map.destroy();
}
