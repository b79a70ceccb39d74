#include "drivers/block/request_queue.h"

#include "drivers/block/hardware_disk.h"

namespace block {

namespace {
constexpr unsigned most_tries = 2;
}

request_queue::request_queue(hardware_disk& of, unsigned cpu) noexcept : disk_(of), cpu_(cpu), timer_(*this) {}

request_queue::~request_queue() {
    kassert(waiting_.empty() && failed_.empty());
}

k::status request_queue::make_slots(const busdma::tag& t, unsigned bounce_pages) noexcept {
    pool_ = TRY(busdma::bounce_pool::create(t, bounce_pages));
    for (slot& s : slots_) {
        s.map = TRY(busdma::map::create(t, *pool_));
        s.in = this;
    }
    return {};
}

// --- To the device

void request_queue::submit(request& r) noexcept {
    if (disk_.is_dead()) return fail_later(r);
    waiting_.push_back(r);
    start_waiting();
}

void request_queue::start_waiting() noexcept {
    while (!paused_ && !waiting_.empty()) {
        request& r = waiting_.front();
        waiting_.pop_front();
        if (begin(r)) continue;
        waiting_.push_front(r);
        return;
    }
}

// False: there is no room for it now.
bool request_queue::begin(request& r) noexcept {
    auto* const found = std::ranges::find(slots_, slot_state::free, &slot::state);
    if (found == std::end(slots_)) return false;
    slot& s = *found;
    s.r = &r;
    r.tries++;
    s.state = slot_state::wants_pages;
    k::result<bool> loaded = true;
    if (!r.into.empty())
        loaded = s.map->load_or_wait(r.into, pages_came, &s);
    else if (!r.from.empty())
        loaded = s.map->load_or_wait(r.from, pages_came, &s);
    if (!loaded) { // the block layer gives nothing that cannot be loaded
        s.state = slot_state::free;
        fail_later(r);
    } else if (*loaded) {
        give_to_device(s);
    }
    return true;
}

void request_queue::pages_came(busdma::map&, void* argument) noexcept {
    auto& s = *static_cast<slot*>(argument);
    s.in->give_to_device(s);
}

void request_queue::give_to_device(slot& s) noexcept {
    if (s.map->is_loaded()) s.map->sync_for_device();
    s.state = slot_state::in_device;
    s.deadline = ktime::after(disk_.timeout_ns());
    if (!timer_.armed()) timer_.arm(s.deadline);
    issue(static_cast<unsigned>(&s - slots_), *s.r, s.map->segments());
}

// --- And back

void request_queue::interrupted(void* argument) noexcept {
    auto& q = *static_cast<request_queue*>(argument);
    q.fail_all(q.failed_);
    if (!q.paused_) q.take_answers();
    q.start_waiting();
}

void request_queue::answered(unsigned number, k::status status) noexcept {
    slot& s = slots_[number];
    kassert(s.state == slot_state::in_device);
    if (status) disk_.note_success();
    if (status && s.map->is_loaded()) s.map->sync_for_cpu();
    retire(s, status);
}

void request_queue::retire(slot& s, k::status status) noexcept {
    request& r = *s.r;
    s.r = nullptr;
    s.state = slot_state::free;
    if (s.map->is_loaded()) s.map->unload();
    complete(r, status);
}

// --- Time

void request_queue::look_at_the_clock() noexcept {
    fail_all(failed_);
    ktime::ns next = ktime::forever;
    for (const slot& s : slots_)
        if (s.state == slot_state::in_device) next = std::min(next, s.deadline);
    if (next == ktime::forever || paused_) return;
    if (next > ktime::now()) return timer_.arm(next);
    disk_.ask_for_recovery("a request timed out");
}

// In an IPI function nobody can be told: the timer does it.
void request_queue::fail_later(request& r) noexcept {
    failed_.push_back(r);
    if (timer_.armed()) timer_.cancel();
    timer_.arm(ktime::now());
}

void request_queue::fail_all(request_list& which) noexcept {
    while (!which.empty()) {
        request& r = which.front();
        which.pop_front();
        complete(r, k::error::io);
    }
}

// --- Recovery

void request_queue::pause() noexcept {
    paused_ = true;
    timer_.cancel();
}

void request_queue::resume() noexcept {
    paused_ = false;
    take_answers();
    start_waiting();
}

void request_queue::collect(bool device_stopped) noexcept {
    request_list again;
    for (slot& s : slots_) {
        if (s.state == slot_state::free) continue;
        if (s.state == slot_state::quarantined) {
            if (!device_stopped) continue;
            if (s.map->is_in_quarantine()) s.map->device_stopped();
            s.state = slot_state::free;
            continue;
        }
        request& r = *s.r;
        const fate found = s.state == slot_state::in_device ? fate_of(static_cast<unsigned>(&s - slots_)) : fate::tried;
        if (found == fate::untouched) r.tries--;
        if (s.state == slot_state::in_device && !device_stopped) {
            if (s.map->is_loaded()) s.map->quarantine();
            s.state = slot_state::quarantined;
            s.r = nullptr;
            complete(r, k::error::timedout);
            continue;
        }
        if (found == fate::failed) {
            retire(s, k::error::io);
            continue;
        }
        if (r.tries == most_tries) {
            if (s.state == slot_state::wants_pages) s.map->unload();
            retire(s, k::error::timedout);
            continue;
        }
        if (s.state == slot_state::wants_pages || s.map->is_loaded()) s.map->unload();
        s.state = slot_state::free;
        s.r = nullptr;
        again.push_back(r);
    }
    if (disk_.is_dead()) {
        fail_all(again);
        fail_all(waiting_);
        fail_all(failed_);
        return;
    }
    waiting_.splice(waiting_.begin(), again);
}

} // namespace block
