#include "drivers/edu/edu.h"

#include "drivers/edu/driver.h"
#include "kernel/lib/log.h"

namespace edu {

namespace {

enum edu_register : unsigned {
    reg_liveness = 0x04, // reads as the complement of what was written
    reg_interrupt_status = 0x24,
    reg_interrupt_done = 0x64,
    reg_dma_from = 0x80,
    reg_dma_to = 0x88,
    reg_dma_bytes = 0x90,
    reg_dma_command = 0x98,
    register_bytes = 0xa0,
};
constexpr k::u64 command_start = 1, command_to_memory = 2, command_interrupt = 4;
constexpr k::u64 buffer_place = 0x40000; // as the device sees it
constexpr unsigned bounce_pages = 2;

device* first;

bool wants(const pci::function& f) noexcept {
    return f.vendor == 0x1234 && f.device == 0x11e8 && !first;
}

k::status attach(pci::function& f) noexcept {
    auto made = mem::make_box<device>(f);
    if (!made) return k::error::nomem;
    TRY(made->start());
    first = made.release();
    k::log("edu: a device that reaches {} bits of address\n", first->limits().address_bits);
    return {};
}

} // namespace

constinit const pci::driver driver{"edu", wants, attach};

device* device::found() noexcept {
    return first;
}

k::status device::start() noexcept {
    limits_.domain = function_.domain();
    registers_ = TRY(function_.map(0, 0, register_bytes));
    constexpr k::u32 asked = 0x1234'5678;
    registers_.at<k::u32>(reg_liveness) = asked;
    if (registers_.at<k::u32>(reg_liveness) != ~asked) return k::error::nodev;
    pool_ = TRY(busdma::bounce_pool::create(limits_, bounce_pages));
    map_ = TRY(busdma::map::create(limits_, *pool_));
    interrupts_ = TRY(pci::message_interrupts::create(function_));
    return interrupts_.connect(0, 0, interrupted, this);
}

void device::interrupted(void* argument) noexcept {
    auto& self = *static_cast<device*>(argument);
    const k::u32 why = self.registers_.at<k::u32>(reg_interrupt_status);
    self.registers_.at<k::u32>(reg_interrupt_done) = why;
    self.done_.store(true, std::memory_order_release);
    self.waiting_.wake_one();
}

k::status device::put(const xio::source& from) noexcept {
    return transfer(from, false);
}

k::status device::get(const xio::sink& to) noexcept {
    return transfer(to, true);
}

// Tells the device what to copy.
void device::begin(arch::paddr memory, k::u64 bytes, bool to_memory) noexcept {
    done_.store(false, std::memory_order_relaxed);
    registers_.at<k::u64>(reg_dma_from) = to_memory ? buffer_place : memory;
    registers_.at<k::u64>(reg_dma_to) = to_memory ? memory : buffer_place;
    registers_.at<k::u64>(reg_dma_bytes) = bytes;
    registers_.at<k::u64>(reg_dma_command) = command_start | command_interrupt | (to_memory ? command_to_memory : 0);
}

bool device::wait_for_end() noexcept {
    constexpr ktime::ns patience = 5 * ktime::second;
    return waiting_.wait([&] { return done_.load(std::memory_order_acquire); }, ktime::after(patience));
}

template <class Slice> k::status device::transfer(const Slice& what, bool to_memory) noexcept {
    {
        lwkt::critical section;
        kassert(arch::cpu::id() == 0);
        if (const k::status loaded = map_->load(what); !loaded)
            return loaded.error() == k::error::toobig ? k::error::inval : loaded.error();
        map_->sync_for_device();
        const busdma::segment s = map_->segments()[0];
        begin(s.address, s.bytes, to_memory);
    }
    const bool came = wait_for_end();
    lwkt::critical section;
    if (!came) { // it may still write there, for ever
        map_->quarantine();
        return k::error::timedout;
    }
    map_->sync_for_cpu();
    map_->unload();
    return {};
}

bool device::copy_unasked(arch::paddr memory, k::u64 bytes, bool to_memory) noexcept {
    {
        lwkt::critical section;
        begin(memory, bytes, to_memory);
    }
    return wait_for_end();
}

} // namespace edu
