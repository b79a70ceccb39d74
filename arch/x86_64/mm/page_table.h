// Four-level page tables of the kernel's half: entries, walks, and building at boot.
//
// Rule: no entry is both writable and executable, and every entry of the kernel's half is global.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

namespace arch::x86 {

using k::u64;
using table_entry = u64;

namespace pte {
constexpr u64 present = 1u << 0;
constexpr u64 writable = 1u << 1;
constexpr u64 write_through = 1u << 3;
constexpr u64 uncached = 1u << 4;
constexpr u64 large = 1u << 7;
constexpr u64 global = 1u << 8;
constexpr u64 no_execute = u64{1} << 63; // given up by map_early() and leaf() where the CPU lacks it
constexpr u64 address = 0x000f'ffff'ffff'f000;
} // namespace pte

// What a mapping allows, ready for leaf().
constexpr u64 flags_text = pte::present | pte::global;
constexpr u64 flags_read = flags_text | pte::no_execute;
constexpr u64 flags_data = flags_read | pte::writable;
constexpr u64 flags_device = flags_data | pte::uncached | pte::write_through;

// Level 0 has 4 KiB pages, level 1 2 MiB, level 2 1 GiB; level 3 is the top table.
constexpr unsigned top_level = 3;
constexpr u64 span_of(unsigned level) {
    return u64{page_size} << (9 * level);
}
constexpr unsigned index_of(u64 va, unsigned level) {
    return va >> (page_shift + 9 * level) & 511;
}

// The kernel's top table. Below 4 GiB.
extern paddr kernel_top;

// An entry for a page at `pa`, without bits that this CPU does not know.
table_entry leaf(paddr pa, u64 flags);

// The table at the other end of an entry that is present and not a page, through the direct map.
table_entry* table_at(table_entry entry);

// The entry that maps `va`, if any, and its level.
struct found_leaf {
    table_entry* entry; // null: not mapped
    unsigned level;
};
found_leaf find_leaf(u64 va);
bool is_mapped(u64 va);

// The level-0 entry for `va`, present or not. Null: there is no table for it, or a large page.
table_entry* find_entry(u64 va);

// The same, making tables from `source` as needed. Null: the source is out of frames. Two
// CPUs may do this at once. `va` must not lie in a large page.
table_entry* make_entry(u64 va, paddr (*source)());

// Boot only: maps [va, va + bytes) to pa onwards with pages of at most `largest` level. All page aligned.
void map_early(u64 va, paddr pa, u64 bytes, u64 flags, unsigned largest);

// Boot only: makes the second table of each top slot in the range, so that the top table is final.
void make_slots(u64 va, u64 bytes);

} // namespace arch::x86
