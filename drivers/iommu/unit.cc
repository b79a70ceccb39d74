#include "drivers/iommu/unit.h"

#include "arch/common/cache_lines.h"
#include "drivers/iommu/reserved.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/interrupt.h"
#include "kernel/mem/kernel_space.h"
#include "kernel/time/callout.h"

#include <algorithm>
#include <cstring>

namespace iommu {

namespace {

// Registers (VT-d 10.4).
enum unit_register : unsigned {
    reg_capabilities = 0x08, // 64 bits
    reg_more_capabilities = 0x10,
    reg_command = 0x18,
    reg_status = 0x1c,
    reg_root = 0x20,    // 64 bits
    reg_context = 0x28, // 64 bits
    reg_fault_status = 0x34,
    reg_fault_control = 0x38,
    reg_fault_data = 0x3c,
    reg_fault_address = 0x40,
    register_bytes = 0x1000,
};
constexpr k::u32 command_translate = 1u << 31, command_set_root = 1u << 30, command_flush_writes = 1u << 27;
constexpr k::u32 lasting_commands = 0x96ff'ffff; // of the status, what a command must repeat (10.4.4)
constexpr k::u64 invalidate = k::u64{1} << 63;
constexpr k::u64 all_contexts = k::u64{1} << 61;
constexpr k::u64 all_pages = k::u64{1} << 60, domain_pages = k::u64{2} << 60, some_pages = k::u64{3} << 60;
constexpr k::u32 fault_overflow = 1, fault_pending = 2;
constexpr k::u64 fault_is_there = k::u64{1} << 63, fault_was_read = k::u64{1} << 62;
constexpr k::u64 no_more_domains = 1024, most_told = 8; // faults of one device
constexpr k::u32 nothing = ~k::u32{0};

struct table_entry {
    k::u64 low, high;
};
constexpr k::u64 is_present = 1;

constexpr unsigned most_units = 4;

class unit final : public forgetter {
  public:
    k::status create(const arch::iommu_unit& found) noexcept;
    k::status enable() noexcept;
    k::u16 segment() const noexcept { return segment_; }

    k::result<domain*> attach(pci::address at, std::string_view name) noexcept;
    void detach(pci::address at) noexcept;
    void forget(k::u16 number, k::u64 first_page, k::u64 pages) noexcept override;
    void show(const void* at, std::size_t bytes) noexcept override;

  private:
    struct attached {
        k::u16 source = 0;
        mem::box<domain> what;
    };
    static k::u16 source_of(pci::address at) noexcept {
        return static_cast<k::u16>(at.bus << 8 | at.slot << 3 | at.function);
    }
    volatile k::u32& word(unsigned offset) noexcept { return registers_.at<k::u32>(offset); }
    volatile k::u64& quad(unsigned offset) noexcept { return registers_.at<k::u64>(offset); }
    template <class Done> bool spin_until(Done done) noexcept;
    bool command(k::u32 bit) noexcept;
    void forget_contexts() noexcept;
    void forget_pages(k::u64 what) noexcept REQUIRES(lock_);
    table_entry* entry_of(k::u16 source) noexcept;
    domain* domain_of(k::u16 source) noexcept;
    void tell_faults() noexcept;
    static void faulted(void* self) { static_cast<unit*>(self)->tell_faults(); }

