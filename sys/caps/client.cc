#include "sys/caps/client.h"

#include "kernel/lwkt/trace.h"
#include "sys/caps/names_priv.h"
#include "sys/caps/service.h"

namespace caps {

client::client(service_ref of) noexcept : service_(std::move(of)) {}

client::~client() = default;

void client::last_holder_left() noexcept {
    close();
    mem::destroy(this);
}

// --- Connecting

k::result<service_ref> client::find(const wish& w, const waiting& how) noexcept {
    return the_names().find(w, how);
}

k::result<client_ref> client::connect(const wish& w, const waiting& how) noexcept {
    client_ref made(mem::make<client>(TRY(find(w, how))));
    if (!made) return k::error::nomem;
    TRY(made->open(w, how));
    return made;
}

k::status client::open(const wish& w, const waiting& how) noexcept {
    {
        lwkt::spin_guard guard(service_->lock_);
        if (service_->closed_) return k::error::connreset;
        service_->clients_.push_back(*this);
        is_listed_ = true;
    }
    if (!service_->asks_) return {};
    message_ref question = TRY(message::create());
    question->from.set(w.pid, w.uid, w.gid, w.groups);
    question->asks_to_connect_ = true;
    lwkt::successor server;
    const k::status asked = service_->submit(*question, nullptr, how, server);
    if (!asked) return asked.error() == k::error::notconn ? k::error::connreset : asked.error();
    TRY(wait_for(question, how, server));
    if (!question->result()) return k::error::connrefused;
    return {};
}

// --- Calls

// Until the reply to a message that was put without an owner is there.
[[gnu::always_inline]] inline k::status client::wait_for(message_ref& m, const waiting& how,
                                                         lwkt::successor& server) noexcept {
    bool done = false, interrupted = false;
    m->done_.wait(
        [&] {
            return (done = m->at_stage() == stage::replied) || (interrupted = how.interrupted && how.interrupted());
        },
        how.deadline, server);
    if (!done) [[unlikely]]
        TRY(service_->abandon(m, interrupted ? k::error::intr : k::error::timedout));
    m->stage_.store(stage::idle, std::memory_order_relaxed);
    if (m->receipt_) [[unlikely]] {
        lwkt::spin_guard guard(service_->lock_);
        service_->tell_receipt(*m);
    }
    return m->answered_ ? k::status() : m->result();
}

// Calls begin() and writes the message's way down, all of which is here.
[[gnu::noinline]] static bool begin_traced(service& s, message& m, begin_function begin) noexcept {
    const auto which = reinterpret_cast<k::u64>(&m);
    trace::note(trace::event::message_put, which, m.item_bytes(), s.name());
    if (!begin(s, m)) return false; // it is put once more, into the queue
    trace::note(trace::event::message_got, which, 0, s.name());
    trace::note(trace::event::replied, which, m.item_bytes(), s.name());
    return true;
}

// May the service answer in the caller's context, and does it?
inline bool client::is_answered_here(message& m) noexcept {
    if (!service_->begin_) return false;
    if (trace::is_on.load(std::memory_order_relaxed)) [[unlikely]] {
        if (!begin_traced(*service_, m, service_->begin_)) return false;
    } else if (!service_->begin_(*service_, m)) {
        return false;
    }
    m.answered_ = true;
    m.client_id_ = 0;
    m.result_ = {}; // of the call before
    return true;
}

k::status client::call(message_ref& m, const waiting& how) noexcept {
    if (is_answered_here(*m)) return {};
    lwkt::successor server;
    if (const k::status asked = service_->submit(*m, nullptr, how, server); !asked) return refused(asked);
    // A deadline at once is about room in the queue: who calls, waits for the reply.
    return wait_for(m, {how.deadline == at_once ? ktime::forever : how.deadline, how.interrupted}, server);
}

k::result<message_id> client::put(message_ref m, const waiting& how) noexcept {
    lwkt::successor server;
    if (const k::status asked = service_->submit(*m, this, how, server); !asked) return refused(asked).error();
    return m->client_id_;
}

// Who is told that there is no room hears when there is some, without asking for it.
[[gnu::noinline]] k::status client::refused(k::status why) noexcept {
    if (why.error() != k::error::again) return why;
    bool is_full;
    {
        lwkt::spin_guard guard(service_->lock_);
        is_full = !service_->has_room_locked(this);
        if (is_full && !closed_) service_->note_hungry_locked(*this);
    }
    if (!is_full) changed(change::room); // meanwhile
    return why;
}

k::status client::post(message_ref m) noexcept {
    m->posted_ = true;
    lwkt::successor server;
    k::status put = service_->submit(*m, nullptr, {.deadline = at_once}, server);
    if (!put) m->posted_ = false;
    return put;
}

// --- Replies

// True if get() has an answer.
bool client::try_get(message_id which, message_ref& out, k::status& failed) noexcept {
    lwkt::spin_guard guard(service_->lock_);
    message* m;
    if (which) {
        m = outstanding_.find(which);
        if (!m) {
            failed = k::error::inval;
            return true;
        }
        if (m->at_stage() != stage::replied)
            return false; // nor is it certain that another thread keeps what it fetches
    } else {
        if (replies_.empty()) {
            if (outstanding_.count() && !closed_) return false;
            failed = k::error::notconn;
            return service_->closed_ || closed_;
        }
        m = &replies_.front();
    }
    replies_.erase(replies_.iterator_to(*m));
    m->stage_.store(stage::fetching, std::memory_order_relaxed);
    out = message_ref::to(*m);
    failed = {};
    return true;
}

k::result<message_ref> client::get(message_id which, const waiting& how) noexcept {
    message_ref out;
    k::status failed;
    bool done = false, interrupted = false;
    if (how.deadline == at_once)
        done = try_get(which, out, failed);
    else
        arrivals_.wait(
            [&] {
                return (done = try_get(which, out, failed)) || (interrupted = how.interrupted && how.interrupted());
            },
            how.deadline);
    if (done) {
        if (!failed) return failed.error();
        return out;
    }
    if (interrupted) return k::error::intr;
    return how.deadline == at_once ? k::error::again : k::error::timedout;
}

void client::put_back(message_ref m) noexcept {
    {
        lwkt::spin_guard guard(service_->lock_);
        if (outstanding_.find(m->client_id_) != m.get()) { // disposed of meanwhile
            m->stage_.store(stage::idle, std::memory_order_relaxed);
            service_->tell_receipt(*m);
            return;
        }
        m->stage_.store(stage::replied, std::memory_order_relaxed);
        replies_.push_front(*m);
    }
    arrivals_.wake_all();
    changed(change::reply);
}

void client::done(message& m) noexcept {
    message_ref held;
    service::vacancy room;
    bool was_last;
    {
        lwkt::spin_guard guard(service_->lock_);
        if (outstanding_.find(m.client_id_) == &m) held = outstanding_.take(m.client_id_);
        m.stage_.store(stage::idle, std::memory_order_relaxed);
        service_->tell_receipt(m);
        room = service_->vacancy_locked();
        was_last = service_->closed_ && !outstanding_.count();
    }
    if (held || was_last) arrivals_.wake_all(); // for just that reply, or for any, nobody waits any more
    service_->tell_of_room(room);
    changed(change::room);
}

client::readiness client::ready() noexcept {
    lwkt::spin_guard guard(service_->lock_);
    const bool room = service_->has_room_locked(this);
    // A full queue becomes less full without this client doing anything.
    if (!room && !closed_) service_->note_hungry_locked(*this);
    return {!replies_.empty(), room && !is_hungry_, service_->closed_};
}

// --- Taking requests back, under the service's lock, which the analysis does not know from here

void client::flag_locked(message& m) noexcept NO_THREAD_SAFETY_ANALYSIS {
    if (m.aborting_.exchange(true, std::memory_order_relaxed)) return; // it was told
    // Without memory the server sees it in the message, or when it replies.
    if (auto* n = mem::make<notice>(arrival_kind::aborted, m.server_id_)) service_->tell(n);
}

void client::drop_locked(message& m, message_ref& gone) noexcept NO_THREAD_SAFETY_ANALYSIS {
    switch (m.at_stage()) {
    case stage::queued:
        service_->unqueue(m);
        m.stage_.store(stage::idle, std::memory_order_relaxed);
        break;
    case stage::taken:
    case stage::replying:
        m.unwanted_ = true;
        flag_locked(m);
        break;
    case stage::replied:
        replies_.erase(replies_.iterator_to(m));
        m.stage_.store(stage::idle, std::memory_order_relaxed);
        service_->tell_receipt(m);
        break;
    case stage::fetching: // done() or put_back() will see to it
    case stage::idle: break;
    }
    m.owner_ = nullptr;
    gone = outstanding_.take(m.client_id_);
}

k::status client::dispose(message_id which) noexcept {
    message_ref gone;
    service::aftermath then;
    {
        lwkt::spin_guard guard(service_->lock_);
        message* m = outstanding_.find(which);
        if (!m) return k::error::inval;
        drop_locked(*m, gone);
        then.arrived = service_->first_notice_;
        then.room = service_->vacancy_locked();
    }
    service_->settle(then);
    arrivals_.wake_all(); // whoever waits for just that reply waits in vain
    changed(change::room);
    return {};
}

k::result<abort_outcome> client::abort_now(message_id which, bool hard, message_ref& gone) noexcept {
    service::aftermath then;
    abort_outcome outcome;
    {
        lwkt::spin_guard guard(service_->lock_);
        message* m = outstanding_.find(which);
        if (!m) return k::error::inval;
        switch (m->at_stage()) {
        case stage::queued:
            outcome = abort_outcome::removed;
            if (hard) {
                drop_locked(*m, gone);
            } else {
                message_ref held = message_ref::to(*m);
                service_->unqueue(*m);
                service_->return_locked(std::move(held), k::error::canceled, then);
            }
            break;
        case stage::taken:
        case stage::replying:
            if (hard && m->has_sinks_) {
                flag_locked(*m);
                outcome = abort_outcome::flagged;
            } else if (hard) {
                drop_locked(*m, gone);
                outcome = abort_outcome::ended;
            } else {
                flag_locked(*m);
                outcome = abort_outcome::flagged;
            }
            then.arrived = service_->first_notice_;
            break;
        default: outcome = abort_outcome::replied;
        }
        then.room = service_->vacancy_locked();
    }
    service_->settle(then);
    if (!gone) return outcome;
    arrivals_.wake_all(); // as in dispose()
    changed(change::room);
    return outcome;
}

k::result<abort_outcome> client::abort(message_id which, bool hard, const waiting& how) noexcept {
    message_ref gone;
    const abort_outcome outcome = TRY(abort_now(which, hard, gone));
    if (!hard || outcome != abort_outcome::flagged) return outcome;
    // The server may be filling a sink: over only when it has replied.
    message_ref m = TRY(get(which, {how.deadline == at_once ? ktime::forever : how.deadline, how.interrupted}));
    done(*m);
    return abort_outcome::ended;
}

void client::close() noexcept {
    service::aftermath then;
    for (k::u32 from = 0;;) {
        message_ref gone;
        lwkt::spin_guard guard(service_->lock_);
        closed_ = true;
        message* m = outstanding_.next(from, [](const message&) { return true; });
        if (!m) {
            if (std::exchange(is_listed_, false)) service_->clients_.erase(service_->clients_.iterator_to(*this));
            if (std::exchange(is_hungry_, false)) service_->hungry_.erase(service_->hungry_.iterator_to(*this));
            then.arrived = service_->first_notice_;
            then.room = {.senders = true, .hungry = service_->vacancy_locked().hungry};
            break;
        }
        drop_locked(*m, gone);
    }
    service_->settle(then);
    arrivals_.wake_all();
}

} // namespace caps
