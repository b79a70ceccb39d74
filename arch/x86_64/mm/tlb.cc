#include "arch/x86_64/mm/tlb.h"

#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/dev/lapic.h"

namespace arch::x86 {

namespace {

constexpr std::size_t many_pages = 64; // from here on forgetting everything is cheaper
constexpr u64 cr4_global_pages = 1u << 7;

// Requests are numbered; one number serves all requests up to it, for a handler forgets everything.
std::atomic<u64> flushes_wanted;

void flush_all_here() {
    const bool enabled = cpu::interrupts_disable();
    const u64 cr4 = read_cr4();
    if (cr4 & cr4_global_pages) {
        write_cr4(cr4 & ~cr4_global_pages);
        write_cr4(cr4);
    } else {
        write_cr3(read_cr3());
    }
    cpu::interrupts_restore(enabled);
}

} // namespace

void flush_here(u64 va, std::size_t pages) {
    if (pages > many_pages) return flush_all_here();
    for (std::size_t i = 0; i < pages; i++)
        invalidate_page(va + i * page_size);
}

void serve_flush() {
    cpu_data& cpu = this_cpu();
    const u64 wanted = flushes_wanted.load(std::memory_order_acquire);
    if (cpu.flushes_done.load(std::memory_order_relaxed) >= wanted) return;
    flush_all_here();
    cpu.flushes_done.store(wanted, std::memory_order_release);
}

void flush_everywhere(u64 va, std::size_t pages) {
    cpu::critical_enter();
    flush_here(va, pages);
    const u64 mine = flushes_wanted.fetch_add(1, std::memory_order_acq_rel) + 1;
    for (unsigned id = 0; id < cpu::count(); id++)
        if (id != cpu::id() && cpus[id].started) send_interrupt(cpus[id].apic_id, vector_flush);

    for (unsigned id = 0; id < cpu::count(); id++) {
        if (id == cpu::id() || !cpus[id].started) continue;
        // Serving the others' requests by hand keeps two senders with interrupts off from waiting for ever.
        while (cpus[id].flushes_done.load(std::memory_order_acquire) < mine) {
            serve_flush();
            cpu::relax();
        }
    }
    // Events that came meanwhile stay latched if this was no outermost section; else they are due now.
    if (cpu::critical_leave()) upcall::deliver_events();
}

} // namespace arch::x86
