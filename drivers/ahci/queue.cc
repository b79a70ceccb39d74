#include "drivers/ahci/queue.h"

#include "kernel/lwkt/thread.h"

#include <bit>
#include <cstring>

namespace ahci {

namespace {

// Interrupt causes (3.3.5): the task file says error; the link, the bus or the device's FIS went wrong.
constexpr k::u32 cause_task_file = 1u << 30, cause_fatal = 0xfu << 26, cause_overflow = 1u << 24;
constexpr k::u32 cause_unknown_fis = 1u << 4, cause_plugged = 1u << 6 | 1u << 22;
constexpr k::u32 task_error = 1, task_fault = 1u << 5;
constexpr k::u32 gone = ~k::u32{0};

constexpr k::u64 most_range = 65535; // sectors of one range to discard
constexpr unsigned ranges_a_block = 64;

} // namespace

k::status queue::create(const busdma::tag& t, std::byte* list, const std::byte* received) noexcept {
    list_ = reinterpret_cast<command_header*>(list);
    received_ = received;
    tables_ = TRY(busdma::memory::create(t, disk_.tags() * sizeof(command_table)));
    ranges_ = TRY(busdma::memory::create(t, block::sector_bytes));
    return make_slots(t, disk_.bounce_pages());
}

void queue::clear() noexcept {
    queued_ = 0;
    lone_ = none;
    halted_ = queued_error_ = false;
    failed_ = none;
    line_start_ = line_length_ = 0;
}

// --- To the device

// The header and the list of regions. The length in bytes.
k::u32 queue::fill(unsigned tag, std::span<const busdma::segment> segments, bool writes) noexcept {
    command_table& t = table(tag);
    k::u64 sum = 0;
    for (unsigned i = 0; i < segments.size(); i++) {
        t.regions[i] = {segments[i].address, 0, static_cast<k::u32>(segments[i].bytes - 1)};
        sum += segments[i].bytes;
    }
    list_[tag] = {static_cast<k::u16>(header_fis_words | (writes ? header_writes : 0)),
                  static_cast<k::u16>(segments.size()),
                  0,
                  tables_.address() + tag * sizeof(command_table),
                  {}};
    return static_cast<k::u32>(sum);
}

bool queue::goes_queued(const block::request& r) const noexcept {
    const bool moves = r.what == block::operation::read || r.what == block::operation::write;
    return disk_.tags() > 1 && moves && r.tries == 1;
}

void queue::issue(unsigned slot, const block::request&, std::span<const busdma::segment> segments) noexcept {
    line_[(line_start_ + line_length_++) % slots] = {slot, segments};
    give_what_can_go();
}

// In order: what goes alone waits until the device has nothing, and what comes after it waits for that.
void queue::give_what_can_go() noexcept {
    while (line_length_ && lone_ == none && !halted_) {
        const waiting w = line_[line_start_];
        const bool queues = goes_queued(request_in(w.slot));
        const auto tag = static_cast<unsigned>(std::countr_one(queued_));
        if (queues ? tag >= disk_.tags() : queued_ != 0) return;
        line_start_ = (line_start_ + 1) % slots;
        line_length_--;
        queues ? give_queued(w, tag) : give_alone(w);
    }
}

void queue::give_queued(const waiting& w, unsigned tag) noexcept {
    const block::request& r = request_in(w.slot);
    const bool writes = r.what == block::operation::write;
    fill(tag, w.segments, writes);
    const unsigned shift = disk_.sector_shift();
    register_fis f = make_queued_fis(writes ? ata_write_queued : ata_read_queued, r.sector >> shift,
                                     static_cast<k::u32>(r.length() >> shift), tag);
    if (r.durable) f.device |= device_force_access;
    table(tag).fis = f;
    queued_ |= k::u32{1} << tag;
    slot_of_[tag] = w.slot;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    disk_.write(port_active, k::u32{1} << tag);
    disk_.write(port_issue, k::u32{1} << tag);
}

void queue::give_alone(const waiting& w) noexcept {
    const block::request& r = request_in(w.slot);
    const unsigned shift = disk_.sector_shift();
    const k::u64 first = r.sector >> shift, count = r.length() >> shift;
    register_fis f;
    if (r.what == block::operation::flush) {
        fill(0, {}, false);
        f = make_fis(ata_flush, 0, 0);
    } else if (r.what == block::operation::discard) {
        k::u64 ranges[ranges_a_block] = {};
        for (k::u64 i = 0, done = 0; done < count; i++) {
            const k::u64 part = std::min(count - done, most_range);
            ranges[i] = (first + done) | part << 48;
            done += part;
        }
        std::memcpy(ranges_.data(), ranges, sizeof(ranges));
        const busdma::segment all{ranges_.address(), sizeof(ranges)};
        fill(0, {&all, 1}, true);
        f = make_fis(ata_manage_data, 0, 1);
        f.features = 1; // trim
    } else {
        const bool writes = r.what == block::operation::write;
        fill(0, w.segments, writes);
        f = make_fis(!writes ? ata_read : r.durable ? ata_write_through : ata_write, first, static_cast<k::u32>(count));
    }
    table(0).fis = f;
    lone_ = w.slot;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    disk_.write(port_issue, 1);
}

// What waits in line has used up no try, nor have commands beside the one that failed.
block::request_queue::fate queue::fate_of(unsigned slot) const noexcept {
    if (failed_ != none) return slot == failed_ ? fate::failed : fate::untouched;
    for (unsigned i = 0; i < line_length_; i++)
        if (line_[(line_start_ + i) % slots].slot == slot) return fate::untouched;
    return fate::tried;
}

bool queue::note_failed(unsigned tag) noexcept {
    if (!(queued_ >> tag & 1)) return false;
    failed_ = slot_of_[tag];
    return true;
}

// --- And back

void queue::halt(std::string_view why) noexcept {
    halted_ = true;
    of().ask_for_recovery(why);
}

void queue::take_answers() noexcept {
    const k::u32 causes = disk_.read(port_interrupts);
    if (causes == gone) return halt("it is gone");
    disk_.write(port_interrupts, causes); // before looking: what comes later interrupts again
    disk_.write(port_error, disk_.read(port_error) & (causes & cause_plugged ? ~k::u32{0} : 0));
    const k::u32 task = disk_.read(port_task_file);
    const bool error = causes & cause_task_file || task & (task_error | task_fault);
    if (queued_) take_queued(error);
    if (lone_ != none) take_lone(error);
    if (causes & cause_plugged) return halt("its link changed");
    if (causes & (cause_fatal | cause_overflow | cause_unknown_fis)) return halt("its link failed");
    give_what_can_go();
}

// A tag is done when the device has taken its bit out of both registers. After an error those that are still there were
// not done, or are the one that failed (disk::look_into_failure).
void queue::take_queued(bool error) noexcept {
    const k::u32 active = disk_.read(port_active) | disk_.read(port_issue);
    if (active == gone && queued_ != gone && disk_.read(port_command) == gone) return halt("it is gone");
    if (active & ~queued_) return halt("it has commands that nobody gave it");
    for (k::u32 done = queued_ & ~active; done; done &= done - 1) {
        const auto tag = static_cast<unsigned>(std::countr_zero(done));
        queued_ &= ~(k::u32{1} << tag);
        answered(slot_of_[tag], {});
    }
    if (!error) return;
    of().note_success(); // it tells of errors: it works
    queued_error_ = true;
    halt("an error among queued commands");
}

void queue::take_lone(bool error) noexcept {
    if (!error && disk_.read(port_issue) & 1) return;
    const unsigned slot = std::exchange(lone_, none);
    if (!error) return answered(slot, lone_outcome(request_in(slot)));
    answered(slot, k::error::io);
    of().note_success();
    halt("an error");
}

// The device must have said that it is done, and have moved all bytes of a read.
k::status queue::lone_outcome(const block::request& r) const noexcept {
    const k::u32 moved = std::atomic_ref(list_[0].moved).load(std::memory_order_acquire);
    const bool heard = received_[received_register] == std::byte{type_from_device};
    const bool all = r.what != block::operation::read || moved == r.bytes();
    return heard && all ? k::status() : k::status(k::error::io);
}

k::status queue::run_alone(ata_command what, arch::paddr to, k::u32 bytes, k::u64 first, k::u32 count) noexcept {
    const busdma::segment all{to, bytes};
    fill(0, {&all, 1}, false);
    table(0).fis = make_fis(what, first, count);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    disk_.write(port_issue, 1);
    const ktime::ns deadline = ktime::after(std::min<ktime::ns>(disk_.timeout_ns(), 5 * ktime::second));
    while (disk_.read(port_issue) & 1) {
        if (ktime::now() > deadline || disk_.read(port_interrupts) & (cause_task_file | cause_fatal))
            return k::error::io;
        lwkt::sleep_for(100 * ktime::microsecond);
    }
    const bool failed = disk_.read(port_task_file) & (task_error | task_fault);
    return failed || list_[0].moved != bytes ? k::status(k::error::io) : k::status();
}

} // namespace ahci
