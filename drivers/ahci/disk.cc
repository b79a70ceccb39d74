#include "drivers/ahci/disk.h"

#include "drivers/ahci/queue.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/thread.h"

#include <cstring>

namespace ahci {

namespace {

constexpr k::u32 gone = ~k::u32{0};
// Port command (3.3.7), status and control of the link (3.3.10, 3.3.11), task file (3.3.8).
constexpr k::u32 command_start = 1, command_spin_up = 2, command_power = 4, command_receive = 1u << 4,
                 command_receives = 1u << 14, command_runs = 1u << 15, command_active = 1u << 28;
constexpr k::u32 link_state = 0xf, link_up = 3, link_reset = 1, link_no_sleep = 3u << 8;
constexpr k::u32 task_busy = 0x88; // or wants data
constexpr k::u32 signature_disk = 0x0000'0101;
// FIS from the device, of a register, of bits, of PIO; unknown FIS; plugged; link and bus errors; task file.
constexpr k::u32 causes_wanted = 1 | 2 | 8 | 1u << 4 | 1u << 6 | 1u << 22 | 1u << 24 | 0xfu << 26 | 1u << 30;

constexpr std::size_t list_bytes = 1024;
constexpr k::u64 most_segment_bytes = 128 << 10; // so that no request has more than 65,536 sectors
static_assert(command_table::most_regions * most_segment_bytes <= 65536 * block::sector_bytes);
constexpr k::u64 most_sectors = k::u64{1} << 48;

} // namespace

k::result<k::ref<block::disk>> disk::create(k::ref<host> on, unsigned port, ktime::ns timeout_ns) noexcept {
    auto* raw = mem::make<disk>(std::move(on), port, timeout_ns);
    if (!raw) return k::error::nomem;
    k::ref<block::disk> made(raw);
    raw->limits_ = {.address_bits = raw->host_->address_bits(),
                    .alignment = 2,
                    .segments = command_table::most_regions,
                    .segment_bytes = most_segment_bytes,
                    .domain = raw->host_->domain()};
    if (!raw->stop_device()) return k::error::io;
    raw->lists_ = TRY(busdma::memory::create(raw->limits_, list_bytes + received_bytes));
    raw->page_ = TRY(busdma::memory::create(raw->limits_, block::sector_bytes));
    raw->tags_ = raw->host_->has_queuing() ? raw->host_->slots() : 1; // and no more than the disk will say
    auto q = mem::make_box<queue>(*raw, raw->host_->cpu());
    if (!q) return k::error::nomem;
    TRY(q->create(raw->limits_, raw->lists_.data(), raw->lists_.data() + list_bytes));
    raw->host_->set_queue(port, q.get());
    raw->add_queue(mem::box<block::request_queue>(q.release()));
    TRY(raw->start_device());
    TRY(raw->begin_work());
    return made;
}

disk::~disk() {
    host_->set_queue(port_, nullptr);
}

queue& disk::only_queue() noexcept {
    return static_cast<queue&>(queue_at(0));
}

template <class Done> bool disk::wait_for(Done done, ktime::ns patience) noexcept {
    const ktime::ns deadline = ktime::after(patience);
    while (!done()) {
        if (ktime::now() > deadline) return false;
        lwkt::sleep_for(ktime::millisecond);
    }
    return true;
}

// --- Up and down

// Switches one of the port's two engines off. True once it does not run; one that is gone does not.
bool disk::stop_engine(k::u32 what, k::u32 runs) noexcept {
    write(port_command, read(port_command) & ~what);
    return wait_for([&] { return read(port_command) == gone || !(read(port_command) & runs); }, ktime::second / 2);
}

bool disk::stop_device() noexcept {
    write(port_interrupt_enable, 0);
    if (read(port_command) == gone) return true;
    bool stopped = stop_engine(command_start, command_runs);
    if (!stopped) { // a device that holds the port: perhaps a reset of the link ends that (10.4.2)
        write(port_control, link_no_sleep | link_reset);
        lwkt::sleep_for(2 * ktime::millisecond);
        write(port_control, link_no_sleep);
        stopped = stop_engine(command_start, command_runs);
    }
    return stop_engine(command_receive, command_receives) && stopped;
}

// COMRESET: ends whatever the disk is doing, and has it say what it is.
k::status disk::reset_link() noexcept {
    write(port_control, link_no_sleep | link_reset);
    lwkt::sleep_for(2 * ktime::millisecond); // at least one is asked for (10.4.2)
    write(port_control, link_no_sleep);
    if (!wait_for([&] { return (read(port_status) & link_state) == link_up; }, 20 * ktime::millisecond))
        return k::error::nxio;
    write(port_error, ~k::u32{0});
    const ktime::ns patience = std::min<ktime::ns>(timeout_ns(), 10 * ktime::second); // it may have to spin up
    if (read(port_status) == gone || !wait_for([&] { return !(read(port_task_file) & task_busy); }, patience))
        return k::error::io;
    return read(port_signature) == signature_disk ? k::status() : k::status(k::error::nxio);
}

// The log says which of the queued commands failed. Whatever else it says, or does not, is left to a reset.
bool disk::look_into_failure() noexcept {
    queue& q = only_queue();
    error_was_read_ = false;
    const bool is_there = (read(port_status) & link_state) == link_up && !(read(port_task_file) & task_busy);
    if (!has_log_ || !q.has_queued_error() || read(port_status) == gone || !is_there) return true;
    write(port_error, ~k::u32{0});
    write(port_interrupts, ~k::u32{0});
    write(port_command, read(port_command) | command_receive);
    write(port_command, read(port_command) | command_start);
    std::memset(page_.data(), 0, block::sector_bytes);
    const k::status done = q.run_alone(ata_read_log, page_.address(), block::sector_bytes, log_of_queued_errors, 1);
    if (!stop_device()) return false;
    k::u8 sum = 0;
    for (const std::byte b : std::span(page_.data(), block::sector_bytes))
        sum = static_cast<k::u8>(sum + static_cast<k::u8>(b));
    const auto first = static_cast<k::u8>(page_.data()[0]);
    if (done && !sum && !(first & log_not_queued)) error_was_read_ = q.note_failed(first & log_tag);
    return true;
}

void disk::set_up_port() noexcept {
    const k::u64 list = lists_.address(), received = list + list_bytes;
    std::memset(lists_.data(), 0, list_bytes + received_bytes);
    only_queue().clear();
    write(port_list, static_cast<k::u32>(list));
    write(static_cast<port_register>(port_list + 4), static_cast<k::u32>(list >> 32));
    write(port_received, static_cast<k::u32>(received));
    write(static_cast<port_register>(port_received + 4), static_cast<k::u32>(received >> 32));
    write(port_command, command_spin_up | command_power | command_active | command_receive);
}

k::status disk::start_device() noexcept {
    set_up_port();
    const bool is_well = std::exchange(error_was_read_, false);
    if (!is_well) TRY(reset_link());
    write(port_interrupts, ~k::u32{0});
    write(port_command, read(port_command) | command_start);
    if (!is_well) TRY(identify());
    write(port_interrupts, ~k::u32{0});
    write(port_interrupt_enable, causes_wanted);
    return {};
}

// --- What it is

k::u16 disk::said(unsigned word) const noexcept {
    k::u16 value;
    std::memcpy(&value, page_.data() + 2 * std::size_t{word}, sizeof(value));
    return value;
}

// After a reset it must be the same disk as before.
k::status disk::identify() noexcept {
    std::memset(page_.data(), 0, block::sector_bytes);
    TRY(only_queue().run_alone(ata_identify, page_.address(), block::sector_bytes));
    k::u64 count = 0;
    for (unsigned i = 0; i < 4; i++)
        count |= k::u64{said(100 + i)} << 16 * i;
    if (is_up_) return count == sectors_said_ ? k::status() : k::status(k::error::io);
    sectors_said_ = count;
    TRY(read_properties());
    is_up_ = true;
    return {};
}

// Words of IDENTIFY DEVICE (ATA8-ACS 7.12.7).
k::status disk::read_properties() noexcept {
    const bool words_are_valid = said(83) >> 14 == 1;
    const bool has_long_addresses = words_are_valid && said(83) >> 10 & 1;
    const bool is_ata = !(said(0) >> 15), has_dma = said(49) >> 8 & 1;
    k::u32 bytes = block::sector_bytes;
    unsigned physical = 0;
    if (said(106) >> 14 == 1) {
        if (said(106) >> 12 & 1) bytes = 2 * (said(117) | k::u32{said(118)} << 16);
        if (said(106) >> 13 & 1) physical = said(106) & 15;
    }
    if (!is_ata || !has_dma || !has_long_addresses || !sectors_said_ || sectors_said_ >= most_sectors ||
        !std::has_single_bit(bytes) || bytes < block::sector_bytes || bytes > arch::page_size) {
        k::log("ahci port {}: a disk of {} sectors of {} bytes is not for us\n", port_, sectors_said_, bytes);
        return k::error::opnotsupp;
    }
    sector_shift_ = static_cast<unsigned>(std::countr_zero(bytes)) - block::sector_shift;
    properties_.sectors = sectors_said_ << sector_shift_;
    properties_.block_bytes = bytes;
    properties_.physical_bytes = physical < 8 ? bytes << physical : bytes;
    properties_.has_flush = (said(85) >> 5 & 1) && (said(83) >> 13 & 1); // a write cache that is on
    properties_.has_durable = said(84) >> 14 == 1 && (said(84) >> 6 & 1);
    properties_.has_discard = said(169) & 1;
    has_log_ = said(84) >> 14 == 1 && (said(84) >> 5 & 1);
    properties_.most_discard = (64 * 65535u) >> 3 << 3 << sector_shift_;
    const bool queues = said(76) != 0xffff && (said(76) >> 8 & 1);
    tags_ = queues ? std::min<unsigned>(tags_, (said(75) & 31) + 1u) : 1;
    return {};
}

} // namespace ahci
