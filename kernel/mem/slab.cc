// The slab allocator. A slab's bookkeeping lives in the vm::page of its first page: a list of free objects
// threaded through the objects themselves, how many are out, the size class and the home CPU.
#include "kernel/mem/slab.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/mem/fault_injection.h"
#include "kernel/mem/page.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

namespace mem {

namespace {

using vm::page;

constexpr k::u16 class_sizes[] = {16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 576, 768, 1024, 1536, 2048};
constexpr unsigned classes = std::size(class_sizes);
constexpr std::size_t largest = class_sizes[classes - 1];
constexpr unsigned remote_batch = 16;

// Enough pages that a slab holds at least seven objects.
constexpr unsigned slab_order(unsigned size_class) {
    return class_sizes[size_class] <= 576 ? 0 : class_sizes[size_class] <= 1024 ? 1 : 2;
}
constexpr unsigned slab_objects(unsigned size_class) {
    return static_cast<unsigned>((arch::page_size << slab_order(size_class)) / class_sizes[size_class]);
}

// From (size + 15) / 16 to the class.
struct class_table {
    k::u8 of[largest / 16 + 1]{};
    constexpr class_table() {
        unsigned c = 0;
        for (std::size_t units = 0; units <= largest / 16; units++) {
            while (class_sizes[c] < units * 16)
                c++;
            of[units] = static_cast<k::u8>(c);
        }
    }
};
constexpr class_table class_for;

using slab_list = boost::intrusive::list<page, boost::intrusive::member_hook<page, page::hook, &page::link>,
                                         boost::intrusive::constant_time_size<false>>;

// A free object's first word. Read and written while the rest stays poisoned.
struct free_object {
    free_object* next;
};

free_object* next_of(free_object* object) {
    arch::memory::unpoison(object, sizeof(free_object));
    free_object* next = object->next;
    arch::memory::poison(object, sizeof(free_object));
    return next;
}
void set_next(void* object, void* next) {
    arch::memory::unpoison(object, sizeof(free_object));
    static_cast<free_object*>(object)->next = static_cast<free_object*>(next);
    arch::memory::poison(object, sizeof(free_object));
}

// Objects on their way to one other CPU.
struct batch {
    free_object* first;
    free_object* last;
    k::u32 count;
};

// Owned by one CPU.
struct slab_cache {
    page* active[classes]; // where objects come from
    slab_list* partial;    // [classes]: others with free objects; full slabs are in no list
    batch outgoing[arch::max_cpus];
    k::i64 in_use; // this CPU's part of the sum
    alignas(slab_list) std::byte partial_storage[classes][sizeof(slab_list)];
};
lwkt::per_cpu<slab_cache> caches;

// What came home to a CPU: pushed by the others, emptied by the owner.
struct alignas(64) inbox {
    std::atomic<free_object*> first;
};
inbox inboxes[arch::max_cpus];

slab_list& partial(slab_cache& cache, unsigned size_class) {
    if (!cache.partial) [[unlikely]] {
        for (auto& storage : cache.partial_storage)
            new (storage) slab_list;
        cache.partial = reinterpret_cast<slab_list*>(cache.partial_storage);
    }
    return cache.partial[size_class];
}

page* new_slab(unsigned size_class) {
    page* slab = vm::allocate_block(slab_order(size_class), vm::page_use::slab, vm::fill::any);
    if (!slab) return nullptr;
    const std::size_t size = class_sizes[size_class];
    auto* base = static_cast<std::byte*>(vm::direct(slab));
    void* free = nullptr;
    for (std::size_t i = slab_objects(size_class); i-- > 0;) {
        auto* object = reinterpret_cast<free_object*>(base + i * size);
        object->next = static_cast<free_object*>(free);
        free = object;
    }
    arch::memory::poison(base, arch::page_size << slab_order(size_class));
    slab->slab = {free, 0, static_cast<k::u8>(size_class), static_cast<k::u8>(arch::cpu::id())};
    return slab;
}

void free_slab(page* slab) {
    arch::memory::unpoison(vm::direct(slab), arch::page_size << slab->order());
    vm::drop(slab, vm::hold::reference);
}

// The first free object of a slab that has one and belongs to this CPU.
void* take_object(slab_cache& cache, page* slab) {
    auto* object = static_cast<free_object*>(slab->slab.free);
    slab->slab.free = next_of(object);
    slab->slab.used++;
    cache.in_use++;
    arch::memory::unpoison(object, class_sizes[slab->slab.size_class]);
    return object;
}

// A slab that is not the active one has got an object back: it may have been full, or be empty now.
[[gnu::noinline]] void rearrange(slab_cache& cache, page* slab, bool was_full) {
    slab_list& list = partial(cache, slab->slab.size_class);
    if (was_full)
        list.push_front(*slab);
    else if (!slab->slab.used) {
        list.erase(list.iterator_to(*slab));
        free_slab(slab);
    }
}

// Puts an object back into its slab, which belongs to this CPU.
inline void free_at_home(slab_cache& cache, page* slab, void* object) {
    const bool was_full = !slab->slab.free;
    set_next(object, slab->slab.free);
    slab->slab.free = object;
    const bool empty = --slab->slab.used == 0;
    if ((was_full || empty) && slab != cache.active[slab->slab.size_class]) [[unlikely]]
        rearrange(cache, slab, was_full);
}

// Hands a batch over to its home CPU in one step.
void send_home(batch& out, unsigned home) {
    if (!out.count) return;
    std::atomic<free_object*>& inbox = inboxes[home].first;
    free_object* head = inbox.load(std::memory_order_relaxed);
    do
        set_next(out.last, head);
    while (!inbox.compare_exchange_weak(head, out.first, std::memory_order_release, std::memory_order_relaxed));
    out = {};
}

// Takes in what others freed. True if anything came.
bool collect(slab_cache& cache) {
    std::atomic<free_object*>& inbox = inboxes[arch::cpu::id()].first;
    if (!inbox.load(std::memory_order_relaxed)) return false;
    free_object* object = inbox.exchange(nullptr, std::memory_order_acquire);
    while (object) {
        free_object* next = next_of(object);
        free_at_home(cache, vm::head_of(vm::page_of(object)), object);
        object = next;
    }
    return true;
}

// The active slab is used up (or there is none): finds or makes another that has a free object.
page* next_active(slab_cache& cache, unsigned size_class) {
    page*& active = cache.active[size_class];
    if (collect(cache) && active && active->slab.free) return active;
    slab_list& list = partial(cache, size_class);
    if (!list.empty()) {
        active = &list.front();
        list.pop_front();
        return active;
    }
    page* fresh = new_slab(size_class);
    if (fresh) active = fresh; // the old one is full and in no list until an object comes back
    return fresh;
}

void* allocate_large(std::size_t bytes) {
    const auto order = static_cast<unsigned>(std::bit_width((bytes - 1) >> arch::page_shift));
    page* head = vm::allocate_block(order, vm::page_use::kernel, vm::fill::any);
    return head ? vm::direct(head) : nullptr;
}

} // namespace

namespace {

[[gnu::noinline]] void* allocate_slowly(std::size_t bytes) {
    if (bytes > largest) return allocate_large(bytes);
    if (fault_injection::should_fail()) return nullptr;
    const unsigned size_class = class_for.of[(bytes + 15) / 16];
    lwkt::critical section;
    slab_cache& cache = caches.local();
    page* slab = cache.active[size_class];
    if (!slab || !slab->slab.free) slab = next_active(cache, size_class);
    return slab ? take_object(cache, slab) : nullptr;
}

// Frees an object that belongs to another CPU.
[[gnu::noinline]] void free_away(slab_cache& cache, unsigned home, void* object) {
    batch& out = cache.outgoing[home];
    set_next(object, out.first);
    out.first = static_cast<free_object*>(object);
    if (!out.last) out.last = out.first;
    if (++out.count == remote_batch) send_home(out, home);
}

[[gnu::noinline]] void free_large(page* head) {
    kassert(head->use == vm::page_use::kernel);
    vm::drop(head, vm::hold::reference);
}

} // namespace

void* allocate(std::size_t bytes) noexcept {
    if (bytes > largest || fault_injection::armed()) [[unlikely]]
        return allocate_slowly(bytes);
    lwkt::critical section;
    slab_cache& cache = caches.local();
    page* slab = cache.active[class_for.of[(bytes + 15) / 16]];
    if (!slab || !slab->slab.free) [[unlikely]]
        return allocate_slowly(bytes);
    return take_object(cache, slab);
}

void free(void* object) noexcept {
    if (!object) return;
    page* slab = vm::head_of(vm::page_of(object));
    if (slab->use != vm::page_use::slab) [[unlikely]]
        return free_large(slab);
    if constexpr (k::debug_build) std::memset(object, 0xdf, class_sizes[slab->slab.size_class]);
    arch::memory::poison(object, class_sizes[slab->slab.size_class]);
    lwkt::critical section;
    slab_cache& cache = caches.local();
    cache.in_use--;
    const unsigned home = slab->slab.home;
    if (home != arch::cpu::id()) [[unlikely]]
        return free_away(cache, home, object);
    free_at_home(cache, slab, object);
}

void exchange_frees() noexcept {
    lwkt::critical section;
    slab_cache& cache = caches.local();
    for (unsigned home = 0; home < arch::cpu::count(); home++)
        send_home(cache.outgoing[home], home);
    collect(cache);
}

void trim_slabs() noexcept {
    lwkt::critical section;
    for (page*& active : caches.local().active)
        if (active && !active->slab.used) free_slab(std::exchange(active, nullptr));
}

k::u64 objects_in_use() noexcept {
    std::atomic<k::i64> sum = 0;
    auto add = [](void* sum) {
        static_cast<std::atomic<k::i64>*>(sum)->fetch_add(caches.local().in_use, std::memory_order_relaxed);
    };
    lwkt::call_everywhere(add, &sum);
    return static_cast<k::u64>(sum.load());
}

} // namespace mem
