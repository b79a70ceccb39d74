#include "sys/ext/metadata.h"

#include "sys/ext/entries.h"
#include "sys/ext/volume.h"

namespace ext {

// Beside a hundredth of memory there is always room for what one change needs.
u64 metadata::most() noexcept {
    return 256 + vm::promise_limit() / 128;
}

metadata::~metadata() {
    lwkt::spin_guard guard(lock_);
    changed_.clear(); // could not be written, or was not to be
    for (metadata_block* first : table_)
        while (first)
            (void)metadata_ref(std::exchange(first, first->next_));
}

// --- Looking up

metadata_ref metadata::find(u64 number) noexcept {
    lwkt::spin_guard guard(lock_);
    for (metadata_block* b = bucket_of(number); b; b = b->next_) {
        if (b->number != number) continue;
        b->was_used_ = true;
        return metadata_ref::to(*b);
    }
    return {};
}

k::result<metadata_ref> metadata::get(u64 number, block_use use, bool read) noexcept {
    metadata_ref there = find(number);
    if (!there) there = TRY(load(number, use, read));
    if (there->use != use) return on_.damaged("a block is used twice", number);
    return there;
}

k::result<metadata_ref> metadata::fresh(u64 number, block_use use) noexcept {
    metadata_ref block = TRY(get(number, use, false));
    block->unlearn();
    changed(*block);
    return block;
}

k::result<metadata_ref> metadata::load(u64 number, block_use use, bool read) noexcept {
    kassert(on_.is_block(number));
    if (count_.load(std::memory_order_relaxed) >= most()) forget(most() / 8);
    lwkt::sleep_hold hold(loading_);
    if (metadata_ref there = find(number)) return there;
    buffer room = TRY(buffer::create(on_.block_bytes()));
    if (read)
        TRY(on_.read_bytes(number << on_.block_shift(), room.bytes()));
    else
        room.zero();
    auto* const made = mem::make<metadata_block>(number, use, std::move(room));
    if (!made) return k::error::nomem;
    metadata_ref loaded(made);
    lwkt::spin_guard guard(lock_);
    metadata_block*& first = bucket_of(number);
    made->next_ = first;
    made->is_kept_ = true;
    first = loaded.share().release();
    count_.fetch_add(1, std::memory_order_relaxed);
    return loaded;
}

// Those that were not used since it came by the last time, bucket after bucket.
void metadata::forget(u64 count) noexcept {
    for (unsigned round = 0; count && round < 2 * buckets; round++) {
        metadata_block* gone = nullptr;
        {
            lwkt::spin_guard guard(lock_);
            for (metadata_block** at = &table_[hand_++ % buckets]; *at;) {
                metadata_block* const b = *at;
                if (b->holders() > 1 || b->is_changed_.load(std::memory_order_acquire) ||
                    (round < buckets && std::exchange(b->was_used_, false))) {
                    at = &b->next_;
                    continue;
                }
                *at = b->next_;
                b->next_ = std::exchange(gone, b);
            }
        }
        while (gone) {
            (void)metadata_ref(std::exchange(gone, gone->next_));
            count_.fetch_sub(1, std::memory_order_relaxed);
            if (count) count--;
        }
    }
}

// --- Changing

void metadata::changed(metadata_block& block, std::span<const std::byte> bytes) noexcept {
    const u32 from = static_cast<u32>(bytes.data() - block.bytes().data()), to = from + static_cast<u32>(bytes.size());
    if (block.is_changed_.load(std::memory_order_relaxed)) {
        block.changed_from_ = std::min(block.changed_from_, from);
        block.changed_to_ = std::max(block.changed_to_, to);
        return;
    }
    block.changed_from_ = from;
    block.changed_to_ = to;
    lwkt::spin_guard guard(lock_);
    if (!block.is_kept_) return; // it was dropped
    block.is_changed_.store(true, std::memory_order_release);
    changed_.push_back(block);
    changed_count_.fetch_add(1, std::memory_order_relaxed);
}

bool metadata::drop(u64 first, u64 count) noexcept {
    bool all_dropped = true;
    const auto drop_of = [&](u64 bucket) NO_THREAD_SAFETY_ANALYSIS {
        metadata_block* gone = nullptr;
        {
            lwkt::spin_guard guard(lock_);
            for (metadata_block** at = &bucket_of(bucket); *at;) {
                metadata_block* const b = *at;
                const bool is_one = b->number >= first && b->number - first < count;
                if (!is_one || b->use.kind <= block_kind::inodes) {
                    all_dropped = all_dropped && !is_one;
                    at = &b->next_;
                    continue;
                }
                if (b->is_changed_.exchange(false, std::memory_order_relaxed)) {
                    changed_.erase(changed_.iterator_to(*b));
                    changed_count_.fetch_sub(1, std::memory_order_relaxed);
                }
                *at = b->next_;
                b->next_ = std::exchange(gone, b);
                b->is_kept_ = false;
                count_.fetch_sub(1, std::memory_order_relaxed);
            }
        }
        while (gone)
            (void)metadata_ref(std::exchange(gone, gone->next_));
    };
    for (u64 n = 0; n < std::min<u64>(count, buckets); n++)
        drop_of(first + n);
    return all_dropped;
}

// The sums that changes did not make.
void metadata::seal(metadata_block& block) noexcept {
    if (block.use.kind == block_kind::block_bitmap || block.use.kind == block_kind::inode_bitmap)
        on_.note_bitmap(block);
    if (!std::exchange(block.needs_sum_, false)) return;
    const std::size_t at = entries_end(on_);
    block.as<entry_tail>(at).checksum = on_.sum(block.bytes().first(at), block.seed_);
}

// Some bytes of a page that is not cached need the others to be read; where that fails, all of the block may do.
k::status metadata::write(metadata_block& block) noexcept {
    const u64 at = block.number << on_.block_shift();
    const u32 from = block.changed_from_, bytes = block.changed_to_ - from;
    const k::status written = on_.write_bytes(at + from, block.bytes().subspan(from, bytes));
    return written || bytes == block.bytes().size() ? written : on_.write_bytes(at, block.bytes());
}

// What could not be written is put behind the others.
k::status metadata::write_changed() noexcept {
    k::status outcome;
    for (u64 left = changed_count_.load(std::memory_order_relaxed); left; left--) {
        metadata_ref block;
        {
            lwkt::spin_guard guard(lock_);
            block = metadata_ref::to(changed_.front());
        }
        seal(*block);
        const k::status written = write(*block);
        if (!written && outcome) outcome = written;
        lwkt::spin_guard guard(lock_);
        changed_.erase(changed_.iterator_to(*block));
        if (!written) {
            changed_.push_back(*block);
            continue;
        }
        block->is_changed_.store(false, std::memory_order_release);
        changed_count_.fetch_sub(1, std::memory_order_relaxed);
    }
    return outcome;
}

} // namespace ext
