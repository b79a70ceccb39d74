// arch::kernel_map: the kernel's own page mappings outside the direct map.
//
// Rule: the table that holds an entry is made by reserve() and never freed, so that map() and unmap() are
// single stores that need no lock.
#include "arch/machine.h"
#include "arch/x86_64/mm/layout.h"
#include "arch/x86_64/mm/page_table.h"
#include "arch/x86_64/mm/tlb.h"
#include "kernel/lib/panic.h"

#include <atomic>

namespace arch {

namespace {

using namespace x86;

paddr (*table_source)();

bool in_kernel_map(vaddr va, std::size_t pages) {
    return k::is_aligned<u64>(va, page_size) && va >= kernel_map_base && va < kernel_map_base + kernel_map_size &&
           pages <= (kernel_map_base + kernel_map_size - va) >> page_shift;
}

} // namespace

void kernel_map::set_table_source(paddr (*source)()) noexcept {
    table_source = source;
}

bool kernel_map::reserve(vaddr va, std::size_t pages) {
    kassert(in_kernel_map(va, pages) && table_source);
    const u64 end = va + pages * page_size;
    for (u64 at = va; at < end; at = k::align_down(at, span_of(1)) + span_of(1))
        if (!make_entry(at, table_source)) return false;
    return true;
}

void kernel_map::map(vaddr va, paddr pa, access may) noexcept {
    kassert(in_kernel_map(va, 1) && k::is_aligned<u64>(pa, page_size));
    table_entry* entry = find_entry(va);
    kassert(entry && !(*entry & pte::present));
    constexpr u64 flags[] = {flags_read, flags_data, flags_device};
    std::atomic_ref(*entry).store(leaf(pa, flags[static_cast<unsigned>(may)]), std::memory_order_release);
}

paddr kernel_map::physical(vaddr va) noexcept {
    kassert(in_kernel_map(va, 0));
    const table_entry* entry = find_entry(va);
    kassert(entry && (*entry & pte::present));
    return *entry & pte::address;
}

void kernel_map::unmap(vaddr va, std::size_t pages) noexcept {
    kassert(in_kernel_map(va, pages));
    for (std::size_t i = 0; i < pages; i++)
        // A range whose making stopped half way has pages without an entry, and even without a table.
        if (table_entry* entry = find_entry(va + i * page_size))
            std::atomic_ref(*entry).store(0, std::memory_order_release);
    flush(va, pages);
}

void kernel_map::flush(vaddr va, std::size_t pages) noexcept {
    flush_here(va, pages);
}

} // namespace arch
