#include "sys/vm/pmap.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/page.h"

namespace vm {

namespace {

constexpr std::size_t pages_a_turn = std::size_t{1}
                                     << 24; // of a range, under the lock: what is not mapped costs nothing

lwkt::per_cpu<shootdown_counters> counters;

arch::paddr take_table() {
    page* p = allocate_page(page_use::page_table, fill::zeroed);
    return p ? physical(p) : 0;
}
void give_table(arch::paddr pa) {
    drop(page_at(pa), hold::reference);
}

struct flush_request {
    arch::vaddr va;
    std::size_t pages;
    std::atomic<unsigned> remaining;

    void here() const {
        lwkt::critical section;
        arch::user_map::flush_here(va, pages);
    }
    // On a CPU whose thread has no map the one of the thread before is still loaded, in case that one comes back.
    // Whoever changes it should not have to ask a second time.
    static void serve(void* self) {
        auto& request = *static_cast<flush_request*>(self);
        if (lwkt::self().context.has_map())
            request.here();
        else
            arch::user_map::deactivate();
        request.remaining.fetch_sub(1, std::memory_order_release); // the request may be gone after this
    }
};

} // namespace

shootdown_counters read_shootdowns() noexcept {
    shootdown_counters sum{};
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        const shootdown_counters& one = counters.of(cpu); // another CPU's may be a moment old
        sum.flushes += one.flushes;
        sum.messages += one.messages;
        sum.local += one.local;
    }
    return sum;
}

void flush_cpus(k::u32 cpus, arch::vaddr va, std::size_t pages) noexcept {
    if (!cpus) return;
    flush_request request{va, pages, 0};
    {
        lwkt::critical section; // "the other CPUs" must not change under us
        const unsigned here = arch::cpu::id();
        shootdown_counters& mine = counters.local();
        mine.flushes++;
        if (cpus & 1u << here) request.here();
        cpus &= ~(1u << here);
        if (!cpus) {
            mine.local++;
            return;
        }
        mine.messages += static_cast<k::u64>(std::popcount(cpus));
        request.remaining.store(static_cast<unsigned>(std::popcount(cpus)), std::memory_order_relaxed);
        for (; cpus; cpus &= cpus - 1)
            lwkt::send(static_cast<unsigned>(std::countr_zero(cpus)), flush_request::serve, &request);
    }
    while (request.remaining.load(std::memory_order_acquire)) {
        {
            lwkt::critical section;
            lwkt::serve_incoming();
        }
        arch::cpu::relax();
    }
}

k::status pmap::create() noexcept {
    lwkt::spin_guard guard(lock_);
    if (!map_.create()) return k::error::nomem;
    return {};
}

void pmap::destroy() noexcept {
    k::u32 cpus;
    {
        lwkt::spin_guard guard(lock_);
        cpus = map_.active();
    }
    auto leave = [](void* map) {
        lwkt::critical section;
        arch::user_map::leave(*static_cast<arch::user_map*>(map));
    };
    for (; cpus; cpus &= cpus - 1)
        lwkt::call_on(static_cast<unsigned>(std::countr_zero(cpus)), leave, &map_);
    lwkt::spin_guard guard(lock_);
    map_.destroy();
}

bool pmap::enter(arch::vaddr va, arch::paddr pa, k::u8 access) noexcept {
    lwkt::spin_guard guard(lock_);
    return map_.enter(va, pa, access);
}

template <class PageAt>
bool pmap::enter_each(arch::vaddr va, std::size_t count, PageAt at, k::u8 access, k::u32* cpus) noexcept {
    constexpr std::size_t some = 256; // under the lock
    const frames frame_of;
    for (std::size_t done = 0; done < count; done += some) {
        bool stale = false;
        lwkt::spin_guard guard(lock_);
        const bool all = map_.enter_run(
            va + (done << arch::page_shift), std::min(some, count - done),
            [=](std::size_t i) { return frame_of(at(done + i)); }, access, cpus ? &stale : nullptr);
        if (stale) *cpus = map_.active();
        if (!all) return false;
    }
    return true;
}

bool pmap::enter_pages(arch::vaddr va, std::span<page* const> pages, k::u8 access, k::u32* cpus) noexcept {
    return enter_each(
        va, pages.size(), [pages](std::size_t i) { return pages.data()[i]; }, access, cpus);
}

bool pmap::enter_slots(arch::vaddr va, std::span<void* const> slots, k::u8 access, k::u32* cpus) noexcept {
    const frames frame_of;
    void* const* const at = slots.data();
    bool stale = false;
    lwkt::spin_guard guard(lock_);
    const bool all = map_.enter_run(
        va, slots.size(), [=](std::size_t i) { return frame_of(static_cast<const page*>(at[i])); }, access,
        cpus ? &stale : nullptr);
    if (stale) *cpus = map_.active();
    return all;
}

bool pmap::enter_large(arch::vaddr va, arch::paddr pa, k::u8 access) noexcept {
    lwkt::spin_guard guard(lock_);
    return map_.enter_large(va, pa, access);
}

k::u32 pmap::remove(arch::vaddr va, std::size_t pages) noexcept {
    k::u32 cpus = 0;
    for (; pages > pages_a_turn; va += pages_a_turn * arch::page_size, pages -= pages_a_turn) {
        lwkt::spin_guard guard(lock_);
        if (map_.remove(va, pages_a_turn)) cpus = map_.active();
    }
    lwkt::spin_guard guard(lock_);
    return map_.remove(va, pages) ? map_.active() : cpus;
}

k::u32 pmap::write_protect(arch::vaddr va, std::size_t pages) noexcept {
    k::u32 cpus = 0;
    while (pages) {
        const std::size_t turn = std::min(pages, pages_a_turn);
        lwkt::spin_guard guard(lock_);
        if (map_.write_protect(va, turn)) cpus = map_.active();
        va += turn * arch::page_size;
        pages -= turn;
    }
    return cpus;
}

k::u32 pmap::write_protect_all() noexcept {
    lwkt::spin_guard guard(lock_);
    return map_.write_protect_all() ? map_.active() : 0;
}

arch::user_mapping pmap::find(arch::vaddr va) noexcept {
    lwkt::spin_guard guard(lock_);
    return map_.find(va);
}

void initialise_pmaps() noexcept {
    arch::user_map::set_table_source(take_table, give_table);
}

} // namespace vm
