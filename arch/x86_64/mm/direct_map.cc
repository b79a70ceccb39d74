// Debug builds: write protection of single frames in the direct map.
#include "arch/machine.h"
#include "arch/x86_64/mm/layout.h"
#include "arch/x86_64/mm/page_table.h"
#include "arch/x86_64/mm/tlb.h"
#include "kernel/lib/panic.h"

#include <atomic>

namespace arch {

bool memory::protect_direct(paddr pa, std::size_t bytes, bool writable) noexcept {
    using namespace x86;
    if constexpr (!k::debug_build) return false;
    const u64 first = direct_base + k::align_down<u64>(pa, page_size);
    const u64 end = direct_base + k::align_up<u64>(pa + bytes, page_size);
    for (u64 va = first; va < end; va += page_size) {
        table_entry* entry = find_entry(va);
        kassert(entry && (*entry & pte::present));
        std::atomic_ref<table_entry> shared(*entry);
        if (writable)
            shared.fetch_or(pte::writable, std::memory_order_acq_rel);
        else
            shared.fetch_and(~pte::writable, std::memory_order_acq_rel);
    }
    // A CPU that still believes in the read-only entry would fault on a write: both directions are told.
    flush_everywhere(first, (end - first) >> page_shift);
    return true;
}

} // namespace arch
