#include "drivers/ahci/host.h"

#include "drivers/block/request_queue.h"
#include "kernel/lwkt/thread.h"

#include <bit>

namespace ahci {

namespace {

constexpr k::u32 gone = ~k::u32{0};
// Capabilities (3.1.1, 3.1.10), control (3.1.2), hand-off (3.1.11).
constexpr k::u32 can_64_bits = 1u << 31, can_queue = 1u << 30;
constexpr k::u32 can_hand_off = 1;
constexpr k::u32 control_reset = 1, control_interrupts = 2, control_is_ahci = 1u << 31;
constexpr k::u32 firmware_owns = 1, system_owns = 2, firmware_busy = 1u << 4;

} // namespace

k::result<k::ref<host>> host::create(mem::box<host_port> bus, unsigned cpu) noexcept {
    auto* raw = mem::make<host>(std::move(bus), cpu);
    if (!raw) return k::error::nomem;
    k::ref<host> made(raw);
    TRY(raw->take_over());
    TRY(raw->reset());
    TRY(raw->bus_->connect(cpu, interrupted, raw));
    raw->bus_->write(reg_control, control_is_ahci | control_interrupts);
    return made;
}

void host::last_holder_left() noexcept {
    bus_->write(reg_control, control_is_ahci);
    bus_->disconnect();
    mem::destroy(this);
}

template <class Done> bool host::wait_for(Done done, k::u64 patience_ns) noexcept {
    const ktime::ns deadline = ktime::after(patience_ns);
    while (!done()) {
        if (ktime::now() > deadline) return false;
        lwkt::sleep_for(ktime::millisecond);
    }
    return true;
}

// From a firmware that uses it (10.6.3). One that does not let go is overruled by the reset.
k::status host::take_over() noexcept {
    if (bus_->size() < first_port + port_bytes || bus_->read(reg_capabilities) == gone) return k::error::opnotsupp;
    if (!(bus_->read(reg_more_capabilities) & can_hand_off)) return {};
    bus_->write(reg_handoff, bus_->read(reg_handoff) | system_owns);
    const auto is_ours = [&] { return !(bus_->read(reg_handoff) & firmware_owns); };
    if (wait_for(is_ours, 25 * ktime::millisecond)) return {};
    if (bus_->read(reg_handoff) & firmware_busy) (void)wait_for(is_ours, 2 * ktime::second);
    return {};
}

// 10.4.3. All ports are idle after it, and touch no memory.
k::status host::reset() noexcept {
    bus_->write(reg_control, control_is_ahci);
    bus_->write(reg_control, control_is_ahci | control_reset);
    const auto is_reset = [&] { return !(bus_->read(reg_control) & control_reset); };
    if (!wait_for(is_reset, ktime::second)) return k::error::io;
    bus_->write(reg_control, control_is_ahci);
    const k::u32 can = bus_->read(reg_capabilities);
    if (can == gone) return k::error::io;
    slots_ = (can >> 8 & 31) + 1;
    has_queuing_ = can & can_queue;
    address_bits_ = can & can_64_bits ? 64 : 32;
    // Ports beyond those whose registers there are, or more than it says it has, are none of ours.
    const std::size_t there = (bus_->size() - first_port) / port_bytes;
    ports_ = bus_->read(reg_ports);
    if (there < most_ports) ports_ &= (k::u32{1} << there) - 1;
    return ports_ ? k::status() : k::status(k::error::opnotsupp);
}

void host::set_queue(unsigned port, block::request_queue* q) noexcept {
    const unsigned home = lwkt::self().home.load(std::memory_order_relaxed);
    if (!lwkt::hand_over(cpu_)) k::panic("a running CPU takes no thread");
    {
        lwkt::critical section;
        queues_[port] = q;
    }
    (void)lwkt::hand_over(home);
}

// A message comes when the first port has something to say: all are asked, and again until none has anything.
void host::interrupted(void* argument) {
    auto& self = *static_cast<host*>(argument);
    constexpr unsigned most_rounds = 4; // a controller that goes on for ever is heard again later, or never
    for (unsigned round = 0; round < most_rounds; round++) {
        const k::u32 who = self.bus_->read(reg_interrupts);
        if (!who || who == gone) return;
        for (k::u32 left = who & self.ports_; left; left &= left - 1)
            if (block::request_queue* q = self.queues_[std::countr_zero(left)]) block::request_queue::interrupted(q);
        self.bus_->write(reg_interrupts, who);
    }
}

} // namespace ahci
