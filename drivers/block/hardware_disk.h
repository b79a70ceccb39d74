// A disk with queues of its own (request_queue.h), at most one a CPU, and what happens when it fails.
//
// Recovery: a thread of the disk's resets the device when a request has timed out or the device answered nonsense.
// Requests that were in flight are tried once more. A device that does not stop, or does not come up again, or fails
// again and again, is dead: every request ends with EIO, and what it may still write to stays in quarantine.
#pragma once

#include "drivers/block/request_queue.h"
#include "kernel/lwkt/wait_queue.h"

namespace block {

class hardware_disk : public disk {
  public:
    static constexpr ktime::ns usual_timeout_ns = 30 * ktime::second;

    explicit hardware_disk(ktime::ns timeout_ns) noexcept : timeout_ns_(timeout_ns) {}
    // Thread context. A disk whose device does not stop stays in memory: it may still write there.
    void last_holder_left() noexcept override;

    const disk_properties& properties() const noexcept override { return properties_; }
    const busdma::tag& limits() const noexcept override { return limits_; }
    void start(request& r) noexcept override;
    unsigned queues() const noexcept { return queue_count_; }
    // The device goes, or has gone: every request ends, with EIO unless it was done already. May be called again, when
    // it is gone for certain: then it has stopped, whatever it said before. Thread context, blocks.
    void leave() noexcept;

    // --- For its queues.
    ktime::ns timeout_ns() const noexcept { return timeout_ns_; }
    bool is_dead() const noexcept { return dead_.load(std::memory_order_acquire); }
    void note_success() noexcept {
        if (resets_in_a_row_.load(std::memory_order_relaxed)) resets_in_a_row_.store(0, std::memory_order_relaxed);
    }
    // Any thread, callout or handler.
    void ask_for_recovery(std::string_view why) noexcept;

  protected:
    // --- What a driver does. Thread context, the queues paused.
    // Stops the device and its interrupts. True once it is certain that it touches no memory any more.
    virtual bool stop_device() noexcept = 0;
    // After stop_device() has succeeded: may ask the device what went wrong. True once it has stopped again.
    virtual bool look_into_failure() noexcept { return true; }
    // Brings the device up with the queues that there are, after those.
    virtual k::status start_device() noexcept = 0;

    // Adds a queue; queue i serves the i-th CPU, and others if there are more CPUs than queues. Before begin_work().
    void add_queue(mem::box<request_queue> q) noexcept { queues_[queue_count_++] = std::move(q); }
    request_queue& queue_at(unsigned i) const noexcept { return *queues_[i]; }
    // The CPU that the next queue added serves; arch::max_cpus: none is left. `seen`: how many CPUs were looked at.
    static unsigned next_cpu(unsigned& seen) noexcept;
    // The device is up: starts the disk's thread and lets requests in. ENOMEM.
    k::status begin_work() noexcept;

    disk_properties properties_; // set before begin_work()
    busdma::tag limits_;

  private:
    bool shut_down() noexcept;
    void die() noexcept;
    void recover() noexcept;
    static void recovery_thread(void* self) noexcept;
    template <class Visit> void on_each_queue(Visit visit) noexcept;

    const ktime::ns timeout_ns_;
    unsigned queue_count_ = 0;
    mem::box<request_queue> queues_[arch::max_cpus]; // the first queue_count_
    std::atomic<bool> dead_ = false;
    std::atomic<unsigned> resets_in_a_row_ = 0;

    // Its thread's.
    lwkt::wait_queue asked_;
    std::atomic<bool> recovery_wanted_ = false, ends_ = false, leaves_ = false;
    lwkt::wait_queue left_;
    lwkt::completion* ended_ = nullptr; // null: there is no thread
};

} // namespace block
