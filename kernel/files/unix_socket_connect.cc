// How sockets find each other.
//
// To connect is to make the socket that the other side will accept, joined to the caller's already, and to put it into
// the queue of the one that listens: the caller can send at once. No function takes the locks of two sockets at a time,
// except that the collector and ready() look at an inbox under its socket's or its peer's.
#include "kernel/files/unix_socket.h"
#include "kernel/proc/current.h"

namespace files {

void unix_socket::join(unix_socket& other) noexcept {
    inbox_->set_write_watch(other.watch_);
    other.inbox_->set_limit(send_buffer());
    lwkt::spin_guard guard(lock_);
    peer_ = k::ref<unix_socket>::to(other);
    partner_.store(&other, std::memory_order_release);
    state_ = state::connected;
}

void unix_socket::connect_pair(unix_socket& a, unix_socket& b) noexcept {
    if (!a.is_connection()) {
        a.set_peer(k::ref<unix_socket>::to(b));
        b.set_peer(k::ref<unix_socket>::to(a));
    } else {
        a.join(b);
        b.join(a);
    }
    const sender both = effective_sender();
    for (unix_socket* s : {&a, &b}) {
        lwkt::spin_guard guard(s->lock_);
        s->peer_credentials_ = both;
    }
}

k::result<k::ref<unix_socket>> unix_socket::find(const socket_text& name) noexcept {
    if (!name.length) return k::error::inval;
    if (!name.is_abstract()) return path_names::find(name);
    k::ref<unix_socket> found = abstract_names::find(name);
    if (!found) return k::error::connrefused;
    return found;
}

// --- Names
// ------------------------------------------------------------------------------------------------------------

k::status unix_socket::bind(const socket_text& what) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (name_ || binding_) return k::error::inval;
        binding_ = true;
    }
    const auto named = [&]() -> k::result<socket_name_ref> {
        if (!what.length) return abstract_names::add_any(*this);
        socket_name_ref name = TRY(socket_name::create(what));
        TRY(what.is_abstract() ? abstract_names::add(*this, *name) : path_names::add(*this, what));
        return name;
    };
    auto name = named();
    lwkt::spin_guard guard(lock_);
    binding_ = false;
    if (!name) return name.error();
    name_ = *std::move(name);
    owns_name_ = true;
    return {};
}

k::status unix_socket::bind_if_needed() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (name_ || binding_) return {};
    }
    return bind({});
}

// --- Listening
// --------------------------------------------------------------------------------------------------------

k::status unix_socket::listen(k::u32 backlog) noexcept {
    if (!is_connection()) return k::error::opnotsupp;
    const sender self = effective_sender();
    {
        lwkt::spin_guard guard(lock_);
        if (!name_ || (state_ != state::idle && state_ != state::listening)) return k::error::inval;
        state_ = state::listening;
        backlog_ = std::min(backlog, most_backlog);
        credentials_ = self;
    }
    backlog_queue_.wake_all();
    return {};
}

k::result<k::ref<unix_socket>> unix_socket::accept(ktime::ns until) noexcept {
    if (!is_connection()) return k::error::opnotsupp;
    for (;;) {
        const bool is_shut = inbox_->ready_to_read() & poll_hangup;
        k::ref<unix_socket> got;
        bool wake = false;
        {
            lwkt::spin_guard guard(lock_);
            if (state_ != state::listening || is_shut) return k::error::inval;
            if (!pending_.empty()) {
                got = k::ref<unix_socket>(&pending_.front());
                pending_.pop_front();
                wake = callers_waiting_ != 0;
            }
        }
        if (wake) backlog_queue_.wake_all();
        if (got) {
            got->pass_credentials = pass_credentials.load();
            return got;
        }
        if (until == at_once) return k::error::again;
        const k::status woken = proc::sleep(
            arrivals_,
            [&] {
                if (inbox_->ready_to_read() & poll_hangup) return true;
                lwkt::spin_guard guard(lock_);
                return !pending_.empty();
            },
            until);
        if (!woken) return woken.error() == k::error::timedout ? k::error::again : woken.error();
    }
}

void unix_socket::refuse_pending() noexcept {
    for (;;) {
        k::ref<unix_socket> one;
        {
            lwkt::spin_guard guard(lock_);
            if (pending_.empty()) break;
            one = k::ref<unix_socket>(&pending_.front());
            pending_.pop_front();
        }
        one->close(true);
    }
    backlog_queue_.wake_all();
}

