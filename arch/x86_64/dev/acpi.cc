#include "arch/x86_64/dev/acpi.h"

#include "arch/common/dmar.h"
#include "arch/common/table_field.h"
#include "arch/x86_64/boot/boot_info.h"
#include "arch/x86_64/mm/address_space.h"
#include "arch/x86_64/mm/physical.h"
#include "kernel/lib/log.h"

#include <algorithm>
#include <cstring>

namespace arch::x86 {

acpi_tables acpi;

namespace {

constexpr std::size_t header_size = 36;
constexpr u32 largest_table = 1u << 22;

using bytes = std::span<const std::byte>;

u8 sum_of(bytes data) {
    u8 sum = 0;
    for (std::byte b : data)
        sum = static_cast<u8>(sum + static_cast<u8>(b));
    return sum;
}

const std::byte* map_table(paddr pa, u64 size) {
    if (ram.contains(pa, size)) return static_cast<const std::byte*>(memory::direct(pa));
    return static_cast<const std::byte*>(map_device(pa, size, device_memory::tables));
}

// The whole table at `pa`, empty if it is not sound. `name` may be empty: any.
bytes open_table(paddr pa, std::string_view name) {
    const std::byte* head = pa ? map_table(pa, header_size) : nullptr;
    if (!head) return {};
    const std::string_view found(reinterpret_cast<const char*>(head), 4);
    if (!name.empty() && found != name) return {};
    const u32 length = field<u32>({head, header_size}, 4);
    if (length < header_size || length > largest_table) {
        k::log("acpi: table at {:x} of bad length {} ignored\n", pa, length);
        return {};
    }
    const std::byte* all = map_table(pa, length);
    if (!all) return {};
    if (sum_of({all, length}) != 0) {
        k::log("acpi: table at {:x} with a bad checksum ignored\n", pa);
        return {};
    }
    return {all, length};
}

void add_cpu(u32 apic_id, u32 flags) {
    if (!(flags & 1)) return;
    const auto known = std::span(acpi.apic_ids).first(acpi.cpu_count);
    if (std::ranges::find(known, apic_id) != known.end()) return;
    if (acpi.cpu_count == max_cpus) {
        k::log("acpi: more than {} CPUs; APIC {} stays off\n", max_cpus, apic_id);
        return;
    }
    acpi.apic_ids[acpi.cpu_count++] = apic_id;
}

void add_override(bytes entry) {
    const u8 bus = field<u8>(entry, 2), source = field<u8>(entry, 3);
    const u16 flags = field<u16>(entry, 8);
    if (bus != 0 || source >= acpi.isa.size()) return;
    // Polarity in bits 0-1, trigger in bits 2-3: 3 says low and level; the bus's own way is high and edge.
    acpi.isa[source] = {field<u32>(entry, 4), (flags & 3) == 3, (flags >> 2 & 3) == 3};
}

void read_madt(bytes table) {
    acpi.lapic_address = field<u32>(table, 36);
    bytes rest = table.subspan(std::min<std::size_t>(44, table.size()));
    while (rest.size() >= 2) {
        const u8 type = field<u8>(rest, 0), length = field<u8>(rest, 1);
        if (length < 2 || length > rest.size()) {
            k::log("acpi: MADT entry of bad length {}; the rest is ignored\n", length);
            return;
        }
        const bytes entry = rest.first(length);
        switch (type) {
        case 0: add_cpu(field<u8>(entry, 3), field<u32>(entry, 4)); break;
        case 1:
            if (acpi.ioapic_count < acpi.ioapics.size())
                acpi.ioapics[acpi.ioapic_count++] = {field<u32>(entry, 4), field<u32>(entry, 8)};
            break;
        case 2: add_override(entry); break;
        case 5: acpi.lapic_address = field<u64>(entry, 4); break;
        case 9: add_cpu(field<u32>(entry, 4), field<u32>(entry, 8)); break;
        }
        rest = rest.subspan(length);
    }
}

// \_S5 = Package { a, b, ... }: the values that the sleep type fields take for soft off.
void read_soft_off(bytes dsdt) {
    constexpr std::string_view name("_S5_\x12", 5);
    const std::string_view text(reinterpret_cast<const char*>(dsdt.data()), dsdt.size());
    const std::size_t at = text.find(name);
    if (at == std::string_view::npos) return;
    std::size_t offset = at + name.size();
    offset += 1 + (field<u8>(dsdt, offset) >> 6); // the package's length
    offset += 1;                                  // its count of elements
    auto next_value = [&] {
        if (field<u8>(dsdt, offset) == 0x0a) offset++; // byte prefix; else 0 or 1 stand for themselves
        return field<u8>(dsdt, offset++);
    };
    acpi.soft_off_a = next_value() & 7;
    acpi.soft_off_b = next_value() & 7;
    acpi.has_soft_off = offset <= dsdt.size();
}

void read_fadt(bytes table) {
    const u32 flags = field<u32>(table, 112);
    acpi.pm_timer_port = field<u8>(table, 91) == 4 ? static_cast<u16>(field<u32>(table, 76)) : 0;
    acpi.pm_timer_32_bits = (flags >> 8 & 1) != 0;
    acpi.pm1a_control = static_cast<u16>(field<u32>(table, 64));
    acpi.pm1b_control = static_cast<u16>(field<u32>(table, 68));
    acpi.enable_port = static_cast<u16>(field<u32>(table, 48));
    acpi.enable_value = field<u8>(table, 52);
    const u8 space = field<u8>(table, 116);
    if ((flags >> 10 & 1) && space <= 1) {
        acpi.reset_in_memory = space == 0;
        acpi.reset_address = field<u64>(table, 120);
        acpi.reset_value = field<u8>(table, 128);
        if (acpi.reset_in_memory)
            acpi.reset_register =
                static_cast<volatile u8*>(map_device(acpi.reset_address, 1, device_memory::registers));
        acpi.has_reset = !acpi.reset_in_memory || acpi.reset_register;
    }
    const u64 dsdt = field<u64>(table, 140) ? field<u64>(table, 140) : field<u32>(table, 40);
    read_soft_off(open_table(dsdt, "DSDT"));
}

void read_hpet(bytes table) {
    if (field<u8>(table, 40) == 0) acpi.hpet_address = field<u64>(table, 44);
}

void read_mcfg(bytes table) {
    constexpr std::size_t first = 44, size = 16;
    for (std::size_t at = first; at + size <= table.size(); at += size) {
        const pci_window found{field<u64>(table, at), field<u16>(table, at + 8), field<u8>(table, at + 10),
                               field<u8>(table, at + 11)};
        const u64 bytes = (u64{found.last_bus} - found.first_bus + 1) << 20;
        // The window's place is that of bus 0, wherever its first bus is.
        const paddr base = found.base + (u64{found.first_bus} << 20);
        if (found.first_bus > found.last_bus || base < found.base || !bus::is_device_memory(base, bytes)) {
            k::log("acpi: PCI window at {:x} makes no sense, ignored\n", found.base);
            continue;
        }
        if (acpi.pci_window_count == acpi.pci_windows.size()) return;
        acpi.pci_windows[acpi.pci_window_count++] = {base, found.segment, found.first_bus, found.last_bus};
    }
}

void read_table(paddr pa) {
    const bytes table = open_table(pa, {});
    if (table.empty()) return;
    const std::string_view name(reinterpret_cast<const char*>(table.data()), 4);
    if (name == "APIC") read_madt(table);
    if (name == "FACP") read_fadt(table);
    if (name == "HPET") read_hpet(table);
    if (name == "MCFG") read_mcfg(table);
    if (name == "DMAR") machine_dmar = parse_dmar(table);
}

void read_root() {
    const bytes root(reinterpret_cast<const std::byte*>(loaded.rsdp.data()), loaded.rsdp_length);
    if (root.size() < 20 || std::memcmp(root.data(), "RSD PTR ", 8) != 0 || sum_of(root.first(20)) != 0) {
        k::log("acpi: no root pointer: one CPU\n");
        return;
    }
    const bool extended = field<u8>(root, 15) >= 2 && root.size() >= 36 && sum_of(root.first(36)) == 0;
    bytes list;
    std::size_t width = 8;
    if (extended) list = open_table(field<u64>(root, 24), "XSDT");
    if (list.empty()) {
        list = open_table(field<u32>(root, 16), "RSDT");
        width = 4;
    }
    for (std::size_t at = header_size; at + width <= list.size(); at += width)
        read_table(width == 8 ? field<u64>(list, at) : field<u32>(list, at));
}

} // namespace

void read_acpi() {
    for (u32 irq = 0; irq < acpi.isa.size(); irq++)
        acpi.isa[irq] = {irq, false, false};
    read_root();
}

} // namespace arch::x86
