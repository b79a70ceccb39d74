// Where the blocks of a file lie: a sorted list of extents in memory, whatever the disk keeps (an extent tree or a map
// of indirect blocks). map_load.cc reads it, map_store.cc writes it. Its owner's lock guards it.
#pragma once

#include "sys/ext/array.h"

#include "kernel/lib/types.h"

namespace ext {

struct extent {
    k::u32 logical; // the first block, of the file
    k::u32 count;
    k::u64 physical; // of the disk
    bool unwritten;  // reserved: reads as zeroes

    k::u64 end() const noexcept { return k::u64{logical} + count; }
};

// What stands at a block and goes on for `count` blocks.
struct mapped_run {
    k::u64 physical; // 0: nothing
    k::u64 count;
    bool unwritten;

    bool is_readable() const noexcept { return physical && !unwritten; }
};

class extent_list {
  public:
    // One behind all others. EIO: it is not; ENOMEM.
    k::status append(const extent& e) noexcept {
        if (!list_.empty()) {
            extent& last = list_.back();
            if (e.logical < last.end()) return k::error::io;
            if (joins(last, e)) {
                last.count += e.count;
                blocks_ += e.count;
                return {};
            }
        }
        TRY(list_.append(e));
        blocks_ += e.count;
        return {};
    }
    mapped_run find(k::u64 block) const noexcept {
        const std::size_t i = first_ending_behind(block);
        if (i == list_.size()) return {0, ~k::u64{0} - block, false};
        const extent& e = list_[i];
        if (block < e.logical) return {0, e.logical - block, false};
        return {e.physical + (block - e.logical), e.end() - block, e.unwritten};
    }
    // Has blocks of a hole, or of an unwritten extent that stands there itself, be these. ENOMEM: nothing changed.
    k::status put(const extent& e) noexcept {
        TRY(list_.reserve(list_.size() + 2));
        take_out(e.logical, e.count, [](k::u64, k::u64) {});
        std::size_t i = first_ending_behind(e.logical);
        (void)list_.insert(i, e);
        blocks_ += e.count;
        if (i + 1 < list_.size() && joins(list_[i], list_[i + 1])) {
            list_[i].count += list_[i + 1].count;
            list_.erase(i + 1);
        }
        if (i && joins(list_[i - 1], list_[i])) {
            list_[i - 1].count += list_[i].count;
            list_.erase(i);
        }
        return {};
    }
    // Room for what take_out() may need. ENOMEM.
    k::status make_room() noexcept { return list_.reserve(list_.size() + 2); }
    // Takes blocks out; gone(physical, count) for each piece. After make_room().
    template <class Gone> void take_out(k::u64 first, k::u64 count, Gone gone) noexcept {
        const k::u64 end = count < ~k::u64{0} - first ? first + count : ~k::u64{0};
        for (std::size_t i = first_ending_behind(first); i < list_.size() && list_[i].logical < end;) {
            extent& e = list_[i];
            const k::u64 from = std::max<k::u64>(first, e.logical), to = std::min(end, e.end());
            gone(e.physical + (from - e.logical), to - from);
            blocks_ -= to - from;
            const extent rest{static_cast<k::u32>(to), static_cast<k::u32>(e.end() - to), e.physical + (to - e.logical),
                              e.unwritten};
            e.count = static_cast<k::u32>(from - e.logical);
            const bool has_front = e.count, has_rest = rest.count;
            if (has_front && has_rest)
                (void)list_.insert(i + 1, rest);
            else if (has_rest)
                e = rest;
            if (has_front || has_rest)
                i += has_front && has_rest ? 2 : 1;
            else
                list_.erase(i);
        }
    }
    std::span<const extent> all() const noexcept { return list_.all(); }
    k::u64 blocks() const noexcept { return blocks_; } // all together

  private:
    static bool joins(const extent& a, const extent& b) noexcept {
        return a.end() == b.logical && a.physical + a.count == b.physical && a.unwritten == b.unwritten &&
               a.count + k::u64{b.count} < ~k::u32{0};
    }
    std::size_t first_ending_behind(k::u64 block) const noexcept {
        const auto all = list_.all();
        return static_cast<std::size_t>(
            std::ranges::upper_bound(all, block, {}, [](const extent& e) { return e.end(); }) - all.begin());
    }

    array<extent> list_;
    k::u64 blocks_ = 0;
};

} // namespace ext
