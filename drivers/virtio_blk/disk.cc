#include "drivers/virtio_blk/disk.h"

#include "drivers/virtio_blk/queue.h"
#include "kernel/lib/log.h"

namespace virtio_blk {

namespace {

// Features and registers of 5.2.3 and 5.2.4.
constexpr k::u64 has_longest_segment = 1 << 1, has_most_segments = 1 << 2, is_read_only = 1 << 5,
                 has_block_size = 1 << 6, can_flush = 1 << 9, has_topology = 1 << 10, has_many_queues = 1 << 12,
                 can_discard = 1 << 13;
constexpr k::u64 needed = virtio::feature_version_1 | virtio::feature_indirect | virtio::feature_event_index;
constexpr k::u64 wanted = needed | virtio::feature_platform_access | has_longest_segment | has_most_segments |
                          is_read_only | has_block_size | can_flush | has_topology | has_many_queues | can_discard;
enum config_register : unsigned {
    capacity = 0,
    longest_segment = 8,
    most_segments = 12,
    block_size = 20,
    physical_exponent = 24,
    queue_number = 34,
    longest_discard = 36,
};

// A table of descriptors is one page.
constexpr k::u64 segments_used = arch::page_size / sizeof(virtio::descriptor) - 3;
constexpr k::u64 most_sectors = k::u64{1} << 54; // so that a byte's offset has 63 bits

} // namespace

k::result<k::ref<block::disk>> disk::create(mem::box<virtio::transport> bus, ktime::ns timeout_ns) noexcept {
    auto* raw = mem::make<disk>(std::move(bus), timeout_ns);
    if (!raw) return k::error::nomem;
    k::ref<block::disk> made(raw);
    if (!raw->stop_device()) return k::error::io;
    TRY(raw->negotiate());
    TRY(raw->read_properties());
    TRY(raw->make_queues());
    TRY(raw->start_queues());
    TRY(raw->begin_work());
    return made;
}

k::status disk::negotiate() noexcept {
    features_ = TRY(bus_->negotiate(wanted, needed));
    return {};
}

k::status disk::read_properties() noexcept {
    virtio::transport& c = *bus_;
    block::disk_properties p;
    p.sectors = c.read_config_64(capacity);
    p.read_only = features_ & is_read_only;
    p.has_flush = features_ & can_flush;
    if (features_ & has_block_size) p.block_bytes = c.read_config(block_size, 4);
    const bool sound = std::has_single_bit(p.block_bytes) && p.block_bytes >= block::sector_bytes &&
                       p.block_bytes <= arch::page_size && p.sectors && p.sectors <= most_sectors &&
                       p.sectors % (p.block_bytes >> block::sector_shift) == 0;
    if (!sound) {
        k::log("virtio disk: {} sectors in blocks of {} bytes make no sense\n", p.sectors, p.block_bytes);
        return k::error::opnotsupp;
    }
    const k::u32 exponent = features_ & has_topology ? c.read_config(physical_exponent, 1) : 0;
    p.physical_bytes = exponent < 8 ? p.block_bytes << exponent : p.block_bytes;
    if (features_ & can_discard) {
        p.most_discard = c.read_config(longest_discard, 4);
        p.has_discard = p.most_discard >= p.block_bytes >> block::sector_shift;
    }
    const k::u32 segments = features_ & has_most_segments ? c.read_config(most_segments, 4) : 1;
    const k::u32 longest = features_ & has_longest_segment ? c.read_config(longest_segment, 4) : 0;
    constexpr k::u64 most_segment_bytes = 1 << 30; // a descriptor's length has 32 bits
    limits_.domain = bus_->domain();
    limits_.segments = std::clamp<k::u64>(segments, 1, segments_used);
    limits_.segment_bytes = longest ? std::min<k::u64>(longest, most_segment_bytes) : most_segment_bytes;
    if (limits_.segment_bytes < p.block_bytes) return k::error::opnotsupp;
    properties_ = p;
    return {};
}

k::status disk::make_queues() noexcept {
    const unsigned offered = features_ & has_many_queues ? bus_->read_config(queue_number, 2) : 1;
    const unsigned most = std::min(offered, bus_->queue_count());
    for (unsigned seen = 0; queues() < most && bus_->queue_size(queues()) >= queue::slots;) {
        const unsigned cpu = next_cpu(seen);
        if (cpu == arch::max_cpus) break;
        auto q = mem::make_box<queue>(*this, queues(), cpu);
        if (!q) return k::error::nomem;
        TRY(q->create(limits_));
        add_queue(mem::box<block::request_queue>(q.release()));
    }
    return queues() ? k::status() : k::status(k::error::opnotsupp);
}

k::status disk::start_queues() noexcept {
    for (unsigned i = 0; i < queues(); i++)
        TRY(static_cast<queue&>(queue_at(i)).start_device());
    bus_->drive();
    return {};
}

k::status disk::start_device() noexcept {
    TRY(negotiate());
    return start_queues();
}

} // namespace virtio_blk
