#include "drivers/pci/bus.h"

#include "drivers/iommu/unit.h"
#include "drivers/pci/hot_plug.h"
#include "kernel/lib/log.h"
#include "kernel/mem/slab.h"

#include <bitset>

namespace pci {

namespace {

using bus_set = std::bitset<256>;

// Bridges nest as deep as there are buses: a list of what is still to be seen instead of recursion.
struct bus_walk {
    config_space& space;
    const arch::pci_window& buses;
    visitor& to;
    bus_set seen{}, waiting{};

    void walk() noexcept {
        waiting.set(buses.first_bus);
        for (unsigned bus = buses.first_bus; bus <= buses.last_bus; bus++) {
            if (!waiting[bus] || seen[bus]) continue;
            seen.set(bus);
            for (unsigned slot = 0; slot < slots_per_bus; slot++)
                visit_slot(static_cast<k::u8>(bus), static_cast<k::u8>(slot));
        }
    }
    void visit_slot(k::u8 bus, k::u8 slot) noexcept {
        for (unsigned number = 0; number < functions_per_slot; number++) {
            const address at{buses.segment, bus, slot, static_cast<k::u8>(number)};
            if (space.read(at, reg_vendor, 2) == nobody) {
                if (number == 0) return;
                continue;
            }
            const k::u32 type = space.read(at, reg_header_type, 1);
            to.visit(at);
            if ((type & 0x7f) == 1) {
                // What is behind a bridge has a higher number: no circle can close.
                const k::u32 behind = space.read(at, reg_secondary_bus, 1);
                if (behind > bus && behind <= buses.last_bus) waiting.set(behind);
            }
            if (number == 0 && !(type & 0x80)) return;
        }
    }
};

constexpr unsigned most_functions = 256;
function* functions[most_functions];
unsigned function_count;

// Two functions that answer to one address: neither can be trusted with it.
void drop_overlaps(function& fresh) noexcept {
    for (unsigned i = 0; i < most_bars; i++) {
        const bar b = fresh.register_bar(i);
        if (!b.bytes || b.in_ports) continue;
        for (function* other : std::span(functions).first(function_count))
            for (unsigned j = 0; j < most_bars; j++) {
                const bar& o = other->register_bar(j);
                if (!o.bytes || o.in_ports || b.base >= o.base + o.bytes || o.base >= b.base + b.bytes) continue;
                k::log("pci {:02X}:{:02X}.{}: range {} is also another's, ignored\n", fresh.at.bus, fresh.at.slot,
                       fresh.at.function, i);
                fresh.forget_bar(i);
            }
    }
}

class finder final : public visitor {
  public:
    explicit finder(config_space& space) noexcept : space_(space) {}
    void visit(address at) noexcept override {
        if (function_count == most_functions) return;
        auto* f = mem::make<function>(space_, at);
        if (!f) return;
        drop_overlaps(*f);
        if (!f->is_bridge()) f->change_command(0, command_bus_master);
        functions[function_count++] = f;
    }

  private:
    config_space& space_;
};

void attach(function& f, std::span<const driver* const> drivers) noexcept {
    for (const driver* d : drivers) {
        if (!d->wants(f)) continue;
        char text[iommu::domain::longest_name];
        k::buffer_sink name(text);
        k::format_to(name, "{} {:02X}:{:02X}.{}", d->name, f.at.bus, f.at.slot, f.at.function);
        auto domain = iommu::attach(f.at, name.view());
        if (domain) f.set_domain(*domain);
        const k::status attached = domain ? d->attach(f) : k::status(domain.error());
        if (attached) return;
        k::log("pci {:02X}:{:02X}.{}: {} does not start: {}\n", f.at.bus, f.at.slot, f.at.function, d->name,
               attached.error());
        f.set_domain(nullptr);
        iommu::detach(f.at);
        return;
    }
}

} // namespace

void for_each_function(config_space& space, const arch::pci_window& buses, visitor& to) noexcept {
    bus_walk{space, buses, to}.walk();
}

void start(std::span<const driver* const> drivers) noexcept {
    config_space* space = machine_space();
    if (!space) return;
    finder found(*space);
    for (const arch::pci_window& buses : machine_buses())
        for_each_function(*space, buses, found);
    k::log("pci: {} functions\n", function_count);
    iommu::start();
    for (function* f : std::span(functions).first(function_count))
        attach(*f, drivers);
    if (!start_watching_slots({functions, function_count})) k::log("pci: no memory to watch slots\n");
}

} // namespace pci
