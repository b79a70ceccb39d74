#include "drivers/virtio_blk/queue.h"

namespace virtio_blk {

namespace {

// Requests (5.2.6) and what the device says of them.
enum request_type : k::u32 { type_in = 0, type_out = 1, type_flush = 4, type_discard = 11 };
enum device_answer : k::u8 { answer_ok = 0, answer_error = 1, answer_unsupported = 2, no_answer = 0xff };
constexpr k::u32 header_bytes = 16, discard_bytes = 16;
constexpr unsigned own_descriptors = 3;

request_type type_of(block::operation what) {
    switch (what) {
    case block::operation::read: return type_in;
    case block::operation::write: return type_out;
    case block::operation::flush: return type_flush;
    default: return type_discard;
    }
}

k::status status_of(k::u8 answer) {
    switch (answer) {
    case answer_ok: return {};
    case answer_unsupported: return k::error::opnotsupp;
    default: return k::error::io;
    }
}

} // namespace

k::status queue::create(const busdma::tag& t) noexcept {
    TRY(ring_.create(t, slots, static_cast<unsigned>(t.segments) + own_descriptors));
    words_ = TRY(busdma::memory::create(t, slots * sizeof(shared_words)));
    return make_slots(t, 0);
}

k::status queue::start_device() noexcept {
    ring_.clear();
    return bus_.start_queue(index_, slots, ring_.place(), cpu(), interrupted, static_cast<request_queue*>(this));
}

void queue::issue(unsigned slot, const block::request& r, std::span<const busdma::segment> segments) noexcept {
    const bool is_flush = r.what == block::operation::flush, is_read = r.what == block::operation::read;
    words(slot) = {type_of(r.what), 0, is_flush ? 0 : r.sector, r.sector, static_cast<k::u32>(r.sectors), 0,
                   no_answer,       {}};
    virtio::queue::chain c = ring_.begin(slot);
    c.add(address_of(slot, offsetof(shared_words, type)), header_bytes, false);
    if (r.what == block::operation::discard)
        c.add(address_of(slot, offsetof(shared_words, discard_sector)), discard_bytes, false);
    for (const busdma::segment& part : segments)
        c.add(part.address, static_cast<k::u32>(part.bytes), is_read);
    c.add(address_of(slot, offsetof(shared_words, status)), 1, true);
    if (ring_.put(slot, c)) bus_.notify(index_);
}

void queue::take_answers() noexcept {
    do {
        virtio::queue::finished done;
        while (ring_.take(done))
            answered(done.place, outcome(done.place, done.bytes));
    } while (!ring_.ask_for_interrupt());
    if (ring_.is_broken()) of().ask_for_recovery("it writes nonsense");
}

// Good data is what the device says that it has written, all of it.
k::status queue::outcome(unsigned slot, k::u32 written) noexcept {
    const k::u8 answer = std::atomic_ref(words(slot).status).load(std::memory_order_acquire);
    const block::request& r = request_in(slot);
    const bool too_little = r.what == block::operation::read && written < r.bytes() + 1;
    if (answer == answer_ok && too_little) return k::error::io;
    return status_of(answer);
}

} // namespace virtio_blk
