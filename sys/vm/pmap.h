// vm::pmap: a space's page table, with what it takes to change it under running CPUs.
//
// A spinlock guards the tables: the space's own thread and, for shared objects, other spaces' threads change them.
// Whoever takes a right away flushes before anybody relies on it: flush() tells the CPUs that have the map loaded,
// in one message each, and none if that is only this one. A right that is added needs no flush: a stale
// translation faults once more.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"

namespace vm {

struct page;

// How many translations were thrown away, and how many messages that took or spared.
struct shootdown_counters {
    k::u64 flushes;  // asked for
    k::u64 messages; // to other CPUs
    k::u64 local;    // flushes that needed no message
};
shootdown_counters read_shootdowns() noexcept;

class pmap {
  public:
    pmap() = default;
    pmap(const pmap&) = delete;
    pmap& operator=(const pmap&) = delete;

    // ENOMEM.
    k::status create() noexcept;
    // No thread will ever be given it again. Thread context: tells CPUs that still have it loaded to leave it.
    void destroy() noexcept;

    // `access` is what law 3 allows now. False: no memory for a table.
    [[nodiscard]] bool enter(arch::vaddr va, arch::paddr pa, k::u8 access) noexcept;
    // Several pages from `va` on. False: memory for tables ran out on the way. `cpus` gets those that must flush, if
    // other pages stood there; null: none did, or the same ones with no more rights.
    [[nodiscard]] bool enter_pages(arch::vaddr va, std::span<page* const> pages, k::u8 access, k::u32* cpus) noexcept;
    // The same with pages as they stand in a leaf of a page tree.
    [[nodiscard]] bool enter_slots(arch::vaddr va, std::span<void* const> slots, k::u8 access, k::u32* cpus) noexcept;
    [[nodiscard]] bool enter_large(arch::vaddr va, arch::paddr pa, k::u8 access) noexcept;
    // The following return the CPUs that must flush: 0 if nothing changed.
    [[nodiscard]] k::u32 remove(arch::vaddr va, std::size_t pages) noexcept;
    [[nodiscard]] k::u32 write_protect(arch::vaddr va, std::size_t pages) noexcept;
    [[nodiscard]] k::u32 write_protect_all() noexcept;
    arch::user_mapping find(arch::vaddr va) noexcept;

    arch::user_map& machine_map() noexcept { return map_; }

  private:
    template <class PageAt>
    bool enter_each(arch::vaddr va, std::size_t count, PageAt at, k::u8 access, k::u32* cpus) noexcept;

    lwkt::spinlock lock_;
    arch::user_map map_ GUARDED_BY(lock_);
};

// Makes the CPUs of the set forget translations of the range (pages 0: of everything), whatever map they have
// loaded, and waits until they have. Thread context, no spinlock held.
void flush_cpus(k::u32 cpus, arch::vaddr va, std::size_t pages) noexcept;

// Where page tables get their memory. Boot, once.
void initialise_pmaps() noexcept;

} // namespace vm
