#include "drivers/block/hardware_disk.h"

#include "drivers/block/device.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"

namespace block {

namespace {
constexpr unsigned most_resets_in_a_row = 4;
}

unsigned hardware_disk::next_cpu(unsigned& seen) noexcept {
    while (seen < arch::cpu::count())
        if (lwkt::is_running(seen++)) return seen - 1;
    return arch::max_cpus;
}

k::status hardware_disk::begin_work() noexcept {
    ended_ = mem::make<lwkt::completion>();
    if (!ended_) return k::error::nomem;
    const unsigned here = lwkt::self().home.load(std::memory_order_relaxed);
    if (auto thread = lwkt::spawn("disk", here, lwkt::normal_priority, recovery_thread, this); !thread) {
        mem::destroy(std::exchange(ended_, nullptr));
        return thread.error();
    }
    on_each_queue([](request_queue& q) { q.resume(); });
    return {};
}

void hardware_disk::last_holder_left() noexcept {
    if (shut_down()) mem::destroy(this);
}

// Stops the device and the disk's thread: nobody submits any more. False: it does not stop.
bool hardware_disk::shut_down() noexcept {
    if (ended_) {
        ends_.store(true, std::memory_order_release);
        asked_.wake_all();
        (void)ended_->wait();
        mem::destroy(std::exchange(ended_, nullptr));
    }
    on_each_queue([](request_queue& q) { q.pause(); });
    const bool stopped = stop_device();
    dead_.store(true, std::memory_order_release);
    on_each_queue([&](request_queue& q) { q.collect(stopped); });
    return stopped;
}

// --- Requests

void hardware_disk::start(request& r) noexcept {
    request_queue& q = *queues_[r.cpu % queue_count_];
    if (q.cpu() == r.cpu) return q.submit(r);
    lwkt::send(
        q.cpu(),
        [](void* argument) {
            auto& r = *static_cast<request*>(argument);
            auto& d = static_cast<hardware_disk&>(r.of->on());
            d.queues_[r.cpu % d.queue_count_]->submit(r);
        },
        &r);
}

// --- Recovery

// visit(queue) on the queue's CPU, in a critical section. Thread context; ends where it began.
template <class Visit> void hardware_disk::on_each_queue(Visit visit) noexcept {
    const unsigned home = lwkt::self().home.load(std::memory_order_relaxed);
    for (unsigned i = 0; i < queue_count_; i++) {
        if (!lwkt::hand_over(queues_[i]->cpu())) k::panic("a running CPU takes no thread");
        lwkt::critical section;
        visit(*queues_[i]);
    }
    (void)lwkt::hand_over(home);
}

void hardware_disk::ask_for_recovery(std::string_view why) noexcept {
    if (recovery_wanted_.exchange(true, std::memory_order_acq_rel) || is_dead()) return;
    k::log("{} disk: {}: reset\n", driver(), why);
    asked_.wake_all();
}

void hardware_disk::recovery_thread(void* argument) noexcept {
    auto& self = *static_cast<hardware_disk*>(argument);
    for (;;) {
        self.asked_.wait([&] {
            return self.recovery_wanted_.load(std::memory_order_acquire) ||
                   self.leaves_.load(std::memory_order_acquire) || self.ends_.load(std::memory_order_acquire);
        });
        if (self.leaves_.load(std::memory_order_acquire)) {
            self.die();
            self.leaves_.store(false, std::memory_order_release);
            self.left_.wake_all();
        }
        if (self.ends_.load(std::memory_order_acquire)) return self.ended_->signal();
        if (!self.recovery_wanted_.load(std::memory_order_acquire)) continue;
        self.recover();
    }
}

void hardware_disk::leave() noexcept {
    leaves_.store(true, std::memory_order_release);
    asked_.wake_all();
    left_.wait([&] { return !leaves_.load(std::memory_order_acquire); });
}

void hardware_disk::die() noexcept {
    on_each_queue([](request_queue& q) { q.pause(); });
    const bool stopped = stop_device();
    dead_.store(true, std::memory_order_release);
    on_each_queue([&](request_queue& q) { q.collect(stopped); });
}

void hardware_disk::recover() noexcept {
    if (is_dead()) return recovery_wanted_.store(false, std::memory_order_release);
    on_each_queue([](request_queue& q) { q.pause(); });
    const bool stopped = stop_device() && look_into_failure();
    bool good = stopped && resets_in_a_row_.fetch_add(1, std::memory_order_relaxed) < most_resets_in_a_row;
    if (!good) dead_.store(true, std::memory_order_release);
    on_each_queue([&](request_queue& q) { q.collect(stopped); });
    if (good) {
        good = bool(start_device());
        if (!good) dead_.store(true, std::memory_order_release);
    }
    // What goes wrong from here on, perhaps at once, wants another one.
    recovery_wanted_.store(false, std::memory_order_release);
    if (good) return on_each_queue([](request_queue& q) { q.resume(); });
    k::log("{} disk: dead{}\n", driver(), stopped ? "" : "; it does not stop");
    on_each_queue([&](request_queue& q) { q.collect(stopped); }); // what came meanwhile
}

} // namespace block
