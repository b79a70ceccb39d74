#include "drivers/busdma/busdma.h"

#include "kernel/lwkt/trace.h"
#include "sys/xio/walk.h"

#include <cstring>

namespace busdma {

namespace {

std::atomic<k::u64> quarantined_pages;

k::u64 pages_touched(const xio::slice_base& what) {
    k::u64 pages = 0;
    for (xio::walker w(what); w.left(); w.advance(w.run()))
        pages += (w.physical() % arch::page_size + w.run() + arch::page_size - 1) >> arch::page_shift;
    return pages;
}

// A stretch of bytes that goes as a whole: as it lies, or by way of one bounce page.
struct piece {
    k::u64 at; // in the xio
    k::u64 bytes;
    arch::paddr address; // of a bounced one: its place in the page
    bool bounced;
};

// Cuts an xio into pieces.
class piece_walker {
  public:
    piece_walker(const tag& t, const xio::slice_base& what) noexcept
        : tag_(t), walk_(what), size_(what.size()), highest_(t.highest()), skew_(std::max(t.alignment, t.joint) - 1) {}
    bool done() const noexcept { return walk_.left() == 0; }

    [[gnu::always_inline]] piece next() noexcept {
        const k::u64 at = size_ - walk_.left(), run = walk_.run();
        const arch::paddr here = walk_.physical();
        // Nearly all of memory lies well for nearly all devices.
        if (!(here & skew_) && here <= highest_ && run - 1 <= highest_ - here && (tag_.joint <= 1 || !(run & skew_)))
            [[likely]] {
            walk_.advance(run);
            return {at, run, here, false};
        }
        return next_slowly(at, here);
    }

  private:
    [[gnu::noinline]] piece next_slowly(k::u64 at, arch::paddr here) noexcept {
        piece found = tag_.joint > 1 ? next_joined(at, here) : next_free(at, here);
        skip(found.bytes);
        if (tag_.joint > 1 && found.bounced) fill_page(found);
        return found;
    }
    void skip(k::u64 bytes) noexcept { // a bounced piece may lie in several runs
        while (bytes) {
            const k::u64 part = std::min(walk_.run(), bytes);
            walk_.advance(part);
            bytes -= part;
        }
    }

    // Segments may end anywhere.
    piece next_free(k::u64 at, arch::paddr here) noexcept {
        const bool lies_well = k::is_aligned(here, tag_.alignment);
        if (lies_well && here <= highest_) return {at, within_reach(here, walk_.run()), here, false};
        const k::u64 in_page = lies_well ? here % arch::page_size : 0;
        const k::u64 most = arch::page_size - (lies_well ? in_page : here % arch::page_size);
        return {at, std::min(walk_.run(), most), in_page, true};
    }
    // They end at joints only: the bytes up to the next joint go together, and must lie so.
    piece next_joined(k::u64 at, arch::paddr here) noexcept {
        const bool lies_well = k::is_aligned(here, tag_.alignment) && (at == 0 || k::is_aligned(here, tag_.joint));
        const k::u64 in_joint = lies_well ? here & (tag_.joint - 1) : 0;
        const k::u64 to_joint = std::min(tag_.joint - in_joint, walk_.left());
        const k::u64 direct = lies_well && here <= highest_ ? within_reach(here, walk_.run()) : 0;
        if (direct < to_joint) return {at, to_joint, in_joint, true};
        if (direct == walk_.left()) return {at, direct, here, false};
        return {at, to_joint + k::align_down(direct - to_joint, tag_.joint), here, false};
    }
    // What must bounce as well and comes next shares the page.
    void fill_page(piece& p) noexcept {
        for (k::u64 room = arch::page_size - p.address - p.bytes; room && walk_.left();) {
            const arch::paddr here = walk_.physical();
            const k::u64 step = std::min(tag_.joint, walk_.left());
            const bool begins_well = k::is_aligned(here, tag_.joint) && here <= highest_;
            if (begins_well && within_reach(here, walk_.run()) >= step) return;
            const k::u64 badly = begins_well ? step : k::align_up(walk_.run(), tag_.joint);
            const k::u64 more = std::min({badly, room, walk_.left()});
            skip(more);
            p.bytes += more;
            room -= more;
        }
    }
    k::u64 within_reach(arch::paddr here, k::u64 bytes) const noexcept {
        const k::u64 room = highest_ - here; // one less than there is, which may be all of 64 bits
        return bytes && bytes - 1 > room ? room + 1 : bytes;
    }

