#include "kernel/files/event_file.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"

namespace files {

namespace {

class event_file final : public file {
  public:
    event_file(k::u64 count, bool semaphore, k::u32 flags) noexcept
        : file(flags | open_read_write, file_kind::event), semaphore_(semaphore), count_(count) {}

    k::result<k::u64> read(xio::sink& to) noexcept override;
    k::result<k::u64> write(xio::source& from) noexcept override;
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(0600, inode_);
        return {};
    }
    k::u32 ready() noexcept override {
        lwkt::spin_guard guard(lock_);
        return (count_ ? poll_can_read : 0) | (count_ < highest ? poll_can_write : 0) |
               (count_ > highest ? poll_error : 0);
    }
    pollable* watched() noexcept override { return &watched_; }

  private:
    static constexpr k::u64 highest = ~k::u64{0} - 1;

    // Does it if it can be done now.
    bool try_take(k::u64& value) noexcept {
        lwkt::spin_guard guard(lock_);
        if (!count_) return false;
        value = semaphore_ ? 1 : count_;
        count_ -= value;
        return true;
    }
    bool try_add(k::u64 value) noexcept {
        lwkt::spin_guard guard(lock_);
        if (count_ > highest - value) return false;
        count_ += value;
        return true;
    }
    // Sleeps until attempt() succeeds, which then has been done. Exactly once: sleep() asks more than once.
    template <class Attempt> k::status until(Attempt attempt) noexcept {
        bool done = attempt();
        if (done) return {};
        if (nonblocking()) return k::error::again;
        return proc::sleep(queue_, [&] { return done = done || attempt(); });
    }
    void changed(k::u32 events) noexcept {
        queue_.wake_all();
        watched_.notify(events);
    }

    const k::u64 inode_ = fresh_inode();
    const bool semaphore_;
    lwkt::wait_queue queue_;
    pollable watched_;
    lwkt::spinlock lock_;
    k::u64 count_ GUARDED_BY(lock_);
};

k::result<k::u64> event_file::read(xio::sink& to) noexcept {
    k::u64 value = 0;
    if (to.size() < sizeof(value)) return k::error::inval;
    TRY(until([&] { return try_take(value); }));
    changed(poll_can_write);
    TRY(to.write_value(0, value));
    return sizeof(value);
}

k::result<k::u64> event_file::write(xio::source& from) noexcept {
    if (from.size() < sizeof(k::u64)) return k::error::inval;
    const auto value = TRY(from.read_value<k::u64>(0));
    if (value > highest) return k::error::inval;
    TRY(until([&] { return try_add(value); }));
    changed(poll_can_read);
    return sizeof(value);
}

} // namespace

k::result<file_ref> make_event_file(k::u64 count, bool semaphore, k::u32 flags) noexcept {
    auto* made = mem::make<event_file>(count, semaphore, flags);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

} // namespace files
