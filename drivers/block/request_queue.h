// What the drivers of disks with queues share: a queue and the CPU that has it. Requests come in there, wait there
// while there is no room, are loaded, timed, and completed there.
//
// Everything but making and destroying it runs on that CPU in a critical section: no lock. A request that takes too
// long, or a device that answers nonsense, ends in a reset of the whole disk (hardware_disk.h); what was in flight is
// tried once more after it, and fails the second time.
#pragma once

#include "drivers/block/disk.h"
#include "drivers/busdma/busdma.h"
#include "kernel/lwkt/interrupt.h"

namespace block {

class hardware_disk;

class request_queue {
  public:
    static constexpr unsigned slots = 32; // requests in flight

    request_queue(hardware_disk& of, unsigned cpu) noexcept;
    virtual ~request_queue();
    request_queue(const request_queue&) = delete;

    unsigned cpu() const noexcept { return cpu_; }
    void submit(request& r) noexcept;
    // Nothing is given to the device from here on / again.
    void pause() noexcept;
    void resume() noexcept;
    // After pause() and a reset: has every request wait to be tried again, or fails it. If the device did not stop all
    // requests fail, and what it may still touch stays in quarantine.
    void collect(bool device_stopped) noexcept;

    // The handler of its interrupt; the argument is the request_queue.
    static void interrupted(void* queue) noexcept;

  protected:
    // Maps for the slots, and bounce pages for them. ENOMEM. Thread context.
    k::status make_slots(const busdma::tag& t, unsigned bounce_pages) noexcept;

    // --- What a driver does with its ring.
    // Gives a request to the device, in a slot that it does not have.
    virtual void issue(unsigned slot, const request& r, std::span<const busdma::segment> segments) noexcept = 0;
    // Calls answered() for all that the device is done with, until it has been asked to interrupt for the next one.
    virtual void take_answers() noexcept = 0;
    // What a reset found of a request that issue() got and nobody answered.
    enum class fate : k::u8 {
        tried,     // it may be what went wrong
        untouched, // it is not: the driver held it back, or the device has named another
        failed,    // it is
    };
    virtual fate fate_of(unsigned) const noexcept { return fate::tried; }

    bool is_in_device(unsigned slot) const noexcept {
        return slot < slots && slots_[slot].state == slot_state::in_device;
    }
    const request& request_in(unsigned slot) const noexcept { return *slots_[slot].r; }
    void answered(unsigned slot, k::status status) noexcept;
    hardware_disk& of() const noexcept { return disk_; }
    bool is_paused() const noexcept { return paused_; }

  private:
    enum class slot_state : k::u8 { free, wants_pages, in_device, quarantined };
    struct slot {
        request* r = nullptr;
        mem::box<busdma::map> map;
        ktime::ns deadline = 0;
        slot_state state = slot_state::free;
        request_queue* in = nullptr;
    };
    struct timer : ktime::callout {
        explicit timer(request_queue& q) noexcept : callout(expired), of(q) {}
        static void expired(callout& c) { static_cast<timer&>(c).of.look_at_the_clock(); }
        request_queue& of;
    };

    static void pages_came(busdma::map& m, void* s) noexcept;
    void start_waiting() noexcept;
    bool begin(request& r) noexcept;
    void give_to_device(slot& s) noexcept;
    void retire(slot& s, k::status status) noexcept;
    void look_at_the_clock() noexcept;
    void fail_later(request& r) noexcept;
    void fail_all(request_list& which) noexcept;

    hardware_disk& disk_;
    const unsigned cpu_;
    mem::box<busdma::bounce_pool> pool_;
    slot slots_[slots];
    bool paused_ = true;
    request_list waiting_;
    request_list failed_; // to be completed where one may send
    timer timer_;
};

} // namespace block
