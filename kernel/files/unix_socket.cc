#include "kernel/files/unix_socket.h"

#include "kernel/proc/current.h"
#include "kernel/proc/process.h"

namespace files {

k::status start_sockets() noexcept {
    TRY(flight::initialise());
    TRY(abstract_names::initialise());
    return collector::start();
}

// --- Making and ending
// ------------------------------------------------------------------------------------------------

k::result<k::ref<unix_socket>> unix_socket::create(socket_type type) noexcept {
    auto* made = mem::make<unix_socket>(type);
    if (!made) return k::error::nomem;
    k::ref<unix_socket> s(made);
    s->inbox_ = type == socket_type::stream ? make_stream_inbox(s->watch_) : make_message_inbox(*s, s->watch_);
    if (!s->inbox_) return k::error::nomem;
    s->inbox_->set_limit(usual_buffer);
    return s;
}

unix_socket::~unix_socket() = default;

void unix_socket::last_holder_left() noexcept {
    mem::destroy(this);
}

void unix_socket::close(bool refused) noexcept {
    path_names::remove(*this);
    socket_name_ref name;
    k::ref<unix_socket> peer_gone;
    bool owned;
    {
        lwkt::spin_guard guard(lock_);
        state_ = state::closed;
        owned = owns_name_;
        name = name_.share(); // stays: messages and accepted sockets show it
    }
    if (owned && name->what.is_abstract()) abstract_names::remove(*name);
    refuse_pending();
    if (unix_socket* other = partner()) {
        const bool lost = refused || !inbox_->is_empty();
        {
            lwkt::spin_guard guard(other->lock_);
            other->partner_left_ = true; // all at once, for who waits for edges
            if (lost) other->error_.store(static_cast<int>(k::error::connreset));
        }
        inbox_->reader_left();
        other->inbox_->writer_left();
        other->watch_.notify(poll_hangup | poll_read_hangup | poll_can_read | poll_can_write | (lost ? poll_error : 0));
        lwkt::spin_guard guard(lock_);
        std::swap(peer_gone, peer_);
    } else {
        inbox_->reader_left();
        set_peer({});
    }
    collector::look_soon();
}

// --- Looking
// ----------------------------------------------------------------------------------------------------------

socket_name_ref unix_socket::name() noexcept {
    lwkt::spin_guard guard(lock_);
    return name_.share();
}

k::ref<unix_socket> unix_socket::peer() noexcept {
    lwkt::spin_guard guard(lock_);
    return peer_.share();
}

k::result<socket_name_ref> unix_socket::peer_name() noexcept {
    const k::ref<unix_socket> other = peer();
    if (!other) return k::error::notconn;
    return other->name();
}

sender unix_socket::peer_credentials() noexcept {
    lwkt::spin_guard guard(lock_);
    return peer_credentials_;
}

bool unix_socket::is_listening() noexcept {
    lwkt::spin_guard guard(lock_);
    return state_ == state::listening;
}

bool unix_socket::is_closed() noexcept {
    lwkt::spin_guard guard(lock_);
    return state_ == state::closed;
}

// Is `other` one from whom a datagram socket takes messages: it has no peer, or this one?
bool unix_socket::takes_from(const unix_socket& other) noexcept {
    lwkt::spin_guard guard(lock_);
    return !peer_ || peer_.get() == &other;
}

k::u32 unix_socket::ready() noexcept {
    lwkt::spin_guard guard(lock_);
    k::u32 bits = error_.load(std::memory_order_relaxed) ? poll_error : 0;
    const k::u32 in = inbox_->ready_to_read();
    k::u32 out = poll_can_write;
    if (state_ == state::listening) return pending_.empty() ? bits : bits | poll_can_read;
    if (peer_) out = peer_->inbox_->ready_to_write();
    bits |= (in & poll_can_read) | (out & poll_can_write);
    if (in & poll_hangup) bits |= poll_read_hangup | poll_can_read;
    if (out & poll_error) bits |= poll_can_write;
    if (partner_left_) bits |= poll_read_hangup | poll_can_read | poll_can_write;
    if (is_connection() && (!peer_ || partner_left_ || (in & poll_hangup && out & poll_error))) bits |= poll_hangup;
    return bits;
}

void unix_socket::set_send_buffer(k::u64 bytes) noexcept {
    send_buffer_.store(bytes, std::memory_order_relaxed);
    if (unix_socket* other = partner()) other->inbox_->set_limit(bytes);
}

// --- Moving bytes
// -----------------------------------------------------------------------------------------------------

sender effective_sender() noexcept {
    if (!proc::is_user_thread()) return {};
    const proc::process& p = proc::current_process();
    return {p.pid, p.who.user().effective, p.who.group().effective};
}

sender real_sender() noexcept {
    if (!proc::is_user_thread()) return {};
    const proc::process& p = proc::current_process();
    return {p.pid, p.who.user().real, p.who.group().real};
}

k::result<k::u64> unix_socket::put(unix_socket& into, xio::source& from, outgoing& how) noexcept {
    const bool tell =
        pass_credentials.load(std::memory_order_relaxed) || into.pass_credentials.load(std::memory_order_relaxed);
    if (tell && !how.with.who) how.with.who = real_sender();
    sending what{.until = how.until, .limit = send_buffer()};
    if (how.with.who || how.with.files) what.with = &how.with;
    if (type == socket_type::stream) [[likely]]
        return into.inbox_->send(from, what);
    if (from.size() > send_buffer() - message_overhead) return k::error::msgsize;
    const socket_name_ref mine = name();
    if (mine) what.from = &mine;
    return into.inbox_->send(from, what);
}

k::result<k::u64> unix_socket::send(xio::source& from, outgoing& how) noexcept {
    if (!is_connection()) return send_message(from, how);
    unix_socket* other = partner();
    if (how.to && type == socket_type::stream) return other ? k::error::isconn : k::error::opnotsupp;
    if (!other) return k::error::notconn;
    return put(*other, from, how);
}

// Where a datagram goes.
k::result<k::ref<unix_socket>> unix_socket::receiver(const outgoing& how) noexcept {
    if (!how.to) {
        k::ref<unix_socket> other = peer();
        if (!other) return k::error::notconn;
        return other;
    }
    k::ref<unix_socket> other = TRY(find(*how.to));
    if (other->type != type) return k::error::prototype;
    return other;
}

k::result<k::u64> unix_socket::send_message(xio::source& from, outgoing& how) noexcept {
    if (pass_credentials.load(std::memory_order_relaxed)) TRY(bind_if_needed());
    if (const k::error before = take_error(); before != k::error{}) return before;
    const k::ref<unix_socket> to = TRY(receiver(how));
    if (shut_for_sending_.load(std::memory_order_relaxed)) return k::error::pipe;
    if (!to->takes_from(*this)) return k::error::perm;
    auto sent = put(*to, from, how);
    if (sent || sent.error() != k::error::pipe || !to->is_closed()) return sent;
    if (!how.to) disconnect();
    return k::error::connrefused;
}

k::result<received> unix_socket::receive(xio::sink& to, receiving& how, bool all) noexcept {
    if (is_connection() && !partner()) return type == socket_type::stream ? k::error::inval : k::error::notconn;
    how.by_sender = pass_credentials.load(std::memory_order_relaxed);
    received got = TRY(inbox_->receive(to, how));
    if (!is_connection()) return got;
    if (!got.message && !to.empty() && inbox_->ready_to_read() & poll_hangup)
        if (const k::error why = take_error(); why != k::error{}) return why;
    if (type != socket_type::stream) return got;
    how.going_on = true;
    while (all && !how.peek && !how.files && got.bytes && got.bytes < to.size()) {
        xio::sink rest = std::move(to.slice(got.bytes, to.size() - got.bytes)).value();
        auto more = inbox_->receive(rest, how);
        if (!more || !more->bytes) break;
        got.bytes = got.message += more->bytes;
    }
    return got;
}

k::status unix_socket::shut(int how) noexcept {
    if (how < shut_read || how > shut_both) return k::error::inval;
    unix_socket* other = partner();
    if (how != shut_write) {
        inbox_->shut();
        arrivals_.wake_all();
    }
    if (how == shut_read) return {};
    if (other)
        other->inbox_->shut();
    else
        shut_for_sending_.store(true, std::memory_order_relaxed);
    return {};
}

void unix_socket::tell_senders_of_room() noexcept {
    if (unix_socket* other = partner()) {
        other->watch_.notify(poll_can_write);
        return;
    }
    lwkt::wake_list woken;
    lwkt::spin_guard guard(senders_lock_);
    for (unix_socket& s : senders_)
        s.watch_.notify(poll_can_write, woken);
}

// --- For the collector
// --------------------------------------------------------------------------------------------------

void unix_socket::visit_flights(void (*visit)(void*, flight&), void* with) noexcept {
    inbox_->visit_flights(visit, with);
    lwkt::spin_guard guard(lock_);
    for (unix_socket& s : pending_)
        s.inbox_->visit_flights(visit, with);
}

void unix_socket::take_flights(flight_list& to) noexcept {
    inbox_->take_flights(to);
    lwkt::spin_guard guard(lock_);
    for (unix_socket& s : pending_)
        s.inbox_->take_flights(to);
}

} // namespace files
