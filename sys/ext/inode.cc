#include "sys/ext/store.h"

#include "kernel/time/realtime.h"

#include <cstring>

namespace ext {

namespace {

constexpr u64 page = arch::page_size;
constexpr unsigned most_ahead = 64; // pages read at once

constexpr u64 page_of(u64 offset) {
    return offset >> arch::page_shift;
}
constexpr u64 pages_for(u64 bytes) {
    return page_of(k::align_up(bytes, page));
}

constexpr std::size_t record_sum_low = offsetof(inode_record, checksum_low);
constexpr std::size_t record_sum_high = offsetof(inode_record, checksum_high);

} // namespace

inode::inode(store& in, u32 n) noexcept : number(n), store_(store_ref::to(in)) {}
inode::~inode() = default;

void inode::last_holder_left() noexcept {
    mem::destroy(this);
}

bool inode::is_unused() const noexcept {
    const vm::object* const kept = pages_seen_.load(std::memory_order_relaxed);
    return holders() == (kept ? 2 : 1) && (!kept || kept->holders() == 1);
}

void inode::let_go_of_pages() noexcept {
    k::ref<vm::object> kept;
    lwkt::sleep_hold hold(pages_lock_);
    pages_seen_.store(nullptr, std::memory_order_relaxed);
    std::swap(kept, pages_);
}

// Seconds are signed; the lowest two bits of `more` count the epochs, the others nanoseconds.
u64 inode::time(u32 seconds, u32 more) noexcept {
    const k::i64 whole = static_cast<k::i32>(seconds) + (k::i64{more & 3} << 32);
    const u64 ns = std::min<u64>(more >> 2, ktime::second - 1);
    return whole < 0 ? 0 : static_cast<u64>(whole) * ktime::second + ns;
}

u32 inode::checksum_seed() const noexcept {
    const u32 seed = store_->on().sum_of(number, store_->on().seed());
    const u32 generation = record.generation;
    return store_->on().sum_of(generation, seed);
}

// Zeroes the sum in the raw bytes.
k::status inode::check_sum(std::span<std::byte> raw) noexcept {
    volume& on = store_->on();
    if (!on.keeps_sums()) return {};
    const bool has_high = raw.size() > old_inode_bytes && record.extra_bytes >= 4;
    const u32 expected = record.checksum_low | (has_high ? u32{record.checksum_high} << 16 : 0);
    std::memset(raw.data() + record_sum_low, 0, 2);
    if (has_high) std::memset(raw.data() + record_sum_high, 0, 2);
    const u32 found = on.sum(raw, checksum_seed());
    if ((has_high ? found : found & 0xffff) != expected) return on.damaged("the checksum is wrong of inode", number);
    return {};
}

k::status inode::read_record() noexcept {
    volume& on = store_->on();
    buffer raw = TRY(buffer::create(on.inode_bytes()));
    const volume::record_place place = TRY(on.record_of(number));
    std::ranges::copy(place.bytes, raw.bytes().begin());
    std::memset(&record, 0, sizeof(record));
    std::memcpy(&record, raw.bytes().data(), std::min(raw.bytes().size(), sizeof(record)));
    if (on.inode_bytes() == old_inode_bytes) record.extra_bytes = 0;
    if (record.extra_bytes > on.inode_bytes() - old_inode_bytes || record.extra_bytes % 4)
        return on.damaged("impossible length of inode", number);
    return check_sum(raw.bytes());
}

k::result<inode_ref> inode::load(store& in, u32 number, bool is_orphan) noexcept {
    auto* made = mem::make<inode>(in, number);
    if (!made) return k::error::nomem;
    inode_ref loaded(made);
    volume& on = in.on();
    TRY(loaded->read_record());
    inode& it = *loaded;
    if ((!it.record.links && !is_orphan) || !it.record.mode)
        return on.damaged("a name leads to an inode that is free", number);
    switch (it.type()) {
    case vfs::node_type::regular:
    case vfs::node_type::directory:
    case vfs::node_type::link:
        if (it.disk_size() > u64{~u32{0}} << on.block_shift() || it.disk_size() > u64{1} << 46)
            return on.damaged("impossible size of inode", number);
        break;
    case vfs::node_type::fifo:
    case vfs::node_type::character:
    case vfs::node_type::block:
    case vfs::node_type::socket: break;
    default: return on.damaged("unknown type of inode", number);
    }
    if (it.record.flags & inode_is_inline) return k::error::opnotsupp;
    it.stored_size_.store(it.disk_size(), std::memory_order_relaxed);
    const u64 count = u64{it.record.sectors_high} << 32 | it.record.sectors_low;
    it.sectors_.store(it.record.flags & inode_blocks_huge ? count << (on.block_shift() - 9) : count,
                      std::memory_order_relaxed);
    return loaded;
}

// Old numbers fit into 16 bits and stand in the first word; new ones are as Linux's MKDEV has them.
u64 inode::device_number() const noexcept {
    if (type() != vfs::node_type::character && type() != vfs::node_type::block) return 0;
    const u32 old = record.map[0], fresh = record.map[1];
    const u64 major = old ? old >> 8 & 0xff : fresh >> 8 & 0xfff;
    const u64 minor = old ? old & 0xff : (fresh & 0xff) | (fresh >> 12 & 0xfff00);
    return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~u64{0xff}) << 12 | (major & ~u64{0xfff}) << 32;
}

