#include "sys/caps/service.h"

#include "kernel/lwkt/trace.h"
#include "sys/caps/client.h"
#include "sys/caps/names_priv.h"

namespace caps {

namespace {
constexpr k::u32 most_taken = 4096; // requests that a service has taken and not replied to
}

k::result<service_ref> service::create(const terms& t) noexcept {
    service_ref made(mem::make<service>(t));
    if (!made) return k::error::nomem;
    TRY(made->open());
    return made;
}

service::service(const terms& t) noexcept
    : name_bytes_(static_cast<k::u8>(is_good_name(t.name) ? t.name.size() : 0)), admits_(t.admits),
      exclusive_(t.exclusive), sinks_(t.sinks), asks_(t.asks), uid_(t.uid), gid_(t.gid), most_queued_(t.most_queued),
      begin_(t.begin), owner_(t.owner), taken_(most_taken) {
    std::copy_n(t.name.begin(), name_bytes_, name_);
}

service::~service() {
    while (notice* n = first_notice_) {
        first_notice_ = n->next;
        mem::destroy(n);
    }
}

void service::last_holder_left() noexcept {
    close();
    mem::destroy(this);
}

k::status service::open() noexcept {
    if (!name_bytes_) return k::error::inval;
    return the_names().add(*this);
}

// --- What came

message_ref service::pop() noexcept {
    message& m = queue_.front();
    queue_.pop_front();
    pend(-1);
    return message_ref(&m);
}

void service::unqueue(message& m) noexcept {
    queue_.erase(queue_.iterator_to(m));
    pend(-1);
    (void)message_ref(&m); // the queue's
}

// A request is the server's from here on.
[[gnu::always_inline]] inline void service::take_locked(message_ref m, stage as, arrival& out) noexcept {
    m->stage_.store(as, std::memory_order_relaxed);
    out.kind = m->asks_to_connect_ ? arrival_kind::connection : arrival_kind::request;
    out.id = m->server_id_ = taken_.put(m.share());
    out.what = std::move(m);
}

// By the server, who may have been handed it on another CPU.
inline void service::note_got(const arrival& a) const noexcept {
    if (trace::is_on.load(std::memory_order_relaxed)) [[unlikely]]
        if (a.what) trace::note(trace::event::message_got, reinterpret_cast<k::u64>(a.what.get()), 0, name());
}

// True if get() has an answer: something that came, or why nothing will.
bool service::try_get_locked(stage as, arrival& out, k::status& failed) noexcept {
    if (closed_) [[unlikely]] {
        failed = k::error::notconn;
    } else if (notice* n = first_notice_) [[unlikely]] {
        first_notice_ = n->next;
        if (!first_notice_) last_notice_ = nullptr;
        pend(-1);
        out = {n->kind, n->id, message_ref(), mem::box(n)};
    } else if (!queue_.empty()) {
        if (failed = taken_.make_room(); failed) take_locked(pop(), as, out);
    } else {
        return false;
    }
    return true;
}

bool service::try_get(stage as, arrival& out, k::status& failed) noexcept {
    vacancy room;
    lwkt::successor another;
    {
        lwkt::spin_guard guard(lock_);
        if (!try_get_locked(as, out, failed)) return false;
        room = vacancy_locked();
        // Not everything that comes wakes somebody, so whoever takes something wakes one for what is left.
        if (servers_ && failed && pending_.load(std::memory_order_relaxed)) [[unlikely]]
            rouse(another);
    }
    tell_of_room(room);
    return true;
}

service::vacancy service::vacancy_locked() const noexcept {
    return {senders_waiting_ != 0, !hungry_.empty() && queue_.size() <= most_queued_ / 2};
}

void service::tell_of_room(vacancy to) noexcept {
    if (to.senders) [[unlikely]]
        room_.wake_all();
    if (to.hungry) [[unlikely]]
        tell_hungry();
}

void service::tell_of_arrival() noexcept {
    {
        lwkt::successor one;
        lwkt::spin_guard guard(lock_);
        rouse(one);
    }
    changed(change::request);
}

// Each once: those that fill the queue again meanwhile are hungry again.
void service::tell_hungry() noexcept {
    std::size_t left;
    {
        lwkt::spin_guard guard(lock_);
        left = hungry_.size();
    }
    for (; left; left--) {
        k::ref<client> one;
        {
            lwkt::spin_guard guard(lock_);
            if (hungry_.empty()) return;
            client& c = hungry_.front();
            hungry_.pop_front();
            c.is_hungry_ = false;
            one = k::ref<client>::to_living(c);
        }
        if (one) one->changed(change::room);
    }
}

// False: there is something to get.
inline bool service::enlist(server& here) noexcept {
    lwkt::spin_guard guard(lock_);
    if (pending_.load(std::memory_order_relaxed)) return false;
    here.next = servers_;
    here.listed.store(true, std::memory_order_relaxed);
    servers_ = &here;
    return true;
}

// The end of that. True: it was handed something meanwhile.
inline bool service::dismiss(server& here) noexcept {
    if (here.roused) [[likely]]
        return here.has_it;
    // Whoever took it out of the list may still be about to wake it.
    lwkt::spin_guard guard(lock_);
    if (here.listed.load(std::memory_order_relaxed)) {
        server** at = &servers_;
        while (*at != &here)
            at = &(*at)->next;
        *at = here.next;
    }
    return here.has_it;
}

inline service::server& service::unlist_first() noexcept {
    server& s = *servers_;
    servers_ = s.next;
    s.listed.store(false, std::memory_order_release);
    return s;
}

// Somebody is to look what there is, if anybody is listed; who has just come there will anyway.
void service::rouse(lwkt::successor& next) noexcept {
    if (!servers_) return;
    server& s = unlist_first();
    if (s.sleep.wake(next)) s.roused = true;
}

[[gnu::always_inline]] inline k::status service::get_into(arrival& out, stage as, const waiting& how,
                                                          lwkt::successor& next) noexcept {
    k::status failed;
    for (;;) {
        if (pending_.load()) {
            next.wake_now(); // the caller has other things to do first
            if (try_get(as, out, failed)) {
                note_got(out);
                return failed;
            }
        }
        if (how.deadline == at_once) {
            next.wake_now();
            return k::error::again;
        }
        server here{.as = as, .out = &out};
        if (!enlist(here)) continue;
        bool interrupted = false;
        const bool in_time = here.sleep.wait(
            [&] {
                return !here.listed.load(std::memory_order_acquire) || pending_.load() ||
                       (interrupted = how.interrupted && how.interrupted());
            },
            how.deadline, next);
        if (dismiss(here)) [[likely]] {
            note_got(out);
            return {};
        }
        if (pending_.load()) continue;
        if (interrupted) return k::error::intr;
        if (!in_time) return k::error::timedout;
    }
}

k::result<arrival> service::get_as(stage as, const waiting& how, lwkt::successor& next) noexcept {
    k::result<arrival> got = arrival();
    if (const k::status done = get_into(*got, as, how, next); !done) got = done.error();
    return got;
}

// Gives a message back that stands in no list any more, and says whom that concerns.
void service::return_locked(message_ref m, k::status result, aftermath& then, bool answered) noexcept {
    m->result_ = std::move(result);
    m->answered_ = answered;
    if (m->unwanted_ || m->posted_) {
        m->posted_ = false;
        m->stage_.store(stage::idle, std::memory_order_relaxed);
        tell_receipt(*m);
        then.answered = std::move(m); // to be let go of without the lock
        return;
    }
    if (client* c = m->owner_) {
        c->replies_.push_back(*m);
        then.informed = k::ref<client>::to_living(*c);
    }
    m->stage_.store(stage::replied, std::memory_order_release);
    then.answered = std::move(m);
}

inline void service::settle_now(aftermath& what, lwkt::successor* next) noexcept {
    if (what.arrived) [[unlikely]]
        tell_of_arrival();
    tell_of_room(what.room);
    if (what.informed) {
        what.informed->arrivals_.wake_all();
        what.informed->changed(change::reply);
    } else if (what.answered) {
        next ? what.answered->done_.wake(*next) : what.answered->done_.wake();
    }
}

void service::put_back(arrival a) noexcept {
    aftermath then;
    if (a.news) {
        lwkt::spin_guard guard(lock_);
        if (closed_) return;
        then.arrived = true;
        a.news->next = first_notice_;
        first_notice_ = a.news.release();
        if (!last_notice_) last_notice_ = first_notice_;
        pend(1);
    } else {
        lwkt::spin_guard guard(lock_);
        message& m = *a.what;
        if (taken_.find(a.id) != &m) return; // it has come back meanwhile
        message_ref held = taken_.take(a.id);
        if (closed_) {
            return_locked(std::move(held), k::error::connreset, then);
        } else if (m.unwanted_ || m.abort_requested()) { // nobody has it any more
            return_locked(std::move(held), k::error::canceled, then);
        } else {
            m.stage_.store(stage::queued, std::memory_order_relaxed);
            queue_.push_front(*held.release());
            pend(1);
            then.arrived = true;
        }
    }
    settle(then);
}

bool service::has_arrivals() noexcept {
    lwkt::spin_guard guard(lock_);
    return first_notice_ || !queue_.empty();
}

void service::tell(notice* n) noexcept {
    if (closed_) return mem::destroy(n);
    n->next = nullptr;
    (last_notice_ ? last_notice_->next : first_notice_) = n;
    last_notice_ = n;
    pend(1);
}

// --- Replies

k::result<message_ref> service::begin_reply(message_id id) noexcept {
    lwkt::spin_guard guard(lock_);
    message* m = taken_.find(id);
    if (!m || m->at_stage() != stage::taken) return k::error::inval;
    m->stage_.store(stage::replying, std::memory_order_relaxed);
    return message_ref::to(*m);
}

void service::cancel_reply(message& m) noexcept {
    m.stage_.store(stage::taken);
    if (!closed_.load()) [[likely]]
        return;
    aftermath then; // close() may have left it to us
    {
        lwkt::spin_guard guard(lock_);
        if (taken_.find(m.server_id_) == &m && m.at_stage() == stage::taken)
            return_locked(taken_.take(m.server_id_), k::error::connreset, then);
    }
    settle(then);
}

// The reply goes out. With `unclaimed`, the name of a request that nobody has claimed: EINVAL if there is none.
[[gnu::always_inline]] inline k::status service::send(message_ref m, k::status result, lwkt::successor* next,
                                                      message_id unclaimed) noexcept {
    if (trace::is_on.load(std::memory_order_relaxed)) [[unlikely]]
        trace::note(trace::event::replied, reinterpret_cast<k::u64>(m.get()), m->item_bytes(), name());
    message_ref answered;
    {
        lwkt::spin_guard guard(lock_);
        if (unclaimed && (taken_.find(unclaimed) != m.get() || m->at_stage() != stage::taken)) [[unlikely]]
            return k::error::inval;
        if (!m->owner_ && !m->unwanted_ && !m->posted_) [[likely]] { // a thread waits
            answered = taken_.take(m->server_id_);
            m->result_ = std::move(result);
            m->answered_ = true;
            m->stage_.store(stage::replied, std::memory_order_release);
            // Who sleeps at once may hand its CPU over; with more to do it will not sleep.
            if (pending_.load(std::memory_order_relaxed)) next = nullptr;
        } else {
            m->stage_.store(stage::replying, std::memory_order_relaxed); // nobody else's meanwhile
        }
    }
    if (!answered) [[unlikely]]
        return send_elsewhere(*m, std::move(result));
    next ? answered->done_.wake(*next) : answered->done_.wake();
    return {};
}

k::status service::reply(message_ref m, k::status result, mem::box<notice> receipt, lwkt::successor* next) noexcept {
    m->receipt_ = receipt.release();
    return send(std::move(m), std::move(result), next);
}

k::status service::reply(arrival& a, k::status result, lwkt::successor* next) noexcept {
    return send(std::move(a.what), std::move(result), next, a.id);
}

// To who does not wait in call(), or waits no more. The message is claimed.
k::status service::send_elsewhere(message& m, k::status result) noexcept {
    aftermath then;
    bool unwanted;
    {
        lwkt::spin_guard guard(lock_);
        unwanted = m.unwanted_;
        return_locked(taken_.take(m.server_id_), std::move(result), then, true);
    }
    settle(then);
    if (!unwanted) [[likely]]
        return {};
    m.clear();
    return k::error::canceled;
}

void service::settle(aftermath& what) noexcept {
    settle_now(what, nullptr);
}

// The client has taken a reply, or never will.
void service::tell_receipt(message& m) noexcept {
    if (notice* n = std::exchange(m.receipt_, nullptr)) [[unlikely]]
        tell(n);
}

// --- The end

// One of those that nobody will reply to any more. False: there are none.
bool service::return_next(aftermath& then, k::u32& from) noexcept {
    lwkt::spin_guard guard(lock_);
    if (!queue_.empty()) {
        return_locked(pop(), k::error::connreset, then);
        return true;
    }
    // What is being replied to right now goes its own way: cancel_reply() changes the stage without the lock and looks
    // at closed_ then, we do it the other way round, and one of both sees what the other one did.
    message* m = taken_.next(from, [](const message& m) { return m.stage_.load() == stage::taken; });
    if (!m) return false;
    return_locked(taken_.take(m->server_id_), k::error::connreset, then);
    return true;
}

void service::close() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (closed_.exchange(true)) return;
        pend(1);
    }
    the_names().remove(*this);
    for (k::u32 from = 0;;) {
        aftermath then;
        if (!return_next(then, from)) break;
        settle(then);
    }
    for (bool more = true; more;) {
        lwkt::successor one;
        lwkt::spin_guard guard(lock_);
        rouse(one);
        more = servers_;
    }
    room_.wake_all();
    changed(change::closed);
    for (;;) {
        k::ref<client> one;
        {
            lwkt::spin_guard guard(lock_);
            if (clients_.empty()) break;
            client& c = clients_.front();
            clients_.pop_front();
            c.is_listed_ = false;
            one = k::ref<client>::to_living(c);
        }
        if (!one) continue;
        one->arrivals_.wake_all();
        one->changed(change::closed);
    }
}

