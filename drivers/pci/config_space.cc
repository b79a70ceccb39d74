#include "drivers/pci/config_space.h"

#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/kernel_space.h"

namespace pci {

namespace {

constexpr unsigned express_bytes = 4096, conventional_bytes = 256;
constexpr std::size_t bus_bytes = std::size_t{slots_per_bus} * functions_per_slot * express_bytes;

// Each bus is mapped when it is first looked at, and stays.
class windows_in_memory final : public config_space {
  public:
    k::u32 read(address at, unsigned offset, unsigned width) noexcept override {
        const auto* bus = bus_of(at);
        if (!bus || offset + width > express_bytes) return ~k::u32{0};
        const std::size_t place = place_of(at) + offset;
        if (width == 1) return bus->at<k::u8>(place);
        if (width == 2) return bus->at<k::u16>(place);
        return bus->at<k::u32>(place);
    }
    void write(address at, unsigned offset, unsigned width, k::u32 value) noexcept override {
        const auto* bus = bus_of(at);
        if (!bus || offset + width > express_bytes) return;
        const std::size_t place = place_of(at) + offset;
        if (width == 1) bus->at<k::u8>(place) = static_cast<k::u8>(value);
        if (width == 2) bus->at<k::u16>(place) = static_cast<k::u16>(value);
        if (width == 4) bus->at<k::u32>(place) = value;
    }

  private:
    struct mapped_bus {
        k::u16 segment;
        k::u8 number;
        mem::register_window window;
    };
    static constexpr unsigned most_buses = 64; // more than any machine that was seen

    static std::size_t place_of(address at) {
        return (std::size_t{at.slot} * functions_per_slot + at.function) * express_bytes;
    }
    const mem::register_window* bus_of(address at) noexcept {
        for (const mapped_bus& b : std::span(buses_).first(count_))
            if (b.segment == at.segment && b.number == at.bus) return &b.window;
        for (const arch::pci_window& w : arch::bus::pci_windows()) {
            if (w.segment != at.segment || at.bus < w.first_bus || at.bus > w.last_bus) continue;
            if (count_ == most_buses) return nullptr;
            auto window = mem::register_window::create(w.base + (at.bus - w.first_bus) * bus_bytes, bus_bytes);
            if (!window) return nullptr;
            buses_[count_] = {at.segment, at.bus, *std::move(window)};
            return &buses_[count_++].window;
        }
        return nullptr;
    }

    mapped_bus buses_[most_buses];
    unsigned count_ = 0;
};

class two_ports final : public config_space {
  public:
    k::u32 read(address at, unsigned offset, unsigned width) noexcept override {
        if (at.segment || offset + width > conventional_bytes) return ~k::u32{0};
        lwkt::spin_guard guard(lock_);
        choose(at, offset);
        return arch::bus::read_port(static_cast<k::u16>(data + offset % 4), width);
    }
    void write(address at, unsigned offset, unsigned width, k::u32 value) noexcept override {
        if (at.segment || offset + width > conventional_bytes) return;
        lwkt::spin_guard guard(lock_);
        choose(at, offset);
        arch::bus::write_port(static_cast<k::u16>(data + offset % 4), width, value);
    }

  private:
    static constexpr k::u16 chooser = 0xcf8, data = 0xcfc;

    void choose(address at, unsigned offset) noexcept {
        const k::u32 word =
            k::u32{1} << 31 | k::u32{at.bus} << 16 | k::u32{at.slot} << 11 | k::u32{at.function} << 8 | (offset & 0xfc);
        arch::bus::write_port(chooser, 4, word);
    }
    lwkt::spinlock lock_;
};

alignas(windows_in_memory) std::byte windows_storage[sizeof(windows_in_memory)];
alignas(two_ports) std::byte ports_storage[sizeof(two_ports)];

} // namespace

config_space* machine_space() noexcept {
    static config_space* space;
    if (space) return space;
    if (!arch::bus::pci_windows().empty())
        space = new (windows_storage) windows_in_memory;
    else if (arch::bus::has_ports())
        space = new (ports_storage) two_ports;
    return space;
}

std::span<const arch::pci_window> machine_buses() noexcept {
    static constexpr arch::pci_window by_ports[] = {{0, 0, 0, 255}};
    if (!arch::bus::pci_windows().empty()) return arch::bus::pci_windows();
    return arch::bus::has_ports() ? std::span<const arch::pci_window>(by_ports) : std::span<const arch::pci_window>();
}

} // namespace pci
