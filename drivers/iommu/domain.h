// iommu::domain: what one device can reach of memory, and nothing else. Read this header first of drivers/iommu.
//
// A device behind a unit (unit.h) sees a page only while somebody has it open: busdma does for as long as a map is
// loaded, and for the rings. Addresses stay what they are: an open page is seen at its physical address. So nothing of
// a tag changes, and a device that does not know of the unit needs nothing else. One page may be open many times; it is
// seen, for reading, for writing or both, until the last of those closes. Strict: when close() is over, the unit has
// forgotten.
//
// Tables (VT-d 3.4, second level) are made when a page of their 2 MiB is first reserved, and stay as long as the
// domain.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/page.h"
#include "kernel/mem/slab.h"
#include "sys/xio/segments.h"

namespace iommu {

enum class access : k::u8 { read = 1, write = 2, both = 3 }; // what the device may do

// Hardware that looks into a domain's tables.
class forgetter {
  public:
    // Makes it forget what it knows of a domain's pages. Any CPU, in a critical section; over when it has.
    virtual void forget(k::u16 domain, k::u64 first_page, k::u64 pages) noexcept = 0;
    // It may look for what was stored there from now on. Any context.
    virtual void show(const void* at, std::size_t bytes) noexcept = 0;

  protected:
    ~forgetter() = default;
};

class domain {
  public:
    static constexpr unsigned longest_name = 31;

    // Levels of tables: 3 or 4, for 39 or 48 bits of address. ENOMEM.
    static k::result<mem::box<domain>> create(forgetter& unit, k::u16 number, unsigned levels,
                                              std::string_view name) noexcept;
    domain(forgetter& unit, k::u16 number, unsigned levels) noexcept
        : unit_(unit), number_(number), levels_(levels) {} // for create()
    ~domain();
    domain(const domain&) = delete;

    // Any context. ENOMEM; E2BIG: beyond the tables' addresses.
    k::status reserve(arch::paddr at, k::u64 bytes) noexcept;
    // Of bytes that were reserved once; all pages that they touch. Critical section.
    void open(std::span<const xio::segment> what, access how) noexcept;
    // The same bytes and access as were opened. The device does not reach them any more, unless others have them open.
    void close(std::span<const xio::segment> what, access how) noexcept;

    // What the device may do with a page now; 0: nothing.
    unsigned permissions(arch::paddr at) noexcept;

    k::u16 number() const noexcept { return number_; }
    arch::paddr tables() const noexcept { return vm::physical(root_); }
    std::string_view name() const noexcept { return {name_, name_length_}; }
    k::u64 faults() const noexcept { return faults_.load(std::memory_order_relaxed); }
    k::u64 note_fault() noexcept { return faults_.fetch_add(1, std::memory_order_relaxed) + 1; }

  private:
    struct counts {
        k::u32 readers, writers;
    };
    // The last level: its entries, and how often each of its pages is open. Two pages that lie together.
    struct leaf {
        k::u64 entries[512];
        counts open[512];
    };
    static_assert(sizeof(leaf) == 2 * arch::page_size);

    class shown_entries;
    k::u64* entry_of(vm::page* table, unsigned level, arch::paddr at) const noexcept;
    leaf* find(arch::paddr at) noexcept REQUIRES(lock_);
    leaf* make(arch::paddr at) noexcept REQUIRES(lock_);
    bool change(arch::paddr page, access how, bool opens, shown_entries& show) noexcept REQUIRES(lock_);
    void free_tables(vm::page* table, unsigned level) noexcept;
    void apply(std::span<const xio::segment> what, access how, bool opens) noexcept;

    forgetter& unit_;
    const k::u16 number_;
    const unsigned levels_;
    vm::page* root_ = nullptr;
    lwkt::spinlock lock_;
    char name_[longest_name];
    unsigned name_length_ = 0;
    std::atomic<k::u64> faults_ = 0;
};

} // namespace iommu
