// ext::metadata: the blocks of a volume's metadata that are in memory.
//
// They are changed where they lie, any number of times, and go to the device's cache together (write_changed()); until
// then the disk has none of it, and readers of the device do not see it. Checksums of what changes often are made only
// then. A journal would write what goes together.
//
// A block is of one kind and has one owner for as long as it is in memory: who asks for it as something else has been
// led there by damage, and gets EIO. So what was found to be right of a block stays so: nobody changes it who thinks
// that it is something else.
//
// Who changes a block has the volume's turn (change.h), and what keeps its readers away: vfs::file_system::changing
// for directories, inode::map_lock for maps and attributes. Blocks of inodes are read by whose record it is.
// Thread context, may sleep, unless it says otherwise.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lwkt/sleep_lock.h"
#include "sys/ext/buffer.h"
#include "sys/ext/format.h"

#include <boost/intrusive/list.hpp>

namespace ext {

class volume;
class metadata;

// The first three are the groups' own.
enum class block_kind : u8 { block_bitmap, inode_bitmap, inodes, directory, map, link, attributes };
struct block_use {
    block_kind kind;
    u32 owner; // a group, or an inode; 0: several
    bool operator==(const block_use&) const = default;
};

class metadata_block final : public k::counted<metadata_block> {
  public:
    metadata_block(u64 n, block_use u, buffer&& room) noexcept : number(n), use(u), room_(std::move(room)) {}
    void last_holder_left() noexcept { mem::destroy(this); }

    const u64 number;
    const block_use use;
    std::span<std::byte> bytes() noexcept { return room_.bytes(); }
    template <class T> T& as(std::size_t offset = 0) noexcept { return room_.as<T>(offset); }

    // What was found to be right of it, and has not been changed since; of who may read it.
    enum fact : u8 { sum_is_right = 1, entries_are_right = 2, node_is_right = 4 };
    bool is_known(fact what) const noexcept { return known_ & what; }
    void note(fact what) noexcept { known_ |= what; }
    void unlearn() noexcept { known_ = 0; }

    // The sum of a directory's entries, with that seed, is made when it is written; of who has the turn.
    void sum_later(u32 seed) noexcept {
        needs_sum_ = true;
        seed_ = seed;
    }
    // It holds no entries any more.
    void forget_sum() noexcept { needs_sum_ = false; }

  private:
    friend class metadata;
    using link_mode = boost::intrusive::link_mode<boost::intrusive::normal_link>;

    buffer room_;
    u8 known_ = 0;
    bool needs_sum_ = false;
    u32 seed_ = 0;
    // Under the lock of the metadata.
    metadata_block* next_ = nullptr;
    bool is_kept_ = false; // in its table
    bool was_used_ = true; // since somebody last looked for what can go
    std::atomic<bool> is_changed_ = false;
    u32 changed_from_ = 0, changed_to_ = 0; // these bytes; of who has the turn
    boost::intrusive::list_member_hook<link_mode> changed_link_;
};

using metadata_ref = k::ref<metadata_block>;

class metadata {
  public:
    explicit metadata(volume& on) noexcept : on_(on) {}
    ~metadata();

    // A block. EIO: also what is in use as something else; ENOMEM.
    k::result<metadata_ref> get(u64 number, block_use use) noexcept { return get(number, use, true); }
    bool is_in_memory(u64 number) noexcept { return bool(find(number)); }

    // --- Of who has the turn.
    // One that need not be read: of zeroes, or what is in memory of it. It counts as changed. The same errors.
    k::result<metadata_ref> fresh(u64 number, block_use use) noexcept;
    // It has been changed, or will be at once / these bytes of it have.
    void changed(metadata_block& block) noexcept { changed(block, block.bytes()); }
    void changed(metadata_block& block, std::span<const std::byte> bytes) noexcept;
    // What was in these blocks need not reach the disk: they are nobody's any more. False: some are bitmaps or hold
    // inodes, and stay.
    bool drop(u64 first, u64 count) noexcept;
    // All that was changed goes to the device's cache. EIO, ENOMEM: some of it has not, and is tried again next time.
    k::status write_changed() noexcept;

    // --- Of anybody.
    bool has_changes() const noexcept { return changed_count_.load(std::memory_order_relaxed) != 0; }
    // Before more is changed, some has to be written.
    bool has_too_many_changes() const noexcept { return changed_count_.load(std::memory_order_relaxed) > most() / 2; }
    // Lets go of blocks that nobody uses and the device's cache has as well: of `count` at least, if it has as many.
    void forget(u64 count = ~u64{0}) noexcept;

  private:
    static constexpr unsigned buckets = 1024;
    using changed_hook =
        boost::intrusive::member_hook<metadata_block, boost::intrusive::list_member_hook<metadata_block::link_mode>,
                                      &metadata_block::changed_link_>;

    static u64 most() noexcept;
    metadata_block*& bucket_of(u64 number) noexcept REQUIRES(lock_) { return table_[number % buckets]; }
    metadata_ref find(u64 number) noexcept;
    k::result<metadata_ref> get(u64 number, block_use use, bool read) noexcept;
    k::result<metadata_ref> load(u64 number, block_use use, bool read) noexcept;
    void seal(metadata_block& block) noexcept;
    k::status write(metadata_block& block) noexcept;

    volume& on_;
    lwkt::sleep_lock loading_;
    lwkt::spinlock lock_;
    metadata_block* table_[buckets] GUARDED_BY(lock_) = {}; // each held
    boost::intrusive::list<metadata_block, changed_hook, boost::intrusive::constant_time_size<false>>
        changed_ GUARDED_BY(lock_);
    std::atomic<u64> count_ = 0, changed_count_ = 0;
    unsigned hand_ GUARDED_BY(lock_) = 0; // the bucket in which forget() goes on
};

} // namespace ext
