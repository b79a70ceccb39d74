#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/traps.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/dev/clock.h"
#include "arch/x86_64/dev/console.h"
#include "arch/x86_64/dev/lapic.h"
#include "arch/x86_64/mm/tlb.h"

namespace arch::x86 {

void handle_interrupt(u64 vector) {
    switch (vector) {
    case vector_ipi: this_cpu().pending.fetch_or(event_ipi, std::memory_order_relaxed); break;
    case vector_timer: timer_interrupt(); break;
    case vector_console: console_interrupt(); break;
    case vector_flush: serve_flush(); break;
    case vector_spurious: return; // not a real one: no acknowledgement
    default:
        if (vector <= vector_last_legacy) return; // a spurious one of an 8259
        break;                                    // nobody's: acknowledged and forgotten
    }
    // Before events are delivered: this thread may be switched away from and come back much later.
    end_of_interrupt();

    const cpu_data& cpu = this_cpu();
    if (cpu.critical == 0 && cpu.pending.load(std::memory_order_relaxed)) upcall::deliver_events();
}

} // namespace arch::x86

extern "C" void arch_trap(arch::x86::trap_frame* frame) {
    if (frame->vector < 32)
        arch::x86::handle_exception(*frame);
    else
        arch::x86::handle_interrupt(frame->vector);
}
