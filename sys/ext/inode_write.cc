// Writing files: their records, their pages, and the blocks that these get.
#include "sys/ext/store.h"

#include "kernel/time/realtime.h"
#include "sys/vfs/vfs.h"

#include <cstring>

namespace ext {

namespace {

constexpr u64 page = arch::page_size;
constexpr u64 pages_a_loan = 1024;
constexpr u64 pages_a_small_loan = 16;
constexpr unsigned attempts = 200; // at pages that somebody fills, a millisecond apart

constexpr std::size_t sum_low_at = offsetof(inode_record, checksum_low);
constexpr std::size_t sum_high_at = offsetof(inode_record, checksum_high);

u32 seconds(u64 ns) {
    return static_cast<u32>(ns / ktime::second);
}
u32 more(u64 ns) {
    return static_cast<u32>(ns % ktime::second) << 2 | (static_cast<u32>((ns / ktime::second) >> 32) & 3);
}
// What is behind 2^31 seconds counts as the next epoch: the low word is signed.
u32 more_signed(u64 ns) {
    const u64 s = ns / ktime::second;
    const u64 epoch = (s + (u64{1} << 31)) >> 32;
    return (more(ns) & ~u32{3}) | (static_cast<u32>(epoch) & 3);
}

} // namespace

// --- Records

attributes inode::recorded() const noexcept {
    return {.mode = record.mode & vfs::permission_bits,
            .uid = record.uid_low | u32{record.uid_high} << 16,
            .gid = record.gid_low | u32{record.gid_high} << 16,
            .links = record.links,
            .size = disk_size(),
            .accessed_ns = accessed_ns(),
            .modified_ns = modified_ns(),
            .changed_ns = changed_ns()};
}

void inode::set_disk_size(u64 bytes) noexcept {
    record.size_low = static_cast<u32>(bytes);
    record.size_high = static_cast<u32>(bytes >> 32);
}

// Of what is known without asking: for who may not sleep.
void inode::note_sectors() noexcept {
    const u64 blocks = map_.blocks() + map_blocks_.size() + (attributes_block() != 0);
    sectors_.store(blocks << (store_->on().block_shift() - 9), std::memory_order_relaxed);
}

// With `attributes`, these become what stands behind the record.
k::status inode::write_record(change& by, const attribute_list* attributes) noexcept {
    volume& on = store_->on();
    const auto [block, bytes] = TRY(on.record_of(number));
    const std::size_t known = std::min<std::size_t>(sizeof(record), old_inode_bytes + record.extra_bytes);
    std::memcpy(bytes.data(), &record, bytes.size() == old_inode_bytes ? old_inode_bytes : known);
    if (attributes) put_attributes(bytes, *attributes);
    if (on.keeps_sums()) {
        const bool has_high = bytes.size() > old_inode_bytes && record.extra_bytes >= 4;
        std::memset(bytes.data() + sum_low_at, 0, 2);
        if (has_high) std::memset(bytes.data() + sum_high_at, 0, 2);
        const u32 sum = on.sum(bytes, checksum_seed());
        record.checksum_low = static_cast<u16>(sum);
        std::memcpy(bytes.data() + sum_low_at, &sum, 2);
        if (has_high) {
            record.checksum_high = static_cast<u16>(sum >> 16);
            const u16 high = record.checksum_high;
            std::memcpy(bytes.data() + sum_high_at, &high, 2);
        }
    }
    by.changed(*block, bytes);
    return {};
}

// As far as a record can say it.
attributes inode::to_be_recorded(const attributes& now) const noexcept {
    attributes wanted = now;
    if (type() != vfs::node_type::regular) wanted.size = disk_size(); // the names' and the text's business
    if (!named || (is_orphan && !record.links)) wanted.links = 0;     // its vnode may not have heard of it yet
    if (!reaches(offsetof(inode_record, accessed_more)))
        for (u64* t : {&wanted.accessed_ns, &wanted.modified_ns, &wanted.changed_ns})
            *t -= *t % ktime::second;
    return wanted;
}

bool inode::is_to_be_stored(const attributes& now) noexcept {
    lwkt::sleep_hold hold(map_lock);
    return !erased && (map_changed_ || record_changed_ || to_be_recorded(now) != recorded());
}

bool inode::has_map() const noexcept {
    return type() == vfs::node_type::regular || type() == vfs::node_type::directory ||
           (type() == vfs::node_type::link && disk_size() >= sizeof(record.map));
}

void inode::record_sectors() noexcept {
    if (!map_loaded_ && has_map()) return; // they have not changed
    const u64 blocks = map_.blocks() + map_blocks_.size() + (attributes_block() != 0);
    const u64 count = record.flags & inode_blocks_huge ? blocks : blocks << (store_->on().block_shift() - 9);
    record.sectors_low = static_cast<u32>(count);
    record.sectors_high = static_cast<u16>(count >> 32);
}

k::status inode::store_record(change& by, const attributes& now) noexcept {
    lwkt::sleep_hold hold(map_lock);
    if (erased) return {};
    TRY(store_map(by));
    const attributes wanted = to_be_recorded(now);
    if (!record_changed_ && wanted == recorded()) return {};
    record.mode = static_cast<u16>((record.mode & 0170000) | wanted.mode);
    record.uid_low = static_cast<u16>(wanted.uid), record.uid_high = static_cast<u16>(wanted.uid >> 16);
    record.gid_low = static_cast<u16>(wanted.gid), record.gid_high = static_cast<u16>(wanted.gid >> 16);
    record.links = static_cast<u16>(std::min<u32>(wanted.links, 65000));
    set_disk_size(wanted.size);
    record.accessed_s = seconds(wanted.accessed_ns);
    record.modified_s = seconds(wanted.modified_ns);
    record.changed_s = seconds(wanted.changed_ns);
    if (reaches(offsetof(inode_record, changed_more))) record.changed_more = more_signed(wanted.changed_ns);
    if (reaches(offsetof(inode_record, modified_more))) record.modified_more = more_signed(wanted.modified_ns);
    if (reaches(offsetof(inode_record, accessed_more))) record.accessed_more = more_signed(wanted.accessed_ns);
    record_sectors();
    const k::status written = write_record(by);
    record_changed_ = !written;
    // It was cut off, and that is on the disk by now.
    if (written && wanted.links && is_orphan) return be_no_orphan(by);
    return written;
}

k::result<inode_ref> inode::make(store& in, change& by, const vfs::node_attributes& a, u32 near,
                                 std::string_view text) noexcept {
    using vfs::node_type;
    volume& on = in.on();
    const bool is_directory = a.type == node_type::directory;
    const u32 number = TRY(by.take_inode(is_directory, near));
    auto* made = mem::make<inode>(in, number);
    if (!made) {
        (void)by.give_inode(number, is_directory);
        return k::error::nomem;
    }
    inode_ref fresh(made);
    inode& it = *fresh;
    lwkt::sleep_hold hold(it.map_lock);
    std::memset(&it.record, 0, sizeof(it.record));
    it.record.mode = static_cast<u16>(static_cast<u32>(a.type) | a.mode);
    it.record.generation = static_cast<u32>(arch::clock::cycles());
    if (on.inode_bytes() > old_inode_bytes)
        it.record.extra_bytes =
            static_cast<u16>(std::min<u32>(on.inode_bytes(), sizeof(inode_record)) - old_inode_bytes);
    const u64 now = vfs::now_ns();
    if (it.reaches(offsetof(inode_record, made_s))) it.record.made_s = seconds(now);
    if (it.reaches(offsetof(inode_record, made_more))) it.record.made_more = more_signed(now);
    const bool has_map = a.type == node_type::regular || is_directory || text.size() >= sizeof(it.record.map);
    if (on.makes_extents() && has_map) {
        it.record.flags = inode_has_extents;
        it.map_changed_ = true; // an empty tree has a root, too
    }
    it.map_loaded_ = has_map;
    it.record_changed_ = true;
    it.named = false;
    k::status done;
    if (a.type == node_type::link) {
        it.set_disk_size(text.size());
        if (!has_map) {
            std::memcpy(reinterpret_cast<std::byte*>(&it.record) + offsetof(inode_record, map), text.data(),
                        text.size());
        } else {
            done = it.fill_holes(by, 0, 1, false);
            if (done) done = it.put_text(by, text);
        }
    } else if (a.type == node_type::character || a.type == node_type::block) {
        const u32 major = static_cast<u32>(a.device >> 8 & 0xfff);
        const u32 minor = static_cast<u32>((a.device & 0xff) | (a.device >> 12 & 0xfff00));
        if (major < 256 && minor < 256)
            it.record.map[0] = major << 8 | minor;
        else
            it.record.map[1] = (minor & 0xff) | major << 8 | (minor & ~u32{0xff}) << 12;
    }
    // What is behind the record is no attribute of another file's.
    if (done) {
        auto place = on.record_of(number);
        done = place ? k::status() : place.error();
        if (place) {
            std::memset(place->bytes.data(), 0, place->bytes.size());
            by.changed(*place->block, place->bytes);
        }
    }
    if (done) return fresh;
    (void)it.take_out(by, 0, ~u64{0});
    (void)by.give_inode(number, is_directory);
    it.erased = true;
    return done.error();
}

// A link's, in its first block.
k::status inode::put_text(change& by, std::string_view text) noexcept {
    const metadata_ref block = TRY(by.fresh(map_.find(0).physical, {block_kind::link, number}));
    std::memset(block->bytes().data(), 0, block->bytes().size());
    std::memcpy(block->bytes().data(), text.data(), text.size());
    return {};
}

k::status inode::erase() noexcept {
    lwkt::sleep_hold hold_writing(writing);
    change by = TRY(change::begin(store_->on()));
    lwkt::sleep_hold hold(map_lock);
    if (erased) return {};
    if (has_map()) {
        TRY(load_map());
        TRY(take_out(by, 0, ~u64{0}));
        TRY(drop_map_blocks(by, 0));
    }
    if (const u64 block = attributes_block(); store_->on().is_block(block)) {
        TRY(drop_attributes_block(by, block));
        set_attributes_block(0); // should the rest fail, it is not dropped twice
    }
    const bool is_directory = type() == vfs::node_type::directory;
    TRY(be_no_orphan(by));
    record.links = 0;
    record.deleted_s = seconds(vfs::now_ns());
    set_disk_size(0);
    record.sectors_low = 0, record.sectors_high = 0;
    set_attributes_block(0);
    std::memset(reinterpret_cast<std::byte*>(&record) + offsetof(inode_record, map), 0, sizeof(record.map));
    if (record.flags & inode_has_extents) {
        const extent_header none{extent_magic, 0, 4, 0, 0};
        std::memcpy(reinterpret_cast<std::byte*>(&record) + offsetof(inode_record, map), &none, sizeof(none));
    }
    TRY(write_record(by));
    erased = true;
    return by.give_inode(number, is_directory);
}

// --- Blocks

u64 inode::goal() const noexcept {
    return store_->on().home_of(number);
}

k::status inode::take_out(change& by, u64 first, u64 count) noexcept {
    TRY(map_.make_room());
    k::status done;
    const bool metadata = type() != vfs::node_type::regular;
    map_.take_out(first, count, [&](u64 physical, u64 blocks) {
        const k::status given = by.give_blocks(physical, blocks, metadata);
        if (done) done = given;
    });
    map_changed_ = true;
    note_sectors();
    return done;
}

// Gives blocks to what has none in [first, end), and makes what is there without having been written count as written.
k::status inode::fill_holes(change& by, u64 first, u64 end, bool unwritten) noexcept {
    for (u64 at = first; at < end;) {
        const mapped_run run = map_.find(at);
        const u64 count = std::min(run.count, end - at);
        if (run.physical && (unwritten || !run.unwritten)) {
            at += count;
            continue;
        }
        extent e{static_cast<u32>(at), static_cast<u32>(std::min<u64>(count, longest_extent / 2)), run.physical,
                 unwritten};
        if (end > ~u32{0}) return k::error::fbig;
        if (!run.physical) {
            const mapped_run before = at ? map_.find(at - 1) : mapped_run{};
            TRY(map_.make_room());
            const block_run got = TRY(by.take_blocks(before.physical ? before.physical + 1 : goal(), e.count));
            e.physical = got.first;
            e.count = static_cast<u32>(got.count);
            if (!(record.flags & inode_has_extents) && got.first + got.count > u64{1} << 32) {
                (void)by.give_blocks(got.first, got.count, false);
                return k::error::nospc;
            }
        }
        TRY(map_.put(e));
        map_changed_ = true;
        note_sectors();
        at += e.count;
    }
    return {};
}

k::result<metadata_ref> inode::add_block(change& by) noexcept {
    volume& on = store_->on();
    const u64 logical = disk_size() >> on.block_shift();
    lwkt::sleep_hold hold(map_lock);
    TRY(load_map());
    TRY(fill_holes(by, logical, logical + 1, false));
    const u64 physical = map_.find(logical).physical;
    if (on.blocks_in_memory().is_in_memory(physical)) return on.damaged("a block is used that was free", physical);
    metadata_ref block = TRY(by.fresh(physical, {block_kind::directory, number}));
    set_disk_size((logical + 1) << on.block_shift());
    record_changed_ = true;
    return block;
}

k::status inode::resized(u64 bytes) noexcept {
    lwkt::sleep_hold hold_writing(writing);
    if (bytes < stored_size_.load(std::memory_order_relaxed)) stored_size_.store(bytes, std::memory_order_release);
    volume& on = store_->on();
    const u64 end = (bytes + on.block_bytes() - 1) >> on.block_shift();
    {
        lwkt::sleep_hold hold(map_lock);
        TRY(load_map());
        if (map_.all().empty() || map_.all().back().end() <= end) return {};
    }
    change by = TRY(change::begin(on));
    lwkt::sleep_hold hold(map_lock);
    // Until the shorter map is on the disk it is said there that the rest has to go.
    if (named) {
        set_disk_size(bytes);
        (void)become_orphan(by, false); // who cannot note it misses that after a crash only
    }
    return take_out(by, end, ~u64{0});
}

k::status inode::punched(u64 first_page, u64 pages) noexcept {
    const unsigned shift = arch::page_shift - store_->on().block_shift();
    lwkt::sleep_hold hold_writing(writing);
    change by = TRY(change::begin(store_->on()));
    lwkt::sleep_hold hold(map_lock);
    TRY(load_map());
    return take_out(by, first_page << shift, pages << shift);
}

k::status inode::reserve_range(u64 first_page, u64 pages) noexcept {
    if (!(record.flags & inode_has_extents)) return k::error::opnotsupp;
    const unsigned shift = arch::page_shift - store_->on().block_shift();
    lwkt::sleep_hold hold_writing(writing);
    change by = TRY(change::begin(store_->on()));
    lwkt::sleep_hold hold(map_lock);
    TRY(load_map());
    return fill_holes(by, first_page << shift, (first_page + pages) << shift, true);
}

// --- Pages

// Near the end of the disk it counts whether a page has its blocks already.
k::status inode::reserve(u64 first, u64 count) noexcept {
    volume& on = store_->on();
    if (on.read_only()) return k::error::rofs;
    store_->keep_within_limits();
    if (on.promise_pages(count)) {
        dirty_.fetch_add(static_cast<k::i64>(count), std::memory_order_relaxed);
        return {};
    }
    store_->erase_gone();
    const unsigned shift = arch::page_shift - on.block_shift();
    for (unsigned round = 0; round < 2; round++) {
        if (on.promise_pages(count)) {
            dirty_.fetch_add(static_cast<k::i64>(count), std::memory_order_relaxed);
            return {};
        }
        u64 missing = 0;
        for (u64 at = first << shift; at < (first + count) << shift;) {
            const mapped_run run = TRY(find(at));
            const u64 part = std::min(run.count, ((first + count) << shift) - at);
            if (!run.physical) missing += part;
            at += part;
        }
        if (!missing) {
            charge(static_cast<k::i64>(count));
            return {};
        }
        if (!round) (void)store_->write_pages(false); // promises that were not needed come back
    }
    return k::error::nospc;
}

void inode::charge(k::i64 pages) noexcept {
    dirty_.fetch_add(pages, std::memory_order_relaxed);
    store_->on().change_promised(pages);
}

// EAGAIN: somebody is filling some of them.
k::status inode::write_run(vm::object& all, u64 first, u64 count, u64 size, bool patient) noexcept {
    volume& on = store_->on();
    const unsigned shift = on.block_shift();
    const u64 from = first << arch::page_shift;
    u64 bytes = std::min(count << arch::page_shift, k::align_up(size, u64{on.block_bytes()}) - from);
    {
        change by = TRY(change::begin(on));
        lwkt::sleep_hold hold(map_lock);
        TRY(load_map());
        TRY(fill_holes(by, from >> shift, (from + bytes) >> shift, false));
    }
    k::result<xio::source> lent = k::error::again;
    for (unsigned vain = 0;; vain++) {
        // What was cut off meanwhile need not be written; the rest must be, as it counts as clean by now.
        const u64 there = all.pages();
        if (there <= first) return {};
        bytes = std::min(bytes, (there - first) << arch::page_shift);
        lent = all.lend(from, bytes);
        if (lent || lent.error() != k::error::again) break;
        if (all.pages() < there) continue;
        if (!patient || vain >= attempts) break;
        lwkt::sleep_for(ktime::millisecond);
    }
    if (!lent) return lent.error();
    for (u64 done = 0; done < bytes;) {
        const mapped_run run = TRY(find((from + done) >> shift));
        const u64 part = run.count < (bytes - done) >> shift ? run.count << shift : bytes - done;
        if (run.is_readable()) {
            const xio::source piece = TRY(lent->slice(done, part));
            const u64 to = run.physical << shift;
            // Blocks that are not whole pages share theirs in the device's cache with others.
            TRY((on.block_bytes() == page ? block::write(on.device(), to, piece) : on.device().cache().write(to, piece))
                    .status);
        }
        done += part;
    }
    return {};
}

// Pages are clean before they are lent: who writes to one from then on makes it dirty again. The room that they were
// promised is theirs until they have it.
k::status inode::write_clean(vm::object& all, u64 first, u64 count, u64 size, bool patient) noexcept {
    volume& on = store_->on();
    on.change_promised(static_cast<k::i64>(count));
    all.clean(first, count);
    const k::status done = write_run(all, first, count, size, patient);
    if (!done) all.soil(first, count);
    on.change_promised(-static_cast<k::i64>(count));
    return done;
}

k::status inode::write_back(u64 size, bool patient) noexcept {
    k::ref<vm::object> all;
    {
        lwkt::sleep_hold hold(pages_lock_);
        if (!pages_) return {};
        all = pages_.share();
    }
    if (!all->dirty_count()) return {};
    lwkt::sleep_hold hold(writing);
    if (erased) return {};
    const u64 end = (size + page - 1) >> arch::page_shift;
    if (size > stored_size_.load(std::memory_order_relaxed)) stored_size_.store(size, std::memory_order_release);
    k::status outcome;
    for (u64 at = 0; (at = all->next_dirty(at, end, true)) < end;) {
        const u64 until = std::min(all->next_dirty(at, end, false), at + pages_a_loan);
        k::status done = write_clean(*all, at, until - at, size, false);
        if (!done && done.error() == k::error::again) {
            // Those that are being filled are few.
            done = {};
            for (u64 some = at; some < until; some += pages_a_small_loan) {
                const k::status part =
                    write_clean(*all, some, std::min(pages_a_small_loan, until - some), size, patient);
                if (!part && (patient || part.error() != k::error::again)) done = part;
            }
        }
        if (!done && outcome) outcome = done.error() == k::error::again ? k::error::io : done.error();
        at = until;
    }
    return outcome;
}

k::status inode::put_out(u64 size, u64 first, u64 count) noexcept {
    TRY(write_back(size, true));
    block::device& device = store_->on().device();
    if (store_->on().block_bytes() != page) TRY(device.cache().write_back());
    lwkt::sleep_hold hold_writing(writing); // what is on its way is not on the disk yet
    lwkt::sleep_hold hold(pages_lock_);
    if (pages_) pages_->forget(first, count);
    return {};
}

void inode::forget_clean_pages() noexcept {
    lwkt::sleep_hold hold_writing(writing); // what is on its way is not on the disk yet
    lwkt::sleep_hold hold(pages_lock_);
    if (pages_) pages_->forget(0, pages_->pages());
}

} // namespace ext
