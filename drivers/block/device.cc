#include "drivers/block/device.h"

#include "drivers/block/batch.h"
#include "drivers/block/cache.h"
#include "drivers/busdma/busdma.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/mem/slab.h"

#include <cstring>

namespace block {

// --- Submitting and completing

device::device(k::ref<disk> on, std::string_view name, k::u32 major, k::u32 minor, k::u64 first,
               k::u64 sectors) noexcept
    : disk_(std::move(on)), major_(major), minor_(minor), first_(first), sectors_(sectors),
      name_length_(static_cast<unsigned>(std::min<std::size_t>(name.size(), longest_name))) {
    std::memcpy(name_, name.data(), name_length_);
}

k::result<k::ref<device>> device::create(k::ref<disk> on, std::string_view name, k::u32 major, k::u32 minor,
                                         k::u64 first, k::u64 sectors) noexcept {
    auto made = mem::make_box<device>(std::move(on), name, major, minor, first, sectors);
    if (!made) return k::error::nomem;
    const std::size_t bytes = sizeof(counters) * arch::cpu::count();
    void* room = mem::allocate(bytes);
    if (!room) return k::error::nomem;
    std::memset(room, 0, bytes);
    made->counters_ = static_cast<counters*>(room);
    made->cache_ = TRY(cache::create(*made)).release();
    return k::ref<device>(made.release());
}

device::~device() {
    mem::destroy(cache_);
    mem::free(counters_);
}

void device::last_holder_left() noexcept {
    mem::destroy(this);
}

k::status device::check(const request& r) const noexcept {
    const disk_properties& p = properties();
    if (is_gone()) return k::error::io;
    if (r.what == operation::flush) return {};
    const k::u64 block = p.block_bytes >> sector_shift, length = r.length();
    if (r.bytes() % p.block_bytes || r.sector % block || length % block) return k::error::inval;
    if (!length || r.sector > sectors_ || length > sectors_ - r.sector) return k::error::inval;
    if (r.what != operation::read && p.read_only) return k::error::rofs;
    if (r.durable && !p.has_durable) return k::error::opnotsupp;
    if (r.what == operation::discard && (!p.has_discard || length > p.most_discard)) return k::error::opnotsupp;
    return {};
}

// Only its CPU writes a counter; others may be reading it.
static void count(k::u64& counter, k::u64 more = 1) noexcept {
    __atomic_store_n(&counter, counter + more, __ATOMIC_RELAXED);
}

void device::submit(request& r) noexcept {
    lwkt::critical section;
    r.of = this;
    r.cpu = arch::cpu::id();
    r.started = ktime::now();
    r.tries = 0;
    count(counters_[r.cpu].sum.submitted);
    r.status = check(r);
    if (!r.status || (r.what == operation::flush && !properties().has_flush)) return finish(r);
    r.sector += first_;
    disk_->start(r);
}

// On the request's CPU.
void device::finish(request& r) noexcept {
    statistics& s = counters_[r.cpu].sum;
    const auto what = static_cast<unsigned>(r.what);
    count(s.completed);
    if (r.status) {
        count(s.requests[what]);
        count(s.sectors[what], r.length());
        count(s.ns[what], ktime::now() - r.started);
    } else {
        count(s.failed);
    }
    r.done(r);
}

void device::finish_here(void* argument) noexcept {
    auto& r = *static_cast<request*>(argument);
    r.of->finish(r);
}

void complete(request& r, k::status status) noexcept {
    r.status = status;
    if (r.cpu == arch::cpu::id()) return r.of->finish(r);
    lwkt::send(r.cpu, device::finish_here, &r);
}

statistics device::read_statistics() const noexcept {
    statistics sum{};
    const auto read = [](const k::u64& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        const statistics& s = counters_[cpu].sum;
        for (unsigned o = 0; o < operations; o++) {
            sum.requests[o] += read(s.requests[o]);
            sum.sectors[o] += read(s.sectors[o]);
            sum.ns[o] += read(s.ns[o]);
        }
        sum.failed += read(s.failed);
        sum.submitted += read(s.submitted);
        sum.completed += read(s.completed);
    }
    return sum;
}

// --- Waiting

namespace {

using usual_batch = batch<4>;

// The bytes from the front that went well.
xio::moved outcome(usual_batch& b) noexcept {
    xio::moved sum;
    for (request& r : b.requests()) {
        sum.status = as_seen_outside(r.status);
        if (!sum.status) break;
        sum.bytes += r.bytes();
    }
    return sum;
}

// Moves the bytes of a slice; put(request, part) says what is done with each part.
template <class Slice, class Put> xio::moved move_all(device& on, k::u64 offset, const Slice& all, Put put) noexcept {
    xio::moved sum;
    if (offset % sector_bytes) return {0, k::error::inval};
    Slice rest = all.clone();
    while (!rest.empty() && sum.status) {
        usual_batch b;
        k::u64 at = offset + sum.bytes;
        while (!rest.empty() && !b.full()) {
            const k::u64 fits =
                busdma::fitting(on.on().limits(), on.on().bounce_pages(), rest, on.properties().block_bytes);
            if (!fits && b.requests().empty()) return {sum.bytes, k::error::inval}; // not even a block of it
            if (!fits) break;
            request& r = b.add();
            r.sector = at >> sector_shift;
            at += fits;
            put(r, rest.split_front(fits));
        }
        b.run(on);
        const xio::moved m = outcome(b);
        sum.bytes += m.bytes;
        sum.status = m.status;
    }
    return sum;
}

k::status run_one(device& on, operation what, k::u64 sector, k::u64 sectors) noexcept {
    usual_batch b;
    request& r = b.add();
    r.what = what;
    r.sector = sector;
    r.sectors = sectors;
    b.run(on);
    return as_seen_outside(r.status);
}

} // namespace

xio::moved read(device& from, k::u64 offset, const xio::sink& to) noexcept {
    return move_all(from, offset, to, [](request& r, xio::sink part) {
        r.what = operation::read;
        r.into = std::move(part);
    });
}

xio::moved write(device& to, k::u64 offset, const xio::source& from, bool durable) noexcept {
    const bool by_flush = durable && !to.properties().has_durable;
    xio::moved m = move_all(to, offset, from, [&](request& r, xio::source part) {
        r.what = operation::write;
        r.durable = durable && !by_flush;
        r.from = std::move(part);
    });
    if (by_flush && m.status) m.status = flush(to);
    return m;
}

k::status flush(device& of) noexcept {
    return run_one(of, operation::flush, 0, 0);
}

k::status discard(device& of, k::u64 offset, k::u64 bytes) noexcept {
    if (offset % sector_bytes || bytes % sector_bytes) return k::error::inval;
    const k::u64 most = std::max<k::u64>(of.properties().most_discard, 1);
    for (k::u64 at = offset >> sector_shift, left = bytes >> sector_shift; left;) {
        const k::u64 part = std::min(left, most);
        TRY(run_one(of, operation::discard, at, part));
        at += part;
        left -= part;
    }
    return {};
}

} // namespace block