// --- Bytes

k::result<mapped_run> inode::find(u64 logical) noexcept {
    lwkt::sleep_hold hold(map_lock);
    TRY(load_map());
    return map_.find(logical);
}

k::result<k::ref<vm::object>> inode::pages() noexcept {
    lwkt::sleep_hold hold(pages_lock_);
    if (!pages_) {
        pages_ = TRY(vm::object::of_file(*this, pages_for(stored_size_.load(std::memory_order_relaxed))));
        (void)inode_ref::to(*this).release(); // object_gone()
        pages_seen_.store(pages_.get(), std::memory_order_relaxed);
    }
    return pages_.share();
}

// Fills pages that lie one behind the other in the file. What the file has no blocks for is zeroes, and so is what is
// behind its end.
k::status inode::read_pages(u64 index, std::span<vm::page* const> to) noexcept {
    volume& on = store_->on();
    const u64 offset = index << arch::page_shift, bytes = u64{to.size()} << arch::page_shift;
    const u64 size = stored_size_.load(std::memory_order_acquire);
    const u64 wanted = offset < size ? std::min(bytes, size - offset) : 0;
    xio::sink all = TRY(xio::sink::over_pages(to, 0, bytes));
    for (u64 done = 0; done < bytes;) {
        if (done >= wanted) {
            TRY(all.zero(done, bytes - done));
            break;
        }
        const mapped_run run = TRY(find((offset + done) >> on.block_shift()));
        const u64 left = k::align_up(wanted, u64{on.block_bytes()}) - done;
        const u64 part = run.count < left >> on.block_shift() ? run.count << on.block_shift() : left;
        if (!run.is_readable()) {
            TRY(all.zero(done, part));
        } else {
            xio::sink piece = TRY(all.slice(done, part));
            // Blocks that are not whole pages share theirs in the device's cache with others.
            const xio::moved m = on.block_bytes() == page
                                     ? block::read(on.device(), run.physical << on.block_shift(), piece)
                                     : on.device().cache().read(run.physical << on.block_shift(), piece);
            TRY(m.status);
            if (m.bytes != part) return k::error::io;
        }
        done += part;
    }
    if (wanted < bytes && wanted % on.block_bytes()) TRY(all.zero(wanted, std::min(bytes - wanted, page)));
    return {};
}

k::result<vm::page_ref> inode::page_in(u64 index) noexcept {
    vm::page_ref fresh = vm::user_page(vm::fill::any);
    if (!fresh) return k::error::nomem;
    vm::page* const p = fresh.get();
    TRY(read_pages(index, {&p, 1}));
    return fresh;
}

