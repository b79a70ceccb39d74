// Which pages of a device are newer than the disk: a bit a page, in pieces that are made when they are first needed.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/slab.h"

#include <bit>
#include <cstring>

namespace block {

class dirty_map {
  public:
    dirty_map() = default;
    ~dirty_map() {
        for (k::u64 i = 0; i < pieces_; i++)
            mem::free(table_[i]);
        mem::free(table_);
    }
    dirty_map(const dirty_map&) = delete;

    k::status create(k::u64 pages) noexcept {
        pieces_ = (pages + bits_a_piece - 1) / bits_a_piece;
        table_ = static_cast<k::u64**>(mem::allocate(std::max<k::u64>(pieces_, 1) * sizeof(k::u64*)));
        if (!table_) return k::error::nomem;
        std::memset(table_, 0, pieces_ * sizeof(k::u64*));
        return {};
    }
    // So that set() of these pages can be done. ENOMEM.
    k::status reserve(k::u64 first, k::u64 count) noexcept {
        if (!count) return {};
        for (k::u64 i = first / bits_a_piece; i <= (first + count - 1) / bits_a_piece; i++) {
            if (std::atomic_ref(table_[i]).load(std::memory_order_acquire)) continue;
            auto* fresh = static_cast<k::u64*>(mem::allocate(bits_a_piece / 8));
            if (!fresh) return k::error::nomem;
            std::memset(fresh, 0, bits_a_piece / 8);
            lwkt::spin_guard guard(lock_);
            if (!table_[i]) std::atomic_ref(table_[i]).store(std::exchange(fresh, nullptr), std::memory_order_release);
            mem::free(fresh);
        }
        return {};
    }
    void set(k::u64 first, k::u64 count) noexcept {
        lwkt::spin_guard guard(lock_);
        for (k::u64 page = first; page < first + count; page++) {
            k::u64& word = word_of(page);
            count_.store(count_.load(std::memory_order_relaxed) + !(word >> page % 64 & 1), std::memory_order_relaxed);
            word |= k::u64{1} << page % 64;
        }
    }
    void clear(k::u64 first, k::u64 count) noexcept {
        lwkt::spin_guard guard(lock_);
        for (k::u64 page = first; page < first + count; page++) {
            if (!table_[page / bits_a_piece]) continue;
            k::u64& word = word_of(page);
            count_.store(count_.load(std::memory_order_relaxed) - (word >> page % 64 & 1), std::memory_order_relaxed);
            word &= ~(k::u64{1} << page % 64);
        }
    }
    // The first page from `from` on, before `end`, that is (not) set; `end` if there is none.
    k::u64 next(k::u64 from, k::u64 end, bool wanted) noexcept {
        lwkt::spin_guard guard(lock_);
        for (k::u64 page = from; page < end;) {
            const k::u64* piece = page / bits_a_piece < pieces_ ? table_[page / bits_a_piece] : nullptr;
            if (!piece) {
                if (!wanted) return page;
                page = (page / bits_a_piece + 1) * bits_a_piece;
                continue;
            }
            const k::u64 word = piece[page % bits_a_piece / 64];
            const k::u64 left = (wanted ? word : ~word) >> page % 64;
            if (left) return std::min(end, page + static_cast<unsigned>(std::countr_zero(left)));
            page = (page / 64 + 1) * 64;
        }
        return end;
    }
    k::u64 count() const noexcept { return count_.load(std::memory_order_relaxed); }

  private:
    static constexpr k::u64 bits_a_piece = 2048 * 8; // 64 MiB of the device

    k::u64& word_of(k::u64 page) noexcept REQUIRES(lock_) {
        return table_[page / bits_a_piece][page % bits_a_piece / 64];
    }

    lwkt::spinlock lock_;
    k::u64** table_ = nullptr;
    k::u64 pieces_ = 0;
    std::atomic<k::u64> count_ = 0;
};

} // namespace block