// --- Connecting
// -------------------------------------------------------------------------------------------------------

// True: `server` waits to be accepted; false: too many do, and this is somebody who waits.
k::result<bool> unix_socket::enqueue(k::ref<unix_socket>& server, unix_socket& client, ktime::ns until) noexcept {
    if (inbox_->ready_to_read() & poll_hangup) return k::error::connrefused; // shut
    sender self;
    {
        lwkt::spin_guard guard(lock_);
        if (state_ != state::listening) return k::error::connrefused;
        if (pending_.size() > backlog_) {
            if (until == at_once) return k::error::again;
            callers_waiting_++;
            return false;
        }
        {
            lwkt::spin_guard nobody_else_has_it(server->lock_);
            server->name_ = name_.share();
        }
        self = credentials_;
        pending_.push_back(*server.share().release());
    }
    arrivals_.wake_one();
    watch_.notify(poll_can_read);
    lwkt::spin_guard guard(client.lock_);
    client.peer_credentials_ = self;
    return true;
}

k::status unix_socket::wait_for_backlog(ktime::ns until) noexcept {
    const k::status woken = proc::sleep(
        backlog_queue_,
        [this] {
            lwkt::spin_guard guard(lock_);
            return state_ != state::listening || pending_.size() <= backlog_;
        },
        until);
    lwkt::spin_guard guard(lock_);
    callers_waiting_--;
    if (!woken && woken.error() == k::error::timedout) return k::error::again;
    return woken;
}

k::status unix_socket::call(const socket_text& to, ktime::ns until) noexcept {
    k::ref<unix_socket> server = TRY(create(type));
    server->join(*this);
    {
        const sender self = effective_sender();
        lwkt::spin_guard guard(server->lock_);
        server->peer_credentials_ = self;
    }
    inbox_->set_write_watch(server->watch_);
    const auto place = [&]() -> k::status {
        for (;;) {
            const k::ref<unix_socket> listener = TRY(find(to));
            if (listener->type != type) return k::error::prototype;
            if (TRY(listener->enqueue(server, *this, until))) return {};
            TRY(listener->wait_for_backlog(until));
        }
    };
    const k::status placed = place();
    if (placed)
        join(*server);
    else
        inbox_->set_write_watch(watch_);
    return placed;
}

k::status unix_socket::connect(const socket_text& to, ktime::ns until) noexcept {
    if (!is_connection()) return connect_datagrams(to);
    if (pass_credentials.load(std::memory_order_relaxed)) TRY(bind_if_needed());
    {
        lwkt::spin_guard guard(lock_);
        if (state_ == state::connected) return k::error::isconn;
        if (state_ == state::connecting) return k::error::already;
        if (state_ != state::idle) return k::error::inval;
        state_ = state::connecting;
    }
    const k::status done = call(to, until);
    if (done) {
        watch_.notify(poll_can_write);
    } else {
        lwkt::spin_guard guard(lock_);
        state_ = state::idle;
    }
    return done;
}

// --- Datagrams
// --------------------------------------------------------------------------------------------------------

k::status unix_socket::connect_datagrams(const socket_text& to) noexcept {
    if (pass_credentials.load(std::memory_order_relaxed)) TRY(bind_if_needed());
    k::ref<unix_socket> other = TRY(find(to));
    if (other->type != type) return k::error::prototype;
    if (!other->takes_from(*this)) return k::error::perm;
    set_peer(std::move(other));
    watch_.notify(poll_can_write);
    return {};
}

void unix_socket::disconnect() noexcept {
    set_peer({});
}

// Of a datagram socket: also leaves the old peer's list of senders, and enters the new one's.
void unix_socket::set_peer(k::ref<unix_socket> to) noexcept {
    k::ref<unix_socket> before;
    lwkt::sleep_hold hold(changing_peer_);
    {
        k::ref<unix_socket> one_more = to.share();
        lwkt::spin_guard guard(lock_);
        before = std::exchange(peer_, std::move(one_more));
    }
    if (before) {
        lwkt::spin_guard guard(before->senders_lock_);
        before->senders_.erase(before->senders_.iterator_to(*this));
    }
    if (to) {
        lwkt::spin_guard guard(to->senders_lock_);
        to->senders_.push_back(*this);
    }
}

} // namespace files