    mem::register_window registers_;
    lwkt::interrupt interrupt_;
    lwkt::spinlock lock_; // of the registers
    k::u16 segment_ = 0;
    unsigned levels_ = 0, page_register_ = 0, fault_register_ = 0, fault_count_ = 0, most_mask_ = 0;
    bool needs_flush_ = false;
    bool is_coherent_ = false; // it looks into the CPUs' caches for entries of tables
    k::u64 drains_ = 0;        // bits that have it wait for transfers that are under way
    bool lost_ = false;        // it does not do what it is told: nothing is attached any more
    k::u64 domains_ = 0;
    vm::page_ref root_;
    static constexpr unsigned most_attached = 256;
    attached functions_[most_attached]; // changed at boot and by who pulls a device out; entries stay where they are
    std::atomic<unsigned> count_ = 0;
};

unit* units[most_units];
unsigned unit_count;

template <class Done> bool unit::spin_until(Done done) noexcept {
    const ktime::ns deadline = ktime::after(ktime::second);
    while (!done()) {
        if (ktime::now() > deadline) return false;
        arch::cpu::relax();
    }
    return true;
}

// Sets a command bit, beside those that last, and waits for its echo.
bool unit::command(k::u32 bit) noexcept {
    word(reg_command) = (word(reg_status) & lasting_commands) | bit;
    return spin_until([&] { return bit == command_flush_writes ? !(word(reg_status) & bit) : word(reg_status) & bit; });
}

k::status unit::create(const arch::iommu_unit& found) noexcept {
    segment_ = found.segment;
    registers_ = TRY(mem::register_window::create(found.registers, register_bytes));
    const k::u64 can = quad(reg_capabilities), more = quad(reg_more_capabilities);
    if (can == ~k::u64{0}) return k::error::nodev;
    const k::u64 widths = can >> 8 & 31;
    levels_ = widths & 4 ? 4 : widths & 2 ? 3 : 0;
    needs_flush_ = can >> 4 & 1;
    drains_ = (can >> 54 & 1) << 48 | (can >> 55 & 1) << 49;
    const bool by_pages = can >> 39 & 1;
    most_mask_ = by_pages ? static_cast<unsigned>(can >> 48 & 63) : 0;
    page_register_ = static_cast<unsigned>(more >> 8 & 0x3ff) * 16;
    fault_register_ = static_cast<unsigned>(can >> 24 & 0x3ff) * 16;
    fault_count_ = static_cast<unsigned>(can >> 40 & 0xff) + 1;
    domains_ = std::min(k::u64{1} << (4 + 2 * (can & 7)), no_more_domains);
    is_coherent_ = more & 1;
    if (!levels_ || page_register_ + 16 > register_bytes || fault_register_ + 16 * fault_count_ > register_bytes)
        return k::error::opnotsupp;
    root_ = vm::page_ref::allocate(0, vm::page_use::page_table, vm::fill::zeroed);
    if (!root_) return k::error::nomem;
    show(root_.data(), arch::page_size);
    return {};
}

k::status unit::enable() noexcept {
    interrupt_ = TRY(lwkt::interrupt::connect(0, faulted, this));
    const arch::interrupt_message m = interrupt_.message();
    word(reg_fault_data) = m.data;
    word(reg_fault_address) = static_cast<k::u32>(m.address);
    word(reg_fault_address + 4) = static_cast<k::u32>(m.address >> 32);
    word(reg_fault_control) = 0;
    if (needs_flush_) (void)command(command_flush_writes);
    quad(reg_root) = vm::physical(root_.get());
    if (!command(command_set_root)) return k::error::io;
    forget_contexts();
    if (lost_ || !command(command_translate)) return k::error::io;
    return {};
}

// --- What it has remembered, and what it may look for

void unit::show(const void* at, std::size_t bytes) noexcept {
    if (!is_coherent_) arch::write_back_caches(at, bytes);
}

void unit::forget_contexts() noexcept {
    lwkt::critical section;
    lwkt::spin_guard guard(lock_);
    quad(reg_context) = invalidate | all_contexts;
    if (!spin_until([&] { return !(quad(reg_context) & invalidate); })) lost_ = true;
    forget_pages(all_pages);
}

void unit::forget_pages(k::u64 what) noexcept {
    quad(page_register_ + 8) = invalidate | drains_ | what;
    if (spin_until([&] { return !(quad(page_register_ + 8) & invalidate); })) return;
    if (!std::exchange(lost_, true)) k::log("iommu: it does not answer\n");
}

// In one go, as a block of pages that covers them, else the whole domain.
void unit::forget(k::u16 number, k::u64 first_page, k::u64 pages) noexcept {
    const k::u64 crossed = first_page ^ (first_page + pages - 1);
    const auto mask = static_cast<unsigned>(std::bit_width(crossed));
    lwkt::spin_guard guard(lock_);
    if (mask > most_mask_) return forget_pages(domain_pages | k::u64{number} << 32);
    quad(page_register_) = (first_page >> mask << mask) << arch::page_shift | mask;
    forget_pages(some_pages | k::u64{number} << 32);
}

// --- Who has which domain

// In the table of its bus, which is made when it is first needed. Null: no memory.
table_entry* unit::entry_of(k::u16 source) noexcept {
    auto* root = static_cast<table_entry*>(root_.data()) + (source >> 8);
    if (!root->low) {
        vm::page* fresh = vm::allocate_page(vm::page_use::page_table, vm::fill::zeroed);
        if (!fresh) return nullptr;
        show(vm::direct(fresh), arch::page_size);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        root->low = vm::physical(fresh) | is_present;
        show(root, sizeof(*root));
    }
    constexpr k::u64 mask = ~k::u64{0xfff};
    return static_cast<table_entry*>(arch::memory::direct(root->low & mask)) + (source & 0xff);
}

domain* unit::domain_of(k::u16 source) noexcept {
    for (const attached& a : std::span(functions_).first(count_.load(std::memory_order_acquire)))
        if (a.what && a.source == source) return a.what.get();
    return nullptr;
}

k::result<domain*> unit::attach(pci::address at, std::string_view name) noexcept {
    const unsigned index = count_.load(std::memory_order_relaxed);
    if (lost_) return k::error::io;
    if (index == most_attached || index + 1 >= domains_) return k::error::nospc;
    const k::u16 source = source_of(at);
    table_entry* entry = entry_of(source);
    if (!entry) return k::error::nomem;
    const auto number = static_cast<k::u16>(index + 1); // 0 is for what is not there (6.1)
    auto made = TRY(domain::create(*this, number, levels_, name));
    const auto reserved = std::span(arch::machine_dmar.reserved).first(arch::machine_dmar.reserved_count);
    if (auto* space = pci::machine_space()) TRY(open_reserved(*made, at, *space, reserved));
    entry->high = k::u64{number} << 8 | (levels_ - 2);
    std::atomic_ref(entry->low).store(made->tables() | is_present, std::memory_order_release);
    show(entry, sizeof(*entry));
    functions_[index].source = source;
    functions_[index].what = std::move(made);
    count_.store(index + 1, std::memory_order_release);
    forget_contexts();
    return functions_[index].what.get();
}

// The number is not used again.
void unit::detach(pci::address at) noexcept {
    const k::u16 source = source_of(at);
    for (attached& a : std::span(functions_).first(count_.load(std::memory_order_relaxed))) {
        if (!a.what || a.source != source) continue;
        table_entry* entry = entry_of(source);
        std::atomic_ref(entry->low).store(0, std::memory_order_release);
        show(entry, sizeof(*entry));
        forget_contexts();
        if (lost_) return; // it may look there for ever
        a.what = {};
    }
}

// --- Faults

// On CPU 0. A device that does nothing else is heard of no more after a few.
void unit::tell_faults() noexcept {
    for (unsigned i = 0; i < fault_count_; i++) {
        const unsigned at = fault_register_ + 16 * i;
        const k::u64 high = quad(at + 8);
        if (!(high & fault_is_there) || word(reg_command) == nothing) continue;
        const k::u64 page = quad(at) & ~k::u64{0xfff};
        const auto source = static_cast<k::u16>(high);
        const auto reason = static_cast<unsigned>(high >> 32 & 0xff);
        quad(at + 8) = fault_is_there; // written as one to clear
        domain* d = domain_of(source);
        const std::string_view what = high & fault_was_read ? "read from" : "write to";
        if (!d) {
            static k::u64 strangers;
            if (strangers++ < most_told)
                k::log("iommu: {:02X}:{:02X}.{}, which has no driver: a {} {:x} was refused ({})\n", source >> 8,
                       source >> 3 & 31, source & 7, what, page, reason);
            continue;
        }
        if (d->note_fault() <= most_told)
            k::log("iommu: {}: a {} {:x} was refused ({})\n", d->name(), what, page, reason);
    }
    word(reg_fault_status) = fault_overflow | fault_pending;
}

unit* unit_before(pci::address at) noexcept {
    for (unit* u : std::span(units).first(unit_count))
        if (u->segment() == at.segment) return u;
    return nullptr;
}

} // namespace

void start() noexcept {
    for (const arch::iommu_unit& found : arch::bus::iommu_units()) {
        if (!found.serves_all || unit_count == most_units) {
            k::log("iommu: the unit at {:x} is for single devices, not used\n", found.registers);
            continue;
        }
        auto made = mem::make_box<unit>();
        k::status done = made ? made->create(found) : k::status(k::error::nomem);
        if (done) done = made->enable();
        if (!done) {
            k::log("iommu: the unit at {:x} is not used: {}\n", found.registers, done.error());
            if (made) (void)made.release(); // what it was told of stays
            continue;
        }
        units[unit_count++] = made.release();
        k::log("iommu: devices reach only what they are given\n");
    }
}

k::result<domain*> attach(pci::address at, std::string_view name) noexcept {
    unit* u = unit_before(at);
    if (!u) return static_cast<domain*>(nullptr);
    return u->attach(at, name);
}

void detach(pci::address at) noexcept {
    if (unit* u = unit_before(at)) u->detach(at);
}

} // namespace iommu
