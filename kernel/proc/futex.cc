#include "kernel/proc/futex.h"

#include "kernel/proc/current.h"
#include "kernel/proc/futex_queue.h"
#include "kernel/proc/signals.h"
#include "sys/vm/user_pointer.h"

namespace proc {

namespace futexes {

namespace {

constexpr unsigned bucket_bits = 8;
bucket buckets[1u << bucket_bits];

} // namespace

bucket& bucket_of(const key& k) noexcept {
    const k::u64 mixed = (reinterpret_cast<k::u64>(k.owner) / 16 + k.offset / 4) * 0x9e37'79b9'7f4a'7c15;
    return buckets[mixed >> (64 - bucket_bits)];
}

void woken_list::take(bucket& from, waiter& w) noexcept NO_THREAD_SAFETY_ANALYSIS {
    from.waiters.erase(from.waiters.iterator_to(w));
    w.in.store(nullptr, std::memory_order_relaxed);
    list_.push_back(w);
    w.woken.store(true, std::memory_order_release);
}

woken_list::~woken_list() {
    while (!list_.empty()) {
        waiter& w = list_.front();
        list_.pop_front();
        w.queue.wake_one();
        w.released.store(true, std::memory_order_release); // its stack frame may be gone after this
    }
}

bool leave(waiter& w) noexcept {
    while (bucket* b = w.in.load(std::memory_order_relaxed)) {
        lwkt::spin_guard guard(b->lock);
        if (w.in.load(std::memory_order_relaxed) != b) continue; // requeued meanwhile
        b->waiters.erase(b->waiters.iterator_to(w));
        return true;
    }
    // The waker is in a critical section between the two stores.
    while (!w.released.load(std::memory_order_acquire))
        arch::cpu::relax();
    return false;
}

k::u64 take_locked(const key& from, k::u64 count, k::u32 bits, woken_list& woken) noexcept NO_THREAD_SAFETY_ANALYSIS {
    bucket& b = bucket_of(from);
    k::u64 taken = 0;
    for (auto at = b.waiters.begin(); at != b.waiters.end() && taken < count;) {
        waiter& w = *at++;
        if (!(w.of == from) || !(w.bits & bits)) continue;
        woken.take(b, w);
        taken++;
    }
    return taken;
}

k::u64 requeue_locked(const key& from, const key& to, k::u64 count) noexcept NO_THREAD_SAFETY_ANALYSIS {
    bucket& source = bucket_of(from);
    bucket& target = bucket_of(to);
    k::u64 moved = 0;
    waiter_list moving;
    for (auto at = source.waiters.begin(); at != source.waiters.end() && moved < count;) {
        waiter& w = *at++;
        if (!(w.of == from)) continue;
        source.waiters.erase(source.waiters.iterator_to(w));
        w.of = to;
        w.in.store(&target, std::memory_order_relaxed);
        moving.push_back(w);
        moved++;
    }
    target.waiters.splice(target.waiters.end(), moving);
    return moved;
}

k::u64 wake(const key& k, k::u64 count, k::u32 bits) noexcept {
    woken_list woken;
    lwkt::spin_guard guard(bucket_of(k).lock);
    return take_locked(k, count, bits, woken);
}

} // namespace futexes

using namespace futexes;

k::result<vm::space::word_key> futex_key(vm::space& space, xio::user_address at, bool known_private) noexcept {
    if (at % sizeof(k::u32)) return k::error::inval;
    if (at >= arch::user_end) return k::error::fault;
    if (known_private) return vm::space::word_key{&space, at};
    return space.key_of(at);
}

k::status futex_wait(vm::space& space, xio::user_address at, bool known_private, k::u32 expected, k::u32 bits,
                     ktime::ns deadline) noexcept {
    waiter w(TRY(futex_key(space, at, known_private)), bits);
    bool entered = false;
    TRY(space.with_word(at, arch::user_read, [&](std::atomic_ref<k::u32> word) {
        entered = enter(w, [&] { return word.load() == expected; });
    }));
    if (!entered) return k::error::again;
    const k::status slept = sleep(
        w.queue, [&] { return w.woken.load(std::memory_order_acquire); }, deadline);
    if (!leave(w)) return {};
    return slept ? k::status(k::error::intr) : k::status(slept.error());
}

k::result<k::u64> futex_wake(vm::space& space, xio::user_address at, int count) noexcept {
    return wake(TRY(futex_key(space, at, false)), static_cast<k::u64>(std::max(count, 1)), any_bit);
}

// --- Robust lists.

namespace {

constexpr unsigned most_robust_locks = 2048;
constexpr k::u32 has_waiters = 1u << 31, owner_died = 1u << 30, owner_mask = owner_died - 1;

struct robust_head {
    k::u64 next;
    k::i64 word_offset;
    k::u64 pending; // a lock that is being taken or let go
};

// The lock whose list entry is at `entry`, if thread `id` holds it. `pending`: perhaps it has just let it go and had
// yet to wake the next.
void abandon(vm::space& space, k::u64 entry, k::i64 offset, int id, bool pending) noexcept {
    const k::u64 at = (entry & ~k::u64{1}) + static_cast<k::u64>(offset); // bit 0 marks priority inheritance
    if (at % sizeof(k::u32) || at >= arch::user_end) return;
    bool wakes = false;
    const k::status done = space.with_word(at, arch::user_read | arch::user_write, [&](std::atomic_ref<k::u32> word) {
        k::u32 seen = word.load();
        for (;;) {
            if ((seen & owner_mask) != static_cast<k::u32>(id)) {
                wakes = pending && !(seen & owner_mask);
                return;
            }
            if (word.compare_exchange_weak(seen, (seen & has_waiters) | owner_died)) break;
        }
        wakes = seen & has_waiters;
    });
    if (done && wakes) (void)futex_wake(space, at, 1);
}

} // namespace

void release_robust_list(vm::space& space, xio::user_address head, int id) noexcept {
    if (!head) return;
    auto list = vm::user_pointer<const robust_head>(head).read(space);
    if (!list) return;
    const robust_head top = *list;
    k::u64 entry = top.next;
    for (unsigned left = most_robust_locks; left && (entry & ~k::u64{1}) != head; left--) {
        // The next one first: the word may wake somebody who frees this one.
        auto next = vm::user_pointer<const k::u64>(entry & ~k::u64{1}).read(space);
        if (entry != top.pending) abandon(space, entry, top.word_offset, id, false);
        if (!next) break;
        entry = *next;
    }
    if (top.pending) abandon(space, top.pending, top.word_offset, id, true);
}

} // namespace proc
