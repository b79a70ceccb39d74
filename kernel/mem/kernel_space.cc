#include "kernel/mem/kernel_space.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/mem/fault_injection.h"
#include "kernel/mem/slab.h"

#include <new>

namespace mem {

namespace {

using arch::kernel_map;

// One arena's share of kernel virtual space: the CPUs' window arenas and the shared one are equal parts.
std::size_t share_pages() {
    return kernel_map::size() / (arch::max_cpus + 1) >> arch::page_shift;
}

struct shared_space {
    lwkt::spinlock lock;
    va_arena arena GUARDED_BY(lock);
};

alignas(shared_space) std::byte shared_storage[sizeof(shared_space)];
shared_space& shared() {
    return reinterpret_cast<shared_space&>(shared_storage);
}

struct window_space {
    alignas(va_arena) std::byte arena[sizeof(va_arena)];
};
lwkt::per_cpu<window_space> windows;
va_arena& local_arena() {
    return reinterpret_cast<va_arena&>(windows.local().arena);
}

arch::paddr allocate_table() {
    vm::page* p = vm::allocate_page(vm::page_use::page_table, vm::fill::zeroed);
    return p ? vm::physical(p) : 0;
}

void release_shared(va_range* range) {
    lwkt::spin_guard guard(shared().lock);
    shared().arena.release(range);
}

// Gives back the pages under the first `mapped` pages above the guard page, then the addresses.
void take_down_stack(va_range* range, vm::page* const* pages, std::size_t mapped) {
    for (std::size_t i = 0; i < mapped; i++)
        vm::drop(pages[i], vm::hold::reference);
    release_shared(range);
}

} // namespace

bool va_arena::initialise(arch::vaddr base, std::size_t pages) {
    auto* whole = make<va_range>();
    if (!whole) return false;
    whole->base = base;
    whole->pages = pages;
    free_.push_back(*whole);
    return true;
}

va_range* va_arena::allocate(std::size_t pages) {
    for (va_range& range : free_) {
        if (range.pages < pages) continue;
        if (range.pages == pages) {
            free_.erase(free_.iterator_to(range));
            return &range;
        }
        auto* taken = make<va_range>();
        if (!taken) return nullptr;
        taken->base = range.base;
        taken->pages = pages;
        range.base += pages << arch::page_shift;
        range.pages -= pages;
        return taken;
    }
    return nullptr;
}

void va_arena::release(va_range* range) {
    auto next = free_.begin();
    while (next != free_.end() && next->base < range->base)
        ++next;
    auto here = free_.insert(next, *range);
    auto merge_with_next = [&](auto first) {
        auto second = std::next(first);
        if (second == free_.end() || first->base + (first->pages << arch::page_shift) != second->base) return;
        first->pages += second->pages;
        va_range& gone = *second;
        free_.erase(second);
        destroy(&gone);
    };
    merge_with_next(here);
    if (here != free_.begin()) merge_with_next(std::prev(here));
}

k::result<stack> stack::create() {
    va_range* range;
    {
        lwkt::spin_guard guard(shared().lock);
        range = shared().arena.allocate(pages + 1);
    }
    if (!range) return k::error::nomem;
    vm::page* taken[pages];
    std::size_t count = 0;
    if (kernel_map::reserve(range->base + arch::page_size, pages))
        while (count < pages && (taken[count] = vm::allocate_page(vm::page_use::stack, vm::fill::any)))
            count++;
    if (count < pages) {
        take_down_stack(range, taken, count);
        return k::error::nomem;
    }
    for (std::size_t i = 0; i < pages; i++)
        kernel_map::map(range->base + ((i + 1) << arch::page_shift), vm::physical(taken[i]), arch::access::read_write);
    return stack(range);
}

stack::~stack() {
    if (!range_) return;
    vm::page* taken[pages];
    for (std::size_t i = 0; i < pages; i++)
        taken[i] = vm::page_at(kernel_map::physical(base() + (i << arch::page_shift)));
    kernel_map::unmap(base(), pages);
    lwkt::call_everywhere_else([](void* at) { kernel_map::flush(reinterpret_cast<arch::vaddr>(at), pages); },
                               reinterpret_cast<void*>(base()));
    take_down_stack(range_, taken, pages);
}

k::result<window> window::create(std::size_t pages) {
    if (fault_injection::should_fail()) return k::error::nomem;
    lwkt::critical section;
    va_range* range = local_arena().allocate(pages);
    if (!range) return k::error::nomem;
    if (!kernel_map::reserve(range->base, pages)) {
        local_arena().release(range);
        return k::error::nomem;
    }
    return window(range);
}

void window::show(std::size_t index, arch::paddr pa, arch::access may) {
    kernel_map::map(range_->base + (index << arch::page_shift), pa, may);
}

window::~window() {
    if (!range_) return;
    kassert(cpu_ == arch::cpu::id());
    kernel_map::unmap(range_->base, range_->pages);
    lwkt::critical section;
    local_arena().release(range_);
}

k::result<register_window> register_window::create(arch::paddr pa, std::size_t bytes) {
    constexpr std::size_t most = 16 << 20;
    if (!bytes || bytes > most) return k::error::inval;
    const std::size_t in_page = pa % arch::page_size;
    const std::size_t pages = (in_page + bytes + arch::page_size - 1) >> arch::page_shift;
    va_range* range;
    {
        lwkt::spin_guard guard(shared().lock);
        range = shared().arena.allocate(pages);
    }
    if (!range) return k::error::nomem;
    if (!kernel_map::reserve(range->base, pages)) {
        release_shared(range);
        return k::error::nomem;
    }
    for (std::size_t i = 0; i < pages; i++)
        kernel_map::map(range->base + (i << arch::page_shift), pa - in_page + (i << arch::page_shift),
                        arch::access::device);
    return register_window(range, in_page, bytes);
}

register_window::~register_window() {
    if (!range_) return;
    kernel_map::unmap(range_->base, range_->pages);
    lwkt::call_everywhere_else(
        [](void* at) {
            const auto* range = static_cast<const va_range*>(at);
            kernel_map::flush(range->base, range->pages);
        },
        range_);
    release_shared(range_);
}

bool initialise_kernel_space() {
    kernel_map::set_table_source(allocate_table);
    const std::size_t share = share_pages();
    new (shared_storage) shared_space;
    {
        lwkt::spin_guard guard(shared().lock);
        if (!shared().arena.initialise(kernel_map::base(), share)) return false;
    }
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        auto* arena = new (windows.of(cpu).arena) va_arena;
        if (!arena->initialise(kernel_map::base() + ((cpu + 1) * share << arch::page_shift), share)) return false;
    }
    return true;
}

} // namespace mem
