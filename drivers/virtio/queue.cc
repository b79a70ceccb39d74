#include "drivers/virtio/queue.h"

#include <cstring>

namespace virtio {

k::status queue::create(const busdma::tag& t, k::u16 size, unsigned longest) noexcept {
    kassert(std::has_single_bit(size));
    size_ = size;
    longest_ = longest;
    ring_ = TRY(busdma::memory::create(t, used_at() + 6 + sizeof(used_element) * size));
    tables_ = TRY(busdma::memory::create(t, std::size_t{size} * longest * sizeof(descriptor)));
    writable_ = static_cast<k::u64*>(mem::allocate(size * sizeof(k::u64)));
    if (!writable_) return k::error::nomem;
    clear();
    return {};
}

void queue::clear() noexcept {
    std::memset(ring_.data(), 0, used_at() + 6 + sizeof(used_element) * size_);
    std::fill_n(writable_, size_, not_there);
    next_available_ = next_used_ = 0;
    broken_ = false;
}

queue_place queue::place() const noexcept {
    const arch::paddr at = ring_.address();
    return {at, at + available_at(), at + used_at()};
}

void queue::chain::add(arch::paddr address, k::u32 bytes, bool device_writes) noexcept {
    kassert(count < longest);
    if (count) {
        table[count - 1].flags |= flag_next;
        table[count - 1].next = static_cast<k::u16>(count);
    }
    table[count++] = {address, bytes, device_writes ? k::u16{flag_device_writes} : k::u16{0}, 0};
    if (device_writes) writable += bytes;
}

queue::chain queue::begin(unsigned place) noexcept {
    kassert(place < size_ && !is_in_flight(place));
    chain c;
    c.table = reinterpret_cast<descriptor*>(tables_.data()) + std::size_t{place} * longest_;
    c.longest = longest_;
    return c;
}

bool queue::put(unsigned place, const chain& what) noexcept {
    const arch::paddr table = tables_.address() + std::size_t{place} * longest_ * sizeof(descriptor);
    const descriptor whole{table, static_cast<k::u32>(what.count * sizeof(descriptor)), flag_indirect, 0};
    std::memcpy(ring_.data() + place * sizeof(descriptor), &whole, sizeof(whole));
    word(available_at() + 4 + 2 * std::size_t{next_available_ % unsigned{size_}}) = static_cast<k::u16>(place);
    writable_[place] = what.writable;
    const k::u16 before = next_available_++;
    std::atomic_ref(available_index()).store(next_available_, std::memory_order_release);
    // The device says how far it has looked after it looked: one of the two sees the other (2.7.10).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const k::u16 event = std::atomic_ref(available_event()).load(std::memory_order_relaxed);
    return static_cast<k::u16>(next_available_ - event - 1) < static_cast<k::u16>(next_available_ - before);
}

bool queue::take(finished& out) noexcept {
    if (broken_) return false;
    const k::u16 ahead = static_cast<k::u16>(used_index() - next_used_);
    if (ahead == 0) return false;
    used_element e; // read once: the device may change it
    std::memcpy(&e, ring_.data() + used_at() + 4 + sizeof(e) * (next_used_ % unsigned{size_}), sizeof(e));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (ahead > size_ || e.place >= size_ || writable_[e.place] == not_there || e.bytes > writable_[e.place]) {
        broken_ = true;
        return false;
    }
    writable_[e.place] = not_there;
    next_used_++;
    out = {e.place, e.bytes};
    return true;
}

bool queue::ask_for_interrupt() noexcept {
    std::atomic_ref(used_event()).store(next_used_, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return broken_ || used_index() == next_used_;
}

} // namespace virtio