// --- What clients do

bool service::has_room_locked(const client* owner) const noexcept {
    return queue_.size() < most_queued_ && !(owner && owner->outstanding_.is_full());
}

void service::note_hungry_locked(client& c) noexcept {
    if (!c.outstanding_.is_full() && !std::exchange(c.is_hungry_, true)) hungry_.push_back(c);
}

k::status service::try_submit(message& m, client* owner, lwkt::successor& next) noexcept {
    kassert(m.at_stage() == stage::idle);
    lwkt::spin_guard guard(lock_);
    if (closed_ || (owner && owner->closed_)) return k::error::notconn;
    if (!has_room_locked(owner)) return k::error::again;
    m.has_sinks_ = false;
    for (unsigned i = 0; i < m.items_; i++)
        m.has_sinks_ |= m.table_[i].what == right::fill;
    if (m.has_sinks_ && !sinks_) return k::error::opnotsupp;
    if (owner) {
        TRY(owner->outstanding_.make_room());
        m.client_id_ = owner->outstanding_.put(message_ref::to(m));
    } else {
        m.client_id_ = 0;
    }
    m.owner_ = owner;
    m.unwanted_ = m.answered_ = false;
    m.aborting_.store(false, std::memory_order_relaxed);
    if (trace::is_on.load(std::memory_order_relaxed)) [[unlikely]]
        trace::note(trace::event::message_put, reinterpret_cast<k::u64>(&m), m.item_bytes(), name());
    // A thread in get() is handed the request, unless others were there before it.
    if (servers_ && !pending_.load(std::memory_order_relaxed) && taken_.make_room()) [[likely]] {
        server& s = unlist_first();
        take_locked(message_ref::to(m), s.as, *s.out);
        s.has_it = true;
        if (s.sleep.wake(next)) [[likely]]
            s.roused = true;
        return {};
    }
    m.stage_.store(stage::queued, std::memory_order_relaxed);
    queue_.push_back(*message_ref::to(m).release());
    pend(1);
    rouse(next);
    return {};
}

