// A split virtqueue (virtio 1.2, 2.7) with indirect descriptors and event indices, as its driver uses it.
//
// A request takes one place in the ring, whatever its length: its descriptors stand in a table of its own. The ring
// belongs to one CPU. The device writes what it likes: an index or a length that it could not mean makes the queue
// broken, and nothing more is taken from it until the device was reset.
#pragma once

#include "drivers/busdma/busdma.h"
#include "drivers/virtio/transport.h"

namespace virtio {

struct descriptor {
    k::u64 address;
    k::u32 bytes;
    k::u16 flags;
    k::u16 next;
};
static_assert(sizeof(descriptor) == 16);
enum descriptor_flag : k::u16 { flag_next = 1, flag_device_writes = 2, flag_indirect = 4 };

class queue {
  public:
    // A ring of `size` places (a power of two), each with room for `longest` descriptors. ENOMEM.
    k::status create(const busdma::tag& t, k::u16 size, unsigned longest) noexcept;
    // As it was made. The device does not use it.
    void clear() noexcept;

    k::u16 size() const noexcept { return size_; }
    queue_place place() const noexcept;

    // The descriptors of a place that is not in flight, to be filled from the front.
    class chain {
      public:
        // What the device reads comes first.
        void add(arch::paddr address, k::u32 bytes, bool device_writes) noexcept;

      private:
        friend class queue;
        descriptor* table = nullptr;
        unsigned count = 0, longest = 0;
        k::u64 writable = 0;
    };
    chain begin(unsigned place) noexcept;
    // Gives it to the device. True: it must be notified.
    bool put(unsigned place, const chain& what) noexcept;

    struct finished {
        unsigned place;
        k::u32 bytes; // that the device says it wrote, at most what it could
    };
    // The next one that the device is done with; false: none, or the queue is broken.
    bool take(finished& out) noexcept;
    // Asks for an interrupt at the next one; false if there is one already.
    bool ask_for_interrupt() noexcept;
    bool is_broken() const noexcept { return broken_; }
    bool is_in_flight(unsigned place) const noexcept { return writable_[place] != not_there; }

  private:
    static constexpr k::u64 not_there = ~k::u64{0};
    struct used_element {
        k::u32 place, bytes;
    };
    // Offsets of what stands behind the descriptors.
    std::size_t available_at() const noexcept { return size_ * sizeof(descriptor); }
    std::size_t used_at() const noexcept {
        return k::align_up(available_at() + 6 + 2 * std::size_t{size_}, std::size_t{4});
    }
    k::u16& word(std::size_t offset) noexcept { return *reinterpret_cast<k::u16*>(ring_.data() + offset); }
    k::u16& available_index() noexcept { return word(available_at() + 2); }
    k::u16& available_event() noexcept { return word(used_at() + 4 + sizeof(used_element) * size_); } // the device's
    k::u16& used_event() noexcept { return word(available_at() + 4 + 2 * std::size_t{size_}); }       // ours
    k::u16 used_index() noexcept { return std::atomic_ref(word(used_at() + 2)).load(std::memory_order_acquire); }

    busdma::memory ring_, tables_;
    k::u64* writable_ = nullptr; // bytes that the device may write for each place; not_there: not in flight
    unsigned longest_ = 0;
    k::u16 size_ = 0, next_available_ = 0, next_used_ = 0;
    bool broken_ = false;

  public:
    queue() = default;
    queue(const queue&) = delete;
    ~queue() { mem::free(writable_); }
};

} // namespace virtio
