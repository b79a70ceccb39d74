#include "arch/common/dmar.h"

#include "arch/common/table_field.h"
#include "kernel/lib/log.h"

#include <algorithm>

namespace arch {

constinit dmar_contents machine_dmar; // the port fills it in before constructors run

namespace {

using bytes = std::span<const std::byte>;
using k::u16, k::u64, k::u8;

constexpr std::size_t header_bytes = 48;
constexpr u16 type_unit = 0, type_reserved = 1;
constexpr u8 serves_all = 1;
constexpr std::size_t unit_bytes = 16, reserved_bytes = 24, scope_bytes = 6;
constexpr u8 scope_function = 1, scope_bridge = 2;
constexpr u64 most_reserved = u64{1} << 30; // bytes of one region; of a screen it may be many

void add_unit(dmar_contents& to, bytes entry) {
    const iommu_unit found{field<u64>(entry, 8), field<u16>(entry, 6), (field<u8>(entry, 4) & serves_all) != 0};
    const bool sound = entry.size() >= unit_bytes && bus::is_device_memory(found.registers, page_size) &&
                       found.registers % page_size == 0;
    if (sound && to.unit_count < to.units.size()) to.units[to.unit_count++] = found;
}

// False: the scope tells of nothing that we know.
bool read_scope(bytes scope, device_path& to) {
    const u8 type = field<u8>(scope, 0);
    const std::size_t steps = (scope.size() - scope_bytes) / 2;
    if ((type != scope_function && type != scope_bridge) || !steps || steps > device_path::most_steps) return false;
    to = {field<u8>(scope, 5), static_cast<u8>(steps), {}, type == scope_bridge};
    for (std::size_t i = 0; i < steps; i++) {
        to.steps[i] = {field<u8>(scope, scope_bytes + 2 * i), field<u8>(scope, scope_bytes + 2 * i + 1)};
        if (to.steps[i].slot >= 32 || to.steps[i].function >= 8) return false;
    }
    return true;
}

// A range that is RAM, or that is no range, is believed for nobody: a device would reach what the kernel keeps there.
void add_reserved(dmar_contents& to, bytes entry) {
    const u64 base = field<u64>(entry, 8), last = field<u64>(entry, 16);
    const u64 size = last - base + 1;
    if (entry.size() < reserved_bytes || base > last || size > most_reserved || base % page_size || size % page_size ||
        !bus::is_device_memory(base, size)) {
        k::log("acpi: reserved memory from {:x} to {:x} makes no sense, ignored\n", base, last);
        return;
    }
    for (bytes rest = entry.subspan(reserved_bytes); rest.size() >= scope_bytes;) {
        const u8 length = field<u8>(rest, 1);
        if (length < scope_bytes || length > rest.size()) {
            k::log("acpi: device scope of bad length {}; the rest is ignored\n", length);
            return;
        }
        reserved_memory found{{base, size}, field<u16>(entry, 6), {}};
        if (read_scope(rest.first(length), found.who) && to.reserved_count < to.reserved.size())
            to.reserved[to.reserved_count++] = found;
        rest = rest.subspan(length);
    }
}

// A firmware may list a unit's devices one by one instead of saying that it serves all (QEMU's does). A unit that is
// alone in its segment is taken to serve all of it: what it does not stand before sees physical addresses, as without
// it.
void let_lone_units_serve_all(dmar_contents& in) {
    const auto units = std::span(in.units).first(in.unit_count);
    for (iommu_unit& u : units)
        if (std::ranges::count(units, u.segment, &iommu_unit::segment) == 1) u.serves_all = true;
}

} // namespace

dmar_contents parse_dmar(bytes table) noexcept {
    dmar_contents found;
    bytes rest = table.subspan(std::min(header_bytes, table.size()));
    while (rest.size() >= 4) {
        const u16 type = field<u16>(rest, 0), length = field<u16>(rest, 2);
        if (length < 4 || length > rest.size()) {
            k::log("acpi: DMAR entry of bad length {}; the rest is ignored\n", length);
            break;
        }
        if (type == type_unit) add_unit(found, rest.first(length));
        if (type == type_reserved) add_reserved(found, rest.first(length));
        rest = rest.subspan(length);
    }
    let_lone_units_serve_all(found);
    return found;
}

} // namespace arch
