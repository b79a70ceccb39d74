// caps::id_table: names for messages, each good once.
//
// A name is the number of a place and how often that place was used; whoever makes one up, or uses an old one again,
// finds nothing. The table holds the messages that stand in it. Guarded by whoever has it.
#pragma once

#include "kernel/mem/slab.h"
#include "sys/caps/message.h"

namespace caps {

class id_table {
  public:
    explicit id_table(k::u32 most) noexcept : most_(most) {}
    ~id_table() { mem::free(places_); }
    id_table(const id_table&) = delete;
    id_table& operator=(const id_table&) = delete;

    k::u32 count() const noexcept { return count_; }
    bool is_full() const noexcept { return count_ == most_; }
    // Makes sure that one more will fit. ENOMEM; ENOBUFS: there are as many as there may be. Nothing blocks.
    k::status make_room() noexcept {
        if (free_ != none) [[likely]]
            return {};
        return grow();
    }
    // After make_room(). The table holds it from now on.
    message_id put(message_ref what) noexcept {
        const k::u32 at = free_;
        place& p = places_[at];
        free_ = p.next_free;
        p.what = what.release();
        count_++;
        return p.uses << place_bits | at;
    }
    // Null: no such name.
    message* find(message_id id) const noexcept {
        const place* p = place_of(id);
        return p ? p->what : nullptr;
    }
    // Takes out what stands under a name that is good.
    message_ref take(message_id id) noexcept {
        const k::u32 at = number_of(id);
        place& p = places_[at];
        kassert(at < size_ && p.what);
        message_ref what(std::exchange(p.what, nullptr));
        p.uses++;
        p.next_free = free_;
        free_ = at;
        count_--;
        return what;
    }
    // The first message from a place on that the test accepts, and where to go on; null: there is none.
    template <class Test> message* next(k::u32& from, Test accepts) const noexcept {
        for (; from < size_; from++)
            if (message* m = places_[from].what; m && accepts(*m)) return m;
        return nullptr;
    }

  private:
    static constexpr unsigned place_bits = 16;
    static constexpr k::u32 none = ~k::u32{0};
    struct place {
        message* what;
        k::u64 uses; // from 1 on: no name is 0
        k::u32 next_free;
    };

    static k::u32 number_of(message_id id) noexcept { return static_cast<k::u32>(id & ((1u << place_bits) - 1)); }
    place* place_of(message_id id) const noexcept {
        const k::u32 at = number_of(id);
        if (at >= size_) return nullptr;
        place& p = places_[at];
        return p.what && p.uses == id >> place_bits ? &p : nullptr;
    }
    k::status grow() noexcept;

    const k::u32 most_;
    k::u32 size_ = 0, count_ = 0, free_ = none;
    place* places_ = nullptr;
};

} // namespace caps
