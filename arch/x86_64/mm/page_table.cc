#include "arch/x86_64/mm/page_table.h"

#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/mm/layout.h"
#include "arch/x86_64/mm/physical.h"

#include <atomic>

namespace arch::x86 {

paddr kernel_top;

namespace {

constexpr u64 table_flags = pte::present | pte::writable;

// Frames for tables that another CPU made first: kept for the next need, linked through their first word,
// which is zeroed again when they leave.
class spare_tables {
  public:
    void put(paddr frame) {
        guard g(*this);
        *static_cast<u64*>(early_address(frame)) = first_;
        first_ = frame;
    }
    paddr take() {
        guard g(*this);
        const paddr frame = first_;
        if (frame) {
            u64* link = static_cast<u64*>(early_address(frame));
            first_ = *link;
            *link = 0;
        }
        return frame;
    }

  private:
    struct guard {
        explicit guard(spare_tables& tables) : tables_(tables), enabled_(cpu::interrupts_disable()) {
            while (tables_.busy_.exchange(true, std::memory_order_acquire))
                cpu::relax();
        }
        ~guard() {
            tables_.busy_.store(false, std::memory_order_release);
            cpu::interrupts_restore(enabled_);
        }
        spare_tables& tables_;
        bool enabled_;
    };

    std::atomic<bool> busy_{};
    paddr first_ = 0;
};

constinit spare_tables spares;

// The table below `entry`, made if there is none.
table_entry* descend(table_entry& entry, paddr (*source)()) {
    std::atomic_ref<table_entry> shared(entry);
    table_entry value = shared.load(std::memory_order_acquire);
    if (!(value & pte::present)) {
        paddr frame = spares.take();
        if (!frame) frame = source();
        if (!frame) return nullptr;
        if (shared.compare_exchange_strong(value, frame | table_flags, std::memory_order_acq_rel))
            value = frame | table_flags;
        else
            spares.put(frame);
    }
    return table_at(value);
}

} // namespace

table_entry leaf(paddr pa, u64 flags) {
    if (!features.no_execute) flags &= ~pte::no_execute;
    if (!features.global_pages) flags &= ~pte::global;
    return pa | flags;
}

table_entry* table_at(table_entry entry) {
    return static_cast<table_entry*>(early_address(entry & pte::address));
}

found_leaf find_leaf(u64 va) {
    table_entry* table = table_at(kernel_top);
    for (unsigned level = top_level;; level--) {
        table_entry& entry = table[index_of(va, level)];
        if (!(entry & pte::present)) return {nullptr, level};
        if (level == 0 || (entry & pte::large)) return {&entry, level};
        table = table_at(entry);
    }
}

bool is_mapped(u64 va) {
    if (!kernel_top) return va >= image_base; // still on the early tables
    const auto sign = static_cast<k::i64>(va) >> 47;
    return (sign == 0 || sign == -1) && find_leaf(va).entry;
}

table_entry* find_entry(u64 va) {
    table_entry* table = table_at(kernel_top);
    for (unsigned level = top_level; level > 0; level--) {
        const table_entry entry = table[index_of(va, level)];
        if (!(entry & pte::present) || (entry & pte::large)) return nullptr;
        table = table_at(entry);
    }
    return &table[index_of(va, 0)];
}

table_entry* make_entry(u64 va, paddr (*source)()) {
    table_entry* table = table_at(kernel_top);
    for (unsigned level = top_level; level > 0; level--) {
        table = descend(table[index_of(va, level)], source);
        if (!table) return nullptr;
    }
    return &table[index_of(va, 0)];
}

void map_early(u64 va, paddr pa, u64 bytes, u64 flags, unsigned largest) {
    while (bytes) {
        unsigned level = largest;
        while (level > 0 && (!k::is_aligned(va | pa, span_of(level)) || bytes < span_of(level)))
            level--;
        table_entry* table = table_at(kernel_top);
        for (unsigned at = top_level; at > level; at--)
            table = descend(table[index_of(va, at)], take_table);
        // As many neighbours as lie in the same table: one walk for all of them.
        do {
            table[index_of(va, level)] = leaf(pa, level ? flags | pte::large : flags);
            va += span_of(level);
            pa += span_of(level);
            bytes -= span_of(level);
        } while (bytes >= span_of(level) && index_of(va, level) != 0 && level == largest);
    }
}

void make_slots(u64 va, u64 bytes) {
    for (u64 offset = 0; offset < bytes; offset += slot_size)
        descend(table_at(kernel_top)[index_of(va + offset, top_level)], take_table);
}

} // namespace arch::x86
