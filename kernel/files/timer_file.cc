// An interval timer is armed again only when it is read, and counts then what has passed meanwhile: nobody keeps a CPU
// busy with intervals that nobody looks at.
#include "kernel/files/timer_file.h"

#include "kernel/lwkt/token.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/timers.h"

namespace files {

namespace {

class timer_file final : public file {
  public:
    timer_file(bool realtime, k::u32 flags) noexcept
        : file(flags | open_read_only, file_kind::timer), realtime_(realtime) {
        alarm_.owner = this;
    }
    ~timer_file() override { alarm_.cancel(); }

    k::result<k::u64> read(xio::sink& to) noexcept override;
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(0600, inode_);
        return {};
    }
    k::u32 ready() noexcept override { return due() ? poll_can_read : 0; }
    pollable* watched() noexcept override { return &watched_; }

    k::status set(bool absolute, const timer_spec& to, timer_spec& old) noexcept;
    timer_spec get() noexcept;

  private:
    struct alarm : proc::timer {
        timer_file* owner = nullptr;
        alarm() noexcept : timer([](timer& t) { static_cast<alarm&>(t).owner->expired(); }) {}
    };
    void expired() noexcept;
    bool due() noexcept {
        lwkt::spin_guard guard(lock_);
        return due_;
    }
    k::u64 take() noexcept;
    k::u64 catch_up_locked(ktime::ns now) noexcept REQUIRES(lock_);

    const k::u64 inode_ = fresh_inode();
    const bool realtime_;
    lwkt::token setting_; // held to arm and to cancel
    alarm alarm_;
    lwkt::wait_queue queue_;
    pollable watched_;
    lwkt::spinlock lock_;
    ktime::ns next_ GUARDED_BY(lock_) = 0; // the expiry to come, or the first that was not read yet; 0: none
    ktime::ns interval_ GUARDED_BY(lock_) = 0;
    bool due_ GUARDED_BY(lock_) = false;
};

// In a critical section of the CPU that armed it.
void timer_file::expired() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        due_ = true;
    }
    queue_.wake_all();
    watched_.notify(poll_can_read);
}

// Counts the expiries until now, of which there is one at least, and moves on to the next.
k::u64 timer_file::catch_up_locked(ktime::ns now) noexcept {
    k::u64 count = 1;
    ktime::ns passed = 0;
    if (interval_) count += now > next_ ? (now - next_) / interval_ : 0;
    if (!interval_ || __builtin_mul_overflow(count, interval_, &passed) ||
        __builtin_add_overflow(next_, passed, &next_))
        next_ = 0;
    return count;
}

// Takes the expiries, if there are any.
k::u64 timer_file::take() noexcept {
    lwkt::token_hold hold(setting_);
    k::u64 count;
    ktime::ns next;
    {
        lwkt::spin_guard guard(lock_);
        if (!std::exchange(due_, false)) return 0;
        count = catch_up_locked(ktime::now());
        next = next_;
    }
    alarm_.cancel(); // it has fired; but is it over?
    if (next) alarm_.arm(next);
    return count;
}

k::result<k::u64> timer_file::read(xio::sink& to) noexcept {
    if (to.size() < sizeof(k::u64)) return k::error::inval;
    for (;;) {
        if (const k::u64 count = take()) {
            TRY(to.write_value(0, count));
            return sizeof(count);
        }
        if (nonblocking()) return k::error::again;
        TRY(proc::sleep(queue_, [this] { return due(); }));
    }
}

timer_spec timer_file::get() noexcept {
    lwkt::spin_guard guard(lock_);
    const ktime::ns now = ktime::now();
    ktime::ns left = 0;
    if (next_ > now)
        left = next_ - now;
    else if (next_ && interval_)
        left = interval_ - (now - next_) % interval_;
    return {proc::time_spec::of(interval_), proc::time_spec::of(left)};
}

k::status timer_file::set(bool absolute, const timer_spec& to, timer_spec& old) noexcept {
    const ktime::ns value = TRY(to.value.to_ns());
    const ktime::ns interval = TRY(to.interval.to_ns());
    ktime::ns next = 0;
    if (value) {
        next = !absolute ? ktime::after(value) : realtime_ ? proc::monotonic_of(value) : value;
        next = std::clamp(next, ktime::ns{1}, ktime::forever - 1);
    }
    lwkt::token_hold hold(setting_);
    alarm_.cancel();
    old = get();
    {
        lwkt::spin_guard guard(lock_);
        next_ = next;
        interval_ = next ? interval : 0;
        due_ = false;
    }
    if (next) alarm_.arm(next);
    return {};
}

} // namespace

k::result<file_ref> make_timer_file(k::i32 clock, k::u32 flags) noexcept {
    const proc::clock_kind kind = proc::kind_of(clock);
    if (kind != proc::clock_kind::monotonic && kind != proc::clock_kind::realtime) return k::error::inval;
    auto* made = mem::make<timer_file>(kind == proc::clock_kind::realtime, flags);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

k::status set_timer(file& f, bool absolute, const timer_spec& to, timer_spec& old) noexcept {
    if (f.kind() != file_kind::timer) return k::error::inval;
    return static_cast<timer_file&>(f).set(absolute, to, old);
}

k::status get_timer(file& f, timer_spec& now) noexcept {
    if (f.kind() != file_kind::timer) return k::error::inval;
    now = static_cast<timer_file&>(f).get();
    return {};
}

} // namespace files
