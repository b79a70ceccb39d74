#include "drivers/pci/function.h"

#include "kernel/lib/log.h"

#include <bit>

namespace pci {

namespace {

constexpr unsigned first_capability = 0x40, header_bytes = 256;
constexpr unsigned most_capabilities = (header_bytes - first_capability) / 4;
constexpr k::u16 status_has_capabilities = 1u << 4;
constexpr k::u64 smallest_memory_bar = 16;

// Bits of a base address register (PCI Local Bus 6.2.5.1).
constexpr k::u32 bar_in_ports = 1, bar_type = 6, bar_64_bits = 4;
constexpr k::u32 memory_mask = ~k::u32{15}, port_mask = ~k::u32{3};

} // namespace

function::function(config_space& space, address where) noexcept
    : at(where), vendor(static_cast<k::u16>(space.read(where, reg_vendor, 2))),
      device(static_cast<k::u16>(space.read(where, reg_device, 2))), class_code(space.read(where, reg_class, 4) >> 8),
      space_(space), kind_(0), many_(false) {
    const k::u32 type = read(reg_header_type, 1);
    kind_ = type & 0x7f;
    many_ = type & 0x80;
    if (vendor != nobody && kind_ <= 1) read_bars();
}

void function::change_command(k::u16 on, k::u16 off) const noexcept {
    const k::u32 before = read(reg_command, 2);
    write(reg_command, 2, (before & ~k::u32{off}) | on);
}

void function::read_bars() noexcept {
    const k::u32 before = read(reg_command, 2);
    write(reg_command, 2, before & ~k::u32{command_ports | command_memory});
    const unsigned count = kind_ == 0 ? most_bars : 2;
    for (unsigned index = 0; index < count; index++) {
        bool takes_two = false;
        if (!size_bar(index, takes_two)) bars_[index] = {};
        if (takes_two) index++;
    }
    write(reg_command, 2, before);
}

// Writes ones and looks which bits stay: the lowest of those says the size. False: there is nothing, or nonsense.
bool function::size_bar(unsigned index, bool& takes_two) noexcept {
    const unsigned offset = reg_bars + 4 * index;
    const k::u32 low = read(offset, 4);
    write(offset, 4, ~k::u32{0});
    const k::u32 low_mask = read(offset, 4);
    write(offset, 4, low);
    bar& b = bars_[index];
    if (low_mask == 0 || low_mask == ~k::u32{0}) return false;
    if (low & bar_in_ports) {
        b = {low & port_mask, 0, true};
        b.bytes = k::u32{1} << std::countr_zero(low_mask & port_mask);
        return (low_mask & port_mask) && b.base && b.base + b.bytes <= 0x10000;
    }
    k::u64 base = low & memory_mask, mask = (low_mask & memory_mask) | ~k::u64{0} << 32;
    if ((low & bar_type) == bar_64_bits) {
        if (index + 1 == most_bars) return false;
        takes_two = true;
        const k::u32 high = read(offset + 4, 4);
        write(offset + 4, 4, ~k::u32{0});
        const k::u32 high_mask = read(offset + 4, 4);
        write(offset + 4, 4, high);
        base |= k::u64{high} << 32;
        mask = (low_mask & memory_mask) | k::u64{high_mask} << 32;
    }
    if (!mask || !base) return false; // nobody gave it a place
    b = {base, k::u64{1} << std::countr_zero(mask), false};
    // Above the lowest bit of a real one all are ones, as far as the device has address bits.
    const bool sound =
        b.bytes >= smallest_memory_bar && k::is_aligned(base, b.bytes) && arch::bus::is_device_memory(base, b.bytes);
    if (!sound)
        k::log("pci {:02X}:{:02X}.{}: range {} at {:x} of {} bytes makes no sense, ignored\n", at.bus, at.slot,
               at.function, index, base, b.bytes);
    return sound;
}

unsigned function::find_capability(k::u8 id, unsigned after, unsigned bytes) const noexcept {
    if (!(read(reg_status, 2) & status_has_capabilities)) return 0;
    unsigned place = read(after ? after + 1 : unsigned{reg_capabilities}, 1) & 0xfc;
    // A list longer than there is room for goes round in circles.
    for (unsigned seen = 0; seen < most_capabilities && place >= first_capability; seen++) {
        const k::u32 head = read(place, 2);
        if ((head & 0xff) == id && place + bytes <= header_bytes) return place;
        if (head == 0xffff) return 0; // it has gone
        place = head >> 8 & 0xfc;
    }
    return 0;
}

k::result<mem::register_window> function::map(unsigned index, k::u64 offset, k::u64 bytes) const noexcept {
    if (index >= most_bars) return k::error::inval;
    const bar& b = bars_[index];
    if (b.in_ports || !bytes || offset > b.bytes || bytes > b.bytes - offset) return k::error::inval;
    return mem::register_window::create(b.base + offset, bytes);
}

} // namespace pci
