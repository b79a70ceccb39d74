#include "drivers/nvme/disk.h"

#include "drivers/nvme/queue.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/thread.h"

#include <cstring>

namespace nvme {

namespace {

// Registers (3.1).
constexpr k::u32 configured_enable = 1, status_ready = 1, status_fatal = 2;
constexpr k::u32 configured_entries = 6u << 16 | 4u << 20; // 64 and 16 bytes
constexpr k::u32 gone = ~k::u32{0};

// Admin commands (5) and what they are asked for.
enum admin_opcode : k::u8 {
    admin_create_submission = 1,
    admin_create_completion = 5,
    admin_identify = 6,
    admin_set_feature = 9
};
constexpr k::u32 identify_name_space = 0, identify_controller = 1, identify_active = 2;
constexpr k::u32 feature_queues = 7;
constexpr k::u32 contiguous = 1, may_interrupt = 2;

// Offsets in what a controller and a namespace say (5.15).
constexpr std::size_t most_pages_exponent = 77, optional_commands = 520, write_cache = 525, scatter_lists = 536;
constexpr std::size_t blocks = 0, format = 26, formats = 128;
constexpr k::u16 can_manage = 1u << 2;

constexpr k::u64 most_pages = 257; // 1 MiB that begins in the middle of a page
// Of scatter lists: any bytes will do, or only whole words of four.
constexpr k::u32 lists_of_bytes = 1, lists_of_words = 2;
constexpr k::u64 most_descriptors = arch::page_size / sizeof(descriptor), most_described = 1 << 20;

bool page_lists_only; // set at boot
constexpr k::u64 most_blocks = k::u64{1} << 50;

} // namespace

template <class T> T disk::said(std::size_t offset) const noexcept {
    T value;
    std::memcpy(&value, page_.data() + offset, sizeof(T));
    return value;
}

void disk::keep_to_page_lists() noexcept {
    page_lists_only = true;
}

k::result<k::ref<block::disk>> disk::create(mem::box<port> bus, ktime::ns timeout_ns) noexcept {
    auto* raw = mem::make<disk>(std::move(bus), timeout_ns);
    if (!raw) return k::error::nomem;
    k::ref<block::disk> made(raw);
    TRY(raw->read_controller());
    TRY(raw->read_name_space());
    TRY(raw->make_queues());
    TRY(raw->start_queues());
    TRY(raw->begin_work());
    return made;
}

// --- Up and down

bool disk::wait_for_ready(bool ready) noexcept {
    const ktime::ns deadline = ktime::after(patience_ns_);
    for (;;) {
        const k::u32 status = bus_->read(reg_status);
        if (status == gone) return !ready; // pulled out: it touches nothing any more
        if (bool(status & status_ready) == ready) return true;
        if ((ready && (status & status_fatal)) || ktime::now() > deadline) return false;
        lwkt::sleep_for(ktime::millisecond);
    }
}

bool disk::stop_device() noexcept {
    constexpr k::u64 unit_ms = 500;
    patience_ns_ = ((bus_->read_64(reg_capabilities) >> 24 & 0xff) + 1) * unit_ms * ktime::millisecond;
    bus_->write(reg_configuration, bus_->read(reg_configuration) & ~configured_enable);
    const bool stopped = wait_for_ready(false);
    bus_->disconnect();
    return stopped;
}

// After stop_device(): with an admin queue, and nothing else.
k::status disk::enable() noexcept {
    admin_.clear();
    bus_->write(reg_admin_sizes, (ring::size - 1) << 16 | (ring::size - 1));
    bus_->write_64(reg_admin_submission, admin_.commands());
    bus_->write_64(reg_admin_completion, admin_.answers());
    bus_->write(reg_configuration, configured_entries | configured_enable);
    return wait_for_ready(true) ? k::status() : k::status(k::error::io);
}

// One at a time, looked at until it is answered. The result's word; EIO.
k::result<k::u32> disk::administrate(command c) noexcept {
    const ktime::ns deadline = ktime::after(std::min<ktime::ns>(timeout_ns(), 5 * ktime::second));
    admin_.put(c);
    answer a;
    while (!admin_.take(a)) {
        if (ktime::now() > deadline) return k::error::io;
        lwkt::sleep_for(100 * ktime::microsecond);
    }
    admin_.acknowledge();
    if (a.code() || a.id != c.id) return k::error::io;
    return a.result;
}

k::status disk::identify(k::u32 what, k::u32 name_space) noexcept {
    command c{.opcode = admin_identify, .name_space = name_space, .pages = {page_.address()}, .words = {what}};
    TRY(administrate(c));
    return {};
}

// --- What it is

k::status disk::read_controller() noexcept {
    const k::u64 can = bus_->read_64(reg_capabilities);
    const k::u64 entries = (can & 0xffff) + 1, smallest_page = can >> 48 & 15, largest_page = can >> 52 & 15;
    const bool has_io_commands = can >> 37 & 1;
    // Pages of 4 KiB, and queues as long as ours.
    if (can == ~k::u64{0} || entries < ring::size || smallest_page > 0 || largest_page < smallest_page ||
        !has_io_commands)
        return k::error::opnotsupp;
    doorbell_bytes_ = 4u << (can >> 32 & 15);
    limits_ = {.alignment = 4,
               .segments = 1,
               .segment_bytes = arch::page_size,
               .joint = arch::page_size,
               .domain = bus_->domain()};
    TRY(admin_.create(limits_, *bus_, 0, doorbell_bytes_));
    page_ = TRY(busdma::memory::create(limits_, arch::page_size));
    if (!stop_device()) return k::error::io;
    TRY(enable());
    TRY(identify(identify_controller, 0));
    set_limits();
    can_discard_ = said<k::u16>(optional_commands) & can_manage;
    has_write_cache_ = said<k::u8>(write_cache) & 1;
    return {};
}

// A page list has a page for each segment. Descriptors may have any bytes, and tell of many that lie together at once.
void disk::set_limits() noexcept {
    const unsigned exponent = said<k::u8>(most_pages_exponent);
    const k::u64 pages = exponent && exponent < 12 ? std::min(most_pages, k::u64{1} << exponent) : most_pages;
    const k::u32 lists = said<k::u32>(scatter_lists) & 3;
    takes_descriptors_ = !page_lists_only && (lists == lists_of_bytes || lists == lists_of_words);
    if (!takes_descriptors_) {
        limits_.segments = pages;
        return;
    }
    limits_.alignment = limits_.joint = lists == lists_of_words ? 4 : 1;
    limits_.segments = most_descriptors;
    limits_.segment_bytes = 0;
    limits_.bytes = std::min(pages * arch::page_size, most_described);
}

k::status disk::read_name_space() noexcept {
    TRY(identify(identify_active, 0));
    name_space_ = said<k::u32>(0);
    if (!name_space_) return k::error::opnotsupp;
    if (said<k::u32>(4)) k::log("nvme: only the first namespace is used\n");
    TRY(identify(identify_name_space, name_space_));
    const k::u64 count = said<k::u64>(blocks);
    const auto form = said<k::u32>(formats + 4 * (said<k::u8>(format) & 15));
    const unsigned shift = form >> 16 & 0xff, metadata = form & 0xffff;
    if (!count || count > most_blocks || metadata || shift < block::sector_shift || shift > arch::page_shift) {
        k::log("nvme: {} blocks of 2^{} bytes, {} more for each: not for us\n", count, shift, metadata);
        return k::error::opnotsupp;
    }
    block_shift_ = shift - block::sector_shift;
    properties_.sectors = count << block_shift_;
    properties_.block_bytes = properties_.physical_bytes = 1u << shift;
    properties_.has_flush = has_write_cache_;
    properties_.has_durable = true;
    properties_.has_discard = can_discard_;
    properties_.most_discard = (1u << 20) << block_shift_;
    return {};
}

// --- Queues

k::status disk::make_queues() noexcept {
    constexpr k::u32 wish = arch::max_cpus - 1; // one less than the number
    const k::u32 granted =
        TRY(administrate({.opcode = admin_set_feature, .words = {feature_queues, wish << 16 | wish}}));
    const unsigned most = std::min({(granted & 0xffff) + 1, (granted >> 16) + 1, bus_->interrupts()});
    for (unsigned seen = 0; queues() < most;) {
        const unsigned cpu = next_cpu(seen);
        if (cpu == arch::max_cpus) break;
        auto q = mem::make_box<queue>(*this, cpu);
        if (!q) return k::error::nomem;
        TRY(q->create(limits_, queues() + 1));
        add_queue(mem::box<block::request_queue>(q.release()));
    }
    return queues() ? k::status() : k::status(k::error::opnotsupp);
}

k::status disk::start_queues() noexcept {
    for (unsigned i = 0; i < queues(); i++) {
        auto& q = static_cast<queue&>(queue_at(i));
        ring& pair = q.pair();
        pair.clear();
        TRY(bus_->connect(i, q.cpu(), queue::interrupted, static_cast<block::request_queue*>(&q)));
        const k::u32 sizes = (ring::size - 1) << 16 | pair.number();
        TRY(administrate({.opcode = admin_create_completion,
                          .pages = {pair.answers()},
                          .words = {sizes, i << 16 | may_interrupt | contiguous}}));
        TRY(administrate({.opcode = admin_create_submission,
                          .pages = {pair.commands()},
                          .words = {sizes, pair.number() << 16 | contiguous}}));
    }
    return {};
}

k::status disk::start_device() noexcept {
    constexpr k::u32 wish = arch::max_cpus - 1;
    TRY(enable());
    TRY(administrate({.opcode = admin_set_feature, .words = {feature_queues, wish << 16 | wish}}));
    return start_queues();
}

} // namespace nvme
