#include "arch/x86_64/cpu/backtrace.h"

#include "arch/x86_64/boot/image.h"
#include "arch/x86_64/mm/layout.h"
#include "arch/x86_64/mm/page_table.h"
#include "kernel/lib/log.h"

// Made by tools/symbols.py from the first link, sorted by address. Offsets are from image_text_start and
// from arch_symbol_names.
struct symbol_entry {
    k::u32 start, name;
};
extern "C" {
extern const k::u32 arch_symbol_count;
extern const symbol_entry arch_symbols[];
extern const char arch_symbol_names[];
}

namespace arch::x86 {

namespace {

constexpr int deepest = 32;

bool is_text(u64 address) {
    return address >= reinterpret_cast<u64>(image_text_start) && address < reinterpret_cast<u64>(image_text_end);
}

// Two words at a frame pointer can be read.
bool is_frame(u64 rbp) {
    return k::is_aligned<u64>(rbp, 8) && rbp >= direct_base && rbp < ~u64{0} - 16 && is_mapped(rbp) &&
           is_mapped(rbp + 8);
}

// The instruction after a call may already belong to the next function: a call is looked up by its last byte.
void print_address(u64 address, bool is_return) {
    const symbol found = find_symbol(address - is_return);
    if (found.name.empty())
        k::log("    {:016X}\n", address);
    else
        k::log("    {:016X} {}+{:x}\n", address, found.name, found.offset + is_return);
}

} // namespace

symbol find_symbol(u64 address) {
    if (!is_text(address) || arch_symbol_count == 0) return {{}, 0};
    const u64 offset = address - reinterpret_cast<u64>(image_text_start);
    k::u32 low = 0, high = arch_symbol_count; // the last that starts at or before
    while (high - low > 1) {
        const k::u32 middle = low + (high - low) / 2;
        (arch_symbols[middle].start <= offset ? low : high) = middle;
    }
    const symbol_entry& entry = arch_symbols[low];
    if (entry.start > offset) return {{}, 0};
    return {arch_symbol_names + entry.name, offset - entry.start};
}

void print_backtrace(u64 rip, u64 rbp) {
    k::log("  backtrace:\n");
    print_address(rip, false);
    for (int depth = 0; depth < deepest && is_frame(rbp); depth++) {
        const u64* frame = reinterpret_cast<const u64*>(rbp);
        if (!is_text(frame[1])) return;
        print_address(frame[1], true);
        rbp = frame[0];
    }
}

} // namespace arch::x86
