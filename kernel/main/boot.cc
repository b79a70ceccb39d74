// The way up: from the port's hand-over to threads on every CPU. Order: pages, slabs (which need nothing but pages),
// kernel virtual space, this CPU's scheduler, IPI rings, the other CPUs, the first thread.
#include "kernel/lib/log.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"
#include "kernel/main/main.h"
#include "kernel/mem/kernel_space.h"
#include "kernel/mem/slab.h"
#include "sys/vm/object.h"
#include "sys/vm/pmap.h"

namespace {

void start_memory() {
    if (!vm::initialise_pages()) k::panic("no usable memory");
    if (!mem::initialise_kernel_space()) k::panic("no memory for kernel virtual space");
    vm::initialise_pmaps();
    const vm::page_account pages = vm::account();
    k::log("memory: {} MiB free of {} MiB\n", pages.free >> (20 - arch::page_shift),
           pages.total >> (20 - arch::page_shift));
}

// A CPU that does not come up is left out; the rest go on without it.
void start_other_cpus() {
    unsigned running = 1;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        if (!lwkt::initialise_ipi_rings(cpu)) k::panic("no memory for the IPI rings of CPU {}", cpu);
    for (unsigned cpu = 1; cpu < arch::cpu::count(); cpu++) {
        auto stack = mem::stack::create();
        auto* kept = stack ? mem::make<mem::stack>(std::move(*stack)) : nullptr; // for as long as the CPU runs
        if (!kept) k::panic("no memory for the stack of CPU {}", cpu);
        if (!arch::cpu::start(cpu, kept->base() + mem::stack::size)) {
            k::log("CPU {} does not start\n", cpu);
            continue;
        }
        while (!lwkt::is_running(cpu)) // it counts from when threads can be made there
            arch::cpu::relax();
        running++;
    }
    k::log("cpus: {} running, {}\n", running, arch::cpu::model());
}

} // namespace

void arch::upcall::boot() {
    k::log("Nutcracker\n");
    start_memory();
    lwkt::adopt_boot_flow("idle/0", 0, 0);
    start_other_cpus();
    vm::initialise_objects();
    if (!lwkt::spawn("main", 0, lwkt::normal_priority, kernel_main, nullptr))
        k::panic("no memory for the first thread");
    lwkt::become_idle();
}

void arch::upcall::boot_secondary() {
    char name[24];
    k::buffer_sink text(name);
    k::format_to(text, "idle/{}", arch::cpu::id());
    lwkt::adopt_boot_flow(text.view(), 0, 0);
    lwkt::become_idle();
}