    const tag& tag_;
    xio::walker walk_;
    const k::u64 size_, highest_;
    const k::u64 skew_; // the bits of an address that must be zero where a segment begins, unless it is the first
};

// Makes segments of pieces. `to` may be null: only counts.
class segment_maker {
  public:
    segment_maker(const tag& t, segment* to) noexcept : tag_(t), to_(to) {}
    unsigned count() const noexcept { return count_; }

    // How much of it there is room for: less than all if it takes more segments than the tag allows. `alone`: it shares
    // none.
    [[gnu::always_inline]] k::u64 add(arch::paddr address, k::u64 bytes, bool alone) noexcept {
        k::u64 done = 0;
        do {
            const bool goes_on = !alone && count_ && !alone_ && address + done == last_.address + last_.bytes;
            k::u64 room = goes_on ? tag_.room_at(last_.address) - last_.bytes : 0;
            if (!room) {
                if (count_ == tag_.segments) break;
                store();
                count_++;
                last_ = {address + done, 0};
                room = tag_.room_at(address + done);
            }
            alone_ = alone;
            const k::u64 part = std::min(room, bytes - done);
            last_.bytes += part;
            done += part;
        } while (done < bytes);
        return done;
    }
    void finish() noexcept { store(); }

  private:
    void store() noexcept {
        if (to_ && count_) to_[count_ - 1] = last_;
    }
    const tag& tag_;
    segment* const to_;
    segment last_{};
    unsigned count_ = 0;
    bool alone_ = false; // the last one is part of a bounce page
};

} // namespace

k::u64 fitting(const tag& t, unsigned pages, const xio::slice_base& what, k::u64 granule) noexcept {
    segment_maker count(t, nullptr);
    unsigned bounces = 0;
    k::u64 fits = 0;
    const k::u64 most = t.bytes ? t.bytes : ~k::u64{0};
    for (piece_walker w(t, what); !w.done() && fits < most;) {
        const piece p = w.next();
        if (p.bounced && ++bounces > pages) break;
        const k::u64 part = count.add(p.address, p.bytes, p.bounced);
        fits += part;
        if (part < p.bytes) break; // of a long piece perhaps only some segments
    }
    return k::align_down(std::min(fits, most), granule);
}

k::result<mem::box<map>> map::create(const tag& t, bounce_pool& pool) noexcept {
    kassert(t.is_sound());
    auto made = mem::make_box<map>(t, pool);
    if (!made) return k::error::nomem;
    made->segments_ = static_cast<segment*>(mem::allocate(t.segments * sizeof(segment)));
    if (!made->segments_) return k::error::nomem;
    if (!pool.size()) return made;
    made->bounced_ = static_cast<bounce*>(mem::allocate(std::min<k::u64>(t.segments, pool.size()) * sizeof(bounce)));
    if (!made->bounced_) return k::error::nomem;
    return made;
}

map::~map() {
    kassert(state_ == state::empty);
    mem::free(segments_);
    mem::free(bounced_);
}

const xio::slice_base& map::what() const noexcept {
    return sink_.empty() ? static_cast<const xio::slice_base&>(source_) : sink_;
}

k::status map::load(const xio::source& from) noexcept {
    kassert(state_ == state::empty);
    source_ = from.clone();
    TRY(begin(false));
    return {};
}

k::status map::load(const xio::sink& to) noexcept {
    kassert(state_ == state::empty);
    sink_ = to.clone();
    TRY(begin(false));
    return {};
}

k::result<bool> map::load_or_wait(const xio::source& from, ready_function ready, void* argument) noexcept {
    kassert(state_ == state::empty);
    source_ = from.clone();
    ready_ = ready;
    argument_ = argument;
    return begin(true);
}

k::result<bool> map::load_or_wait(const xio::sink& to, ready_function ready, void* argument) noexcept {
    kassert(state_ == state::empty);
    sink_ = to.clone();
    ready_ = ready;
    argument_ = argument;
    return begin(true);
}

// Nothing is taken that cannot be used: bounce pages only when all of it is known to fit. Without them this was it.
k::result<bool> map::begin(bool may_wait) noexcept {
    segment_maker make(tag_, segments_);
    bounces_ = 0;
    bool fits = !tag_.bytes || what().size() <= tag_.bytes;
    for (piece_walker w(tag_, what()); fits && !w.done();) {
        const piece p = w.next();
        bounces_ += p.bounced;
        if (tag_.domain && !p.bounced)
            if (const k::status has_tables = tag_.domain->reserve(p.address, p.bytes); !has_tables) {
                release();
                return has_tables.error();
            }
        fits = bounces_ <= pool_.size() && make.add(p.address, p.bytes, p.bounced) == p.bytes;
    }
    if (!fits) {
        release();
        return k::error::toobig;
    }
    if (!bounces_) [[likely]] {
        make.finish();
        become_loaded(make.count());
        return true;
    }
    if (bounces_ > pool_.left() || pool_.first_) { // who needs no pages has passed those who wait for some
        if (!may_wait) {
            release();
            return k::error::again;
        }
        state_ = state::waiting;
        pool_.join(*this);
        return false;
    }
    build_with_bounces();
    return true;
}

void map::build_with_bounces() noexcept {
    segment_maker make(tag_, segments_);
    unsigned n = 0;
    for (piece_walker w(tag_, what()); !w.done();) {
        const piece p = w.next();
        arch::paddr address = p.address;
        if (p.bounced) {
            vm::page* page = pool_.take();
            bounced_[n++] = {page, p.at, static_cast<k::u32>(p.address), static_cast<k::u32>(p.bytes)};
            address += vm::physical(page);
        }
        (void)make.add(address, p.bytes, p.bounced);
    }
    make.finish();
    become_loaded(make.count());
}

void map::become_loaded(unsigned segments) noexcept {
    count_ = segments;
    trace::note(trace::event::dma_loaded, what().size(), count_);
    state_ = state::loaded;
    if (tag_.domain) tag_.domain->open(this->segments(), wanted());
}

// A device that reads has no business writing.
iommu::access map::wanted() const noexcept {
    return sink_.empty() ? iommu::access::read : iommu::access::write;
}

void map::finish_waiting() noexcept {
    build_with_bounces();
    ready_(*this, argument_);
}

void map::sync_for_device() noexcept {
    kassert(state_ == state::loaded);
    for (const bounce& b : std::span(bounced_, bounces_)) {
        std::byte* to = static_cast<std::byte*>(vm::direct(b.page)) + b.in_page;
        if (source_.empty())
            std::memset(to, 0, b.bytes); // or a device that writes less would give away what was there
        else
            (void)source_.read_some(b.at, {to, b.bytes}, xio::reason::bounced);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

void map::sync_for_cpu() noexcept {
    kassert(state_ == state::loaded);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (sink_.empty()) return;
    for (const bounce& b : std::span(bounced_, bounces_)) {
        const std::byte* from = static_cast<std::byte*>(vm::direct(b.page)) + b.in_page;
        (void)sink_.write_some(b.at, {from, b.bytes}, xio::reason::bounced);
    }
}

void map::unload() noexcept {
    kassert(state_ == state::loaded || state_ == state::waiting);
    if (state_ == state::waiting) {
        pool_.leave(*this);
        bounces_ = 0;
    }
    release();
    pool_.serve();
}

void map::quarantine() noexcept {
    kassert(state_ == state::loaded);
    state_ = state::quarantined;
    quarantined_pages.fetch_add(pages_touched(what()), std::memory_order_relaxed);
}

void map::device_stopped() noexcept {
    kassert(state_ == state::quarantined);
    quarantined_pages.fetch_sub(pages_touched(what()), std::memory_order_relaxed);
    release();
    pool_.serve();
}

// Bounce pages, if it has them, and the xio.
void map::release() noexcept {
    const bool has_pages = state_ == state::loaded || state_ == state::quarantined;
    if (has_pages && tag_.domain) tag_.domain->close(segments(), wanted());
    for (const bounce& b : std::span(bounced_, has_pages ? bounces_ : 0))
        pool_.give(b.page);
    bounces_ = 0;
    count_ = 0;
    state_ = state::empty;
    source_ = xio::source();
    sink_ = xio::sink();
}

k::u64 pages_in_quarantine() noexcept {
    return quarantined_pages.load(std::memory_order_relaxed);
}

k::result<memory> memory::create(const tag& t, std::size_t bytes) noexcept {
    const std::size_t pages = std::bit_ceil((bytes + arch::page_size - 1) >> arch::page_shift);
    const auto order = static_cast<unsigned>(std::countr_zero(pages));
    vm::page* head = vm::allocate_below(t.highest(), order, vm::page_use::buffer);
    if (!head) return k::error::nomem;
    memory made;
    made.block_ = vm::page_ref(head);
    std::memset(made.data(), 0, arch::page_size << order);
    if (!t.domain) return made;
    made.bytes_ = arch::page_size << order;
    TRY(t.domain->reserve(made.address(), made.bytes_));
    lwkt::critical section;
    const segment all{made.address(), made.bytes_};
    t.domain->open({&all, 1}, iommu::access::both);
    made.domain_ = t.domain;
    return made;
}

memory::~memory() {
    if (!domain_) return;
    lwkt::critical section;
    const segment all{address(), bytes_};
    domain_->close({&all, 1}, iommu::access::both);
}

} // namespace busdma
