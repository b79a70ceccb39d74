// The cheap case first: all files are asked before anything is set up. Only if none is ready, a watcher stands at each
// one, and they are asked again; whatever changes from then on fires a watcher.
#include "kernel/files/poll.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"

namespace files {

namespace {

// Where the watchers of one call meet.
struct meeting {
    lwkt::wait_queue queue;
    std::atomic<bool> fired = false;
};

struct poll_watcher : watcher {
    meeting* at = nullptr;
    k::u32 wanted = 0;

    poll_watcher() noexcept : watcher(fire) {}
    static void fire(watcher& self, k::u32 events, lwkt::wake_list& woken) {
        auto& w = static_cast<poll_watcher&>(self);
        if (!(events & w.wanted)) return;
        w.at->fired.store(true, std::memory_order_relaxed);
        woken.take_all(w.at->queue);
    }
};

constexpr k::u32 always_wanted = poll_error | poll_hangup;

k::u64 look(std::span<polled> of) {
    k::u64 count = 0;
    for (polled& p : of) {
        if (p.what) p.found = p.what->ready() & (p.wanted | always_wanted);
        count += p.found != 0;
    }
    return count;
}

// Watchers for as many files; a few stand with their owner.
class watcher_array {
  public:
    ~watcher_array() {
        for (poll_watcher& w : all()) {
            w.leave();
            w.~poll_watcher();
        }
        if (at_ != few_) mem::free(at_);
    }
    k::status make(std::span<polled> of, meeting& where) noexcept {
        if (of.size() > few) {
            void* memory = mem::allocate(of.size() * sizeof(poll_watcher));
            if (!memory) return k::error::nomem;
            at_ = static_cast<std::byte*>(memory);
        }
        for (polled& p : of) {
            auto* w = new (at_ + count_++ * sizeof(poll_watcher)) poll_watcher;
            w->at = &where;
            w->wanted = p.wanted | always_wanted;
            pollable* place = p.what ? p.what->watched() : nullptr;
            if (place) w->watch(*place);
        }
        return {};
    }

  private:
    static constexpr std::size_t few = 4;
    std::span<poll_watcher> all() noexcept { return {reinterpret_cast<poll_watcher*>(at_), count_}; }

    alignas(poll_watcher) std::byte few_[few * sizeof(poll_watcher)];
    std::byte* at_ = few_;
    std::size_t count_ = 0;
};

} // namespace

k::result<k::u64> wait_for_any(std::span<polled> of, ktime::ns deadline) noexcept {
    if (const k::u64 count = look(of)) return count;
    if (deadline <= ktime::now()) return 0;
    meeting here;
    watcher_array watchers;
    TRY(watchers.make(of, here));
    for (;;) {
        here.fired.store(false, std::memory_order_seq_cst);
        if (const k::u64 count = look(of)) return count;
        const k::status woken = proc::sleep(
            here.queue, [&] { return here.fired.load(std::memory_order_relaxed); }, deadline);
        if (woken) continue;
        if (woken.error() == k::error::timedout) return look(of);
        return woken.error();
    }
}

} // namespace files
