#include "drivers/pci/hot_plug.h"

#include "kernel/lib/log.h"
#include "kernel/lwkt/thread.h"
#include "kernel/time/callout.h"

namespace pci {

namespace {

// The capability (7.5.3): what the port is, what its slot can do, is told, and tells.
constexpr unsigned express_bytes = 0x1c, port_flags = 0x02, slot_can = 0x14, slot_control = 0x18, slot_status = 0x1a;
constexpr k::u32 has_slot = 1u << 8, can_hot_plug = 1u << 6;
constexpr k::u32 power_off = 1u << 10, power_light = 3u << 8;
constexpr k::u32 button_pressed = 1, presence_changed = 1u << 3, link_changed = 1u << 8, is_present = 1u << 6;
constexpr k::u32 nothing_answers = 0xffff;

constexpr ktime::ns between_looks = 250 * ktime::millisecond, patience = ktime::second;
constexpr unsigned most_slots = 32;

std::atomic<bool> tears_out = false;

struct slot {
    const function* port = nullptr;
    unsigned capability = 0;
    std::span<function* const> functions;
    k::u8 first_bus = 0, last_bus = 0; // behind it

    k::u32 status() const noexcept { return port->read(capability + slot_status, 2); }

    // Also what is behind bridges behind it.
    void tell_drivers(bool gone) const noexcept {
        for (function* f : functions)
            if (f->at.segment == port->at.segment && f->at.bus >= first_bus && f->at.bus <= last_bus) f->let_go(gone);
    }
    bool switch_off() const noexcept {
        const k::u32 control = port->read(capability + slot_control, 2);
        port->write(capability + slot_control, 2, control | power_off | power_light);
        const ktime::ns deadline = ktime::after(patience);
        while (status() & is_present) {
            if (ktime::now() > deadline) return false;
            lwkt::sleep_for(ktime::millisecond);
        }
        return true;
    }
    void eject() const noexcept {
        k::log("pci {:02X}:{:02X}.{}: asked to let go of what is on bus {:02X}\n", port->at.bus, port->at.slot,
               port->at.function, first_bus);
        if (!tears_out.load(std::memory_order_relaxed)) tell_drivers(false);
        if (!switch_off()) return k::log("pci: the slot does not switch off\n");
        tell_drivers(true);
    }
    // False: it is empty, and nobody need look again.
    bool look() const noexcept {
        const k::u32 s = status();
        if (s == nothing_answers) return true; // a port that is asleep, or gone itself
        if (const k::u32 news = s & (button_pressed | presence_changed | link_changed))
            port->write(capability + slot_status, 2, news); // written as ones to clear, and no others
        if (s & is_present && s & button_pressed) eject();
        if (status() & is_present) return true;
        tell_drivers(true);
        return false;
    }
};

slot slots[most_slots];
unsigned slot_count;

void watch(void*) noexcept {
    while (slot_count) {
        lwkt::sleep_for(between_looks);
        for (unsigned i = 0; i < slot_count; i++)
            if (!slots[i].look()) slots[i--] = slots[--slot_count];
    }
}

} // namespace

void tear_out_when_asked() noexcept {
    tears_out.store(true, std::memory_order_relaxed);
}

k::status start_watching_slots(std::span<function* const> functions) noexcept {
    for (const function* f : functions) {
        if (!f->is_bridge() || slot_count == most_slots) continue;
        const unsigned place = f->find_capability(capability_express, 0, express_bytes);
        if (!place || !(f->read(place + port_flags, 2) & has_slot)) continue;
        if (!(f->read(place + slot_can, 4) & can_hot_plug)) continue;
        const auto first = static_cast<k::u8>(f->read(reg_secondary_bus, 1));
        const auto last = static_cast<k::u8>(f->read(reg_last_bus, 1));
        if (first <= f->at.bus || last < first) continue;
        const slot s{f, place, functions, first, last};
        if (s.status() != nothing_answers && s.status() & is_present) slots[slot_count++] = s;
    }
    return slot_count ? lwkt::spawn("pci slots", 0, lwkt::normal_priority, watch, nullptr) : k::status();
}

} // namespace pci