// What goes wrong is met again, and told, by who reads.
void inode::fill(u64 index, unsigned count) noexcept {
    lwkt::sleep_hold hold(pages_lock_);
    if (!pages_) return;
    vm::page_ref fresh[most_ahead];
    vm::page* at[most_ahead];
    const u64 times = pages_->times_forgotten();
    for (unsigned i = 0; i < count; i++) {
        fresh[i] = vm::user_page(vm::fill::any);
        if (!fresh[i]) return;
        at[i] = fresh[i].get();
    }
    if (read_pages(index, {at, count})) pages_->supply(index, {fresh, count}, times);
}

void inode::read_ahead(u64 offset, u64 bytes) noexcept {
    const bool goes_on = next_read_.exchange(offset + bytes, std::memory_order_relaxed) == offset;
    const k::ref<vm::object> all = pages() ? *pages() : k::ref<vm::object>();
    if (!all || !bytes) return;
    store_->keep_within_limits();
    const u64 needed = page_of(offset + bytes - 1) + 1;
    const u64 end = std::min(needed + (goes_on || bytes > page ? most_ahead / 2 : 0), all->pages());
    for (u64 at = page_of(offset); at < end;) {
        at = all->next_in_memory(at, end, false);
        const u64 until = std::min(all->next_in_memory(at, end, true), at + most_ahead);
        if (at >= needed && until - at < most_ahead / 4) return; // not worth it yet
        if (at < until) fill(at, static_cast<unsigned>(until - at));
        at = until;
    }
}

// Dirty pages, and those with blocks; that is one answer only while none is on its way from the one to the other.
k::result<u64> inode::next_kept(u64 index, bool wanted) noexcept {
    const k::ref<vm::object> all = TRY(pages());
    const u64 end = all->pages();
    const unsigned shift = arch::page_shift - store_->on().block_shift();
    lwkt::sleep_hold hold_writing(writing);
    lwkt::sleep_hold hold(map_lock);
    TRY(load_map());
    for (u64 at = index; at < end;) {
        u64 block = at << shift;
        mapped_run run = map_.find(block);
        while (!run.is_readable() && run.count < (end << shift) - block) {
            block += run.count;
            run = map_.find(block);
        }
        const u64 mapped = run.is_readable() ? block >> shift : end, dirty = all->next_dirty(at, end, true);
        const u64 kept = std::min(mapped, dirty);
        if (wanted || kept > at) return wanted ? kept : at;
        at = mapped > at ? at + 1 : std::max(at + 1, (block + run.count) >> shift);
    }
    return std::max(index, end);
}

k::result<metadata_ref> inode::block(u64 logical) noexcept {
    const mapped_run run = TRY(find(logical));
    if (!run.is_readable()) return store_->on().damaged("a directory has a hole, inode", number);
    return store_->on().blocks_in_memory().get(run.physical, {block_kind::directory, number});
}

k::result<u64> inode::read_link(std::span<std::byte> to) noexcept {
    volume& on = store_->on();
    const u64 bytes = disk_size();
    if (!bytes || bytes >= on.block_bytes() + 0ull) return on.damaged("impossible length of the link, inode", number);
    if (bytes < sizeof(record.map)) {
        std::memcpy(to.data(), reinterpret_cast<const std::byte*>(&record) + offsetof(inode_record, map), bytes);
    } else {
        const mapped_run run = TRY(find(0));
        if (!run.is_readable()) return on.damaged("a link without text, inode", number);
        const metadata_ref text = TRY(on.blocks_in_memory().get(run.physical, {block_kind::link, number}));
        std::memcpy(to.data(), text->bytes().data(), bytes);
    }
    if (std::memchr(to.data(), 0, bytes)) return on.damaged("a link's text ends early, inode", number);
    return bytes;
}

} // namespace ext