// There was no room.
k::status service::submit_later(message& m, client* owner, const waiting& how, lwkt::successor& next) noexcept {
    for (;;) {
        bool good = false, interrupted = false, counted = false;
        room_.wait(
            [&] {
                lwkt::spin_guard guard(lock_);
                senders_waiting_ += !std::exchange(counted, true);
                return (good = closed_ || (owner && owner->closed_) || has_room_locked(owner)) ||
                       (interrupted = how.interrupted && how.interrupted());
            },
            how.deadline);
        {
            lwkt::spin_guard guard(lock_);
            senders_waiting_--;
        }
        if (!good) return interrupted ? k::error::intr : k::error::timedout;
        const k::status put = try_submit(m, owner, next);
        if (put) changed(change::request);
        if (put || put.error() != k::error::again) return put;
    }
}

// A thread in call() waits no longer. If the reply came meanwhile, that is the outcome; if nobody took the request, it
// is as if it had not been put; else it is the server's, and the reply goes nowhere.
k::status service::abandon(message_ref& m, k::error why) noexcept {
    notice* n = mem::make<notice>(arrival_kind::aborted, message_id{0}); // without memory it is told when it replies
    bool told = false, lost = false;
    vacancy room;
    k::status outcome = why;
    {
        lwkt::spin_guard guard(lock_);
        switch (m->at_stage()) {
        case stage::idle:
        case stage::fetching: break;
        case stage::replied: outcome = {}; break;
        case stage::queued:
            unqueue(*m);
            m->stage_.store(stage::idle, std::memory_order_relaxed);
            room = vacancy_locked();
            break;
        case stage::taken:
        case stage::replying:
            lost = m->unwanted_ = true;
            m->aborting_.store(true, std::memory_order_relaxed);
            if (n) {
                n->id = m->server_id_;
                tell(std::exchange(n, nullptr));
                told = true;
            }
            if (why == k::error::intr) outcome = k::error::canceled;
            break;
        }
    }
    mem::destroy(n);
    if (told) tell_of_arrival();
    tell_of_room(room);
    if (lost) m.reset();
    return outcome;
}

} // namespace caps
