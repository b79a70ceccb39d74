#include "kernel/selftest/leak_check.h"

#include "kernel/lwkt/grace.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"
#include "kernel/time/callout.h"
#include "sys/vm/reaper.h"

namespace selftest {

namespace {

void visit_all_cpus(void (*visit)()) {
    const unsigned home = lwkt::self().home.load();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        if (lwkt::hand_over(cpu)) visit(); // a CPU that did not start has no caches
    (void)lwkt::hand_over(home);
}

} // namespace

resources count_resources() {
    vm::reap_all_loans(); // the reaper may hold a copy of what is gone already
    lwkt::wait_for_readers();
    lwkt::wait_for_readers(); // what went may have been a mount, and its file system after it
    // Objects freed away from home go there in the first round and into their slabs in the second.
    visit_all_cpus([] {
        lwkt::reap_threads(0);
        mem::exchange_frees();
    });
    visit_all_cpus([] {
        mem::exchange_frees();
        mem::trim_slabs();
        vm::drain_page_cache();
    });
    return {vm::account(), mem::objects_in_use(), lwkt::threads_alive()};
}

void expect_same_resources(const resources& before) {
    const auto here = k::where::here();
    const ktime::ns deadline = ktime::after(2 * ktime::second);
    while (lwkt::threads_alive() != before.threads && ktime::now() < deadline)
        lwkt::sleep_for(100 * ktime::microsecond);
    const resources after = count_resources();
    if (after.threads != before.threads) fail(here, "threads: {} before, {} after", before.threads, after.threads);
    if (after.objects != before.objects) fail(here, "slab objects: {} before, {} after", before.objects, after.objects);
    k::u64 sum = after.pages.free + after.pages.cached;
    for (unsigned u = 0; u < vm::page_uses; u++) {
        sum += after.pages.in_use[u];
        const auto use = static_cast<vm::page_use>(u);
        // Half-used slabs and page tables may stay: they hold nothing of this test, as the objects say.
        if (use == vm::page_use::slab || use == vm::page_use::page_table) continue;
        if (after.pages.in_use[u] != before.pages.in_use[u])
            fail(here, "pages for {}: {} before, {} after", vm::name_of(use), before.pages.in_use[u],
                 after.pages.in_use[u]);
    }
    if (sum != after.pages.total) fail(here, "page account: {} found, {} in all", sum, after.pages.total);
}

} // namespace selftest
