// Some requests, and the thread that sleeps until the last of them is over. That is one wake-up, for a thread that has
// not moved since it submitted them. Only for drivers/block.
#pragma once

#include "drivers/block/device.h"
#include "kernel/lwkt/thread.h"

namespace block {

template <unsigned Most> class batch {
  public:
    request& add() noexcept {
        request& r = all_[count_++];
        r.done = one_done;
        r.argument = this;
        return r;
    }
    bool full() const noexcept { return count_ == Most; }
    std::span<request> requests() noexcept { return {all_, count_}; }

    void run(device& on) noexcept {
        lwkt::assert_may_block();
        lwkt::critical section;
        thread_ = &lwkt::self();
        left_ = count_;
        for (request& r : requests())
            on.submit(r);
        if (!left_) return;
        sleeps_ = true;
        lwkt::block();
    }

  private:
    static void one_done(request& r) noexcept {
        auto& b = *static_cast<batch*>(r.argument);
        if (--b.left_ == 0 && b.sleeps_) lwkt::wake_local(*b.thread_);
    }

    request all_[Most];
    unsigned count_ = 0, left_ = 0;
    bool sleeps_ = false;
    lwkt::thread* thread_ = nullptr;
};

// What a request's owner is told.
inline k::status as_seen_outside(k::status s) noexcept {
    return !s && s.error() == k::error::timedout ? k::status(k::error::io) : s;
}

} // namespace block
