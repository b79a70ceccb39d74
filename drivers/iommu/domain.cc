#include "drivers/iommu/domain.h"

#include <algorithm>
#include <cstring>

namespace iommu {

namespace {

constexpr unsigned bits_a_level = 9;
constexpr k::u64 leaf_bytes = k::u64{arch::page_size} << bits_a_level;
constexpr k::u64 may_read = 1, may_write = 2; // of an entry (VT-d 9.8)
constexpr k::u64 address_mask = 0x000f'ffff'ffff'f000;

void order_stores() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

} // namespace

k::result<mem::box<domain>> domain::create(forgetter& unit, k::u16 number, unsigned levels,
                                           std::string_view name) noexcept {
    auto made = mem::make_box<domain>(unit, number, levels);
    if (!made) return k::error::nomem;
    made->root_ = vm::allocate_page(vm::page_use::page_table, vm::fill::zeroed);
    if (!made->root_) return k::error::nomem;
    unit.show(vm::direct(made->root_), arch::page_size);
    made->name_length_ = static_cast<unsigned>(std::min<std::size_t>(name.size(), longest_name));
    std::memcpy(made->name_, name.data(), made->name_length_);
    return made;
}

domain::~domain() {
    if (root_) free_tables(root_, levels_);
}

void domain::free_tables(vm::page* table, unsigned level) noexcept {
    const auto* entries = static_cast<const k::u64*>(vm::direct(table));
    for (unsigned i = 0; level > 1 && i < 512; i++)
        if (entries[i]) free_tables(vm::page_at(entries[i] & address_mask), level - 1);
    vm::drop(table, vm::hold::reference);
}

k::u64* domain::entry_of(vm::page* table, unsigned level, arch::paddr at) const noexcept {
    const unsigned shift = arch::page_shift + bits_a_level * (level - 1);
    return static_cast<k::u64*>(vm::direct(table)) + (at >> shift & 511);
}

domain::leaf* domain::find(arch::paddr at) noexcept {
    vm::page* table = root_;
    for (unsigned level = levels_; level > 1; level--) {
        const k::u64 entry = *entry_of(table, level, at);
        if (!entry) return nullptr;
        table = vm::page_at(entry & address_mask);
    }
    return static_cast<leaf*>(vm::direct(table));
}

// The same, with tables where there are none yet. Null: no memory; what was made stays.
domain::leaf* domain::make(arch::paddr at) noexcept {
    vm::page* table = root_;
    for (unsigned level = levels_; level > 1; level--) {
        k::u64* entry = entry_of(table, level, at);
        if (!*entry) {
            const unsigned order = level == 2 ? 1 : 0; // a leaf has its counts behind it
            vm::page* fresh = order ? vm::allocate_block(order, vm::page_use::page_table, vm::fill::zeroed)
                                    : vm::allocate_page(vm::page_use::page_table, vm::fill::zeroed);
            if (!fresh) return nullptr;
            unit_.show(vm::direct(fresh), arch::page_size);
            order_stores();
            std::atomic_ref(*entry).store(vm::physical(fresh) | may_read | may_write, std::memory_order_release);
            unit_.show(entry, sizeof(*entry));
        }
        table = vm::page_at(*entry & address_mask);
    }
    return static_cast<leaf*>(vm::direct(table));
}

k::status domain::reserve(arch::paddr at, k::u64 bytes) noexcept {
    const unsigned bits = arch::page_shift + bits_a_level * levels_;
    if (!bytes) return {};
    if (at >> bits || (at + bytes - 1) >> bits) return k::error::toobig;
    lwkt::spin_guard guard(lock_);
    for (arch::paddr here = k::align_down(at, leaf_bytes); here < at + bytes; here += leaf_bytes)
        if (!make(here)) return k::error::nomem;
    return {};
}

// Entries that were changed, shown as runs.
class domain::shown_entries {
  public:
    explicit shown_entries(forgetter& unit) noexcept : unit_(unit) {}
    ~shown_entries() { finish(); }
    void add(const k::u64* entry) noexcept {
        if (entry == end_) return void(end_++);
        finish();
        begin_ = entry;
        end_ = entry + 1;
    }

  private:
    void finish() noexcept {
        if (begin_) unit_.show(begin_, static_cast<std::size_t>(end_ - begin_) * sizeof(k::u64));
    }
    forgetter& unit_;
    const k::u64* begin_ = nullptr;
    const k::u64* end_ = nullptr;
};

// True: the unit may know what is not so any more.
bool domain::change(arch::paddr page, access how, bool opens, shown_entries& show) noexcept {
    leaf* l = find(page);
    kassert(l);
    const auto index = page >> arch::page_shift & 511;
    counts& c = l->open[index];
    const auto bits = static_cast<unsigned>(how);
    const k::u32 step = opens ? 1 : ~k::u32{0};
    kassert(opens || ((!(bits & may_read) || c.readers) && (!(bits & may_write) || c.writers)));
    if (bits & may_read) c.readers += step;
    if (bits & may_write) c.writers += step;
    const k::u64 before = l->entries[index];
    const k::u64 rights = (c.readers ? may_read : 0) | (c.writers ? may_write : 0);
    const k::u64 after = rights ? page | rights : 0;
    if (before == after) return false;
    std::atomic_ref(l->entries[index]).store(after, std::memory_order_release);
    show.add(&l->entries[index]);
    return before != 0; // of what was not there it knows nothing
}

void domain::apply(std::span<const xio::segment> what, access how, bool opens) noexcept {
    k::u64 first = ~k::u64{0}, last = 0;
    {
        lwkt::spin_guard guard(lock_);
        shown_entries show(unit_);
        for (const xio::segment& s : what) {
            if (!s.bytes) continue;
            const arch::paddr end = s.address + s.bytes;
            for (arch::paddr page = k::align_down(s.address, k::u64{arch::page_size}); page < end;
                 page += arch::page_size) {
                if (!change(page, how, opens, show)) continue;
                first = std::min(first, page >> arch::page_shift);
                last = std::max(last, page >> arch::page_shift);
            }
        }
    }
    order_stores();
    if (first <= last) unit_.forget(number_, first, last - first + 1);
}

void domain::open(std::span<const xio::segment> what, access how) noexcept {
    apply(what, how, true);
}

void domain::close(std::span<const xio::segment> what, access how) noexcept {
    apply(what, how, false);
}

unsigned domain::permissions(arch::paddr at) noexcept {
    lwkt::spin_guard guard(lock_);
    const leaf* l = find(at);
    return l ? static_cast<unsigned>(l->entries[at >> arch::page_shift & 511] & (may_read | may_write)) : 0;
}

} // namespace iommu
