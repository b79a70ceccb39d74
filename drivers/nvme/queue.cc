#include "drivers/nvme/queue.h"

#include <cstring>

namespace nvme {

namespace {
enum io_opcode : k::u8 { io_flush = 0, io_write = 1, io_read = 2, io_manage = 9 };
constexpr k::u32 force_unit_access = 1u << 30, deallocate = 1u << 2;

struct discard_range {
    k::u32 attributes, blocks;
    k::u64 first;
};
} // namespace

k::status queue::create(const busdma::tag& t, unsigned number) noexcept {
    TRY(ring_.create(t, disk_.bus(), number, disk_.doorbell_bytes()));
    pages_ = TRY(busdma::memory::create(t, slots * arch::page_size));
    return make_slots(t, disk_.bounce_pages());
}

// Two pages stand in the command; of more, the second and all that follow stand in a list (4.3).
void queue::point_to(command& c, unsigned slot, std::span<const busdma::segment> segments) noexcept {
    if (!segments.empty()) c.pages[0] = segments[0].address;
    if (segments.size() == 2) c.pages[1] = segments[1].address;
    if (segments.size() <= 2) return;
    auto* list = reinterpret_cast<k::u64*>(page_of(slot));
    for (const busdma::segment& s : segments.subspan(1))
        *list++ = s.address;
    c.pages[1] = page_address(slot);
}

// One descriptor stands in the command; more in a list, which that of the command tells of (4.4).
void queue::describe(command& c, unsigned slot, std::span<const busdma::segment> segments) noexcept {
    const auto one = [](arch::paddr address, k::u64 bytes, k::u8 type) {
        return descriptor{address, static_cast<k::u32>(bytes), {}, type};
    };
    descriptor first = one(segments[0].address, segments[0].bytes, descriptor_of_data);
    if (segments.size() > 1) {
        auto* list = reinterpret_cast<descriptor*>(page_of(slot));
        for (const busdma::segment& s : segments)
            *list++ = one(s.address, s.bytes, descriptor_of_data);
        first = one(page_address(slot), segments.size() * sizeof(descriptor), descriptor_of_list);
    }
    c.flags = has_descriptor;
    std::memcpy(c.pages, &first, sizeof(first));
}

void queue::issue(unsigned slot, const block::request& r, std::span<const busdma::segment> segments) noexcept {
    command c{};
    c.id = static_cast<k::u16>(slot);
    c.name_space = disk_.name_space();
    const k::u64 first = r.sector >> disk_.block_shift(), blocks = r.length() >> disk_.block_shift();
    switch (r.what) {
    case block::operation::flush: c.opcode = io_flush; break;
    case block::operation::discard: {
        const discard_range range{0, static_cast<k::u32>(blocks), first};
        std::memcpy(page_of(slot), &range, sizeof(range));
        c.opcode = io_manage;
        c.pages[0] = page_address(slot);
        c.words[1] = deallocate;
        break;
    }
    default:
        c.opcode = r.what == block::operation::read ? io_read : io_write;
        disk_.takes_descriptors() ? describe(c, slot, segments) : point_to(c, slot, segments);
        c.words[0] = static_cast<k::u32>(first);
        c.words[1] = static_cast<k::u32>(first >> 32);
        c.words[2] = static_cast<k::u32>(blocks - 1) | (r.durable ? force_unit_access : 0);
    }
    ring_.put(c);
}

void queue::take_answers() noexcept {
    answer a;
    // No more than can be in flight: a device that goes on answering is heard again at the next interrupt, or never.
    for (unsigned n = 0; n < slots && ring_.take(a); n++) {
        if (a.queue != ring_.number() || !is_in_device(a.id)) return of().ask_for_recovery("it answers nonsense");
        answered(a.id, a.code() ? k::status(k::error::io) : k::status());
    }
    ring_.acknowledge();
}

} // namespace nvme
