#include "drivers/iommu/reserved.h"

#include "kernel/lib/log.h"
#include "kernel/lwkt/critical.h"

#include <optional>

namespace iommu {

namespace {

// Of a bridge's configuration (PCI-to-PCI Bridge 1.2, 3.2).
constexpr unsigned reg_header_type = 0x0e, reg_secondary_bus = 0x19, reg_last_bus = 0x1a;
constexpr k::u32 kind_mask = 0x7f, kind_bridge = 1;

struct buses {
    k::u8 first, last;
};

// What is behind a bridge has a higher number; none: it is no bridge.
std::optional<buses> behind(pci::config_space& space, pci::address bridge) {
    if ((space.read(bridge, reg_header_type, 1) & kind_mask) != kind_bridge) return {};
    const k::u32 first = space.read(bridge, reg_secondary_bus, 1), last = space.read(bridge, reg_last_bus, 1);
    if (first <= bridge.bus || last < first || last > 255) return {};
    return buses{static_cast<k::u8>(first), static_cast<k::u8>(last)};
}

} // namespace

bool leads_to(const arch::device_path& path, k::u16 segment, pci::config_space& space, pci::address at) noexcept {
    if (at.segment != segment || !path.count) return false;
    k::u8 bus = path.first_bus;
    for (unsigned i = 0;; i++) {
        const pci::address here{segment, bus, path.steps[i].slot, path.steps[i].function};
        const bool is_last = i + 1u == path.count;
        if (is_last && here == at) return true;
        if (is_last && !path.covers_all_behind) return false;
        const auto next = behind(space, here);
        if (!next) return false;
        if (is_last) return at.bus >= next->first && at.bus <= next->last;
        bus = next->first;
    }
}

k::status open_reserved(domain& d, pci::address at, pci::config_space& space,
                        std::span<const arch::reserved_memory> all) noexcept {
    for (const arch::reserved_memory& r : all) {
        if (!leads_to(r.who, r.segment, space, at)) continue;
        const k::status done = d.reserve(r.where.base, r.where.size);
        if (!done && done.error() == k::error::nomem) return done;
        k::log("iommu: {}: memory at {:x} is reserved for it{}\n", d.name(), r.where.base,
               done ? "" : ", but out of reach");
        if (!done) continue;
        const xio::segment whole{r.where.base, r.where.size};
        lwkt::critical section;
        d.open({&whole, 1}, access::both);
    }
    return {};
}

} // namespace iommu
