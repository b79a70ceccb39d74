// Unix-domain sockets. Read this header first of unix_socket*.
//
//   unix_socket_inbox.h      what waits to be received: a stream (unix_socket_stream.cc) or messages
//   unix_socket_name.h       names, and who has them
//   flight.h, cargo.h        files and credentials that travel along
//   unix_socket_collector.h  sockets in flight that nobody can reach
//   unix_socket_connect.cc   how two become connected; unix_socket_file.cc: the open file
//
// A socket is its inbox and the way to others: to send is to put into the peer's inbox, so the two directions of a
// connection share nothing but the pointers. Sockets hold each other by their references; files hold sockets, and a
// socket whose file was closed lets go of its peer. Of a stream or a sequenced-packet socket the peer never changes
// once there is one (`partner_`, which the sending and receiving thread uses without a lock); a datagram socket's does.
//
// All functions: thread context of a process, and they may block, unless said otherwise.
#pragma once

#include "kernel/files/file.h"
#include "kernel/files/unix_socket_collector.h"
#include "kernel/files/unix_socket_inbox.h"

namespace files {

// Linux's values.
enum class socket_type : k::u8 { stream = 1, datagram = 2, sequenced = 5 };
enum shut_direction : int { shut_read, shut_write, shut_both };

// What is sent, besides the bytes.
struct outgoing {
    ktime::ns until;                 // a deadline
    const socket_text* to = nullptr; // of a datagram; null: to the peer
    cargo with = {};
};

class unix_socket final : public k::counted<unix_socket> {
  public:
    static constexpr k::u64 usual_buffer = 212'992, most_buffer = 2 * usual_buffer, least_buffer = 4608;
    static constexpr k::u64 message_overhead = 32; // of the buffer: what one message may not use of it
    static constexpr k::u32 most_backlog = 4096;

    static k::result<k::ref<unix_socket>> create(socket_type type) noexcept; // ENOMEM
    // Two that are connected to each other.
    static void connect_pair(unix_socket& a, unix_socket& b) noexcept;
    void last_holder_left() noexcept;
    // Its file was closed; or it was never accepted: its peer has lost what it sent.
    void close(bool refused = false) noexcept;

    const socket_type type;
    bool is_connection() const noexcept { return type != socket_type::datagram; }

    // EINVAL: it has a name. A name of no length: any that is free.
    k::status bind(const socket_text& name) noexcept;
    // EINVAL, EOPNOTSUPP.
    k::status listen(k::u32 backlog) noexcept;
    // EINVAL: nobody listens here; EAGAIN, EINTR.
    k::result<k::ref<unix_socket>> accept(ktime::ns until) noexcept;
    // ECONNREFUSED, EPROTOTYPE, EISCONN, EALREADY, EINVAL, EPERM, EAGAIN, EINTR and what finding a name may say.
    k::status connect(const socket_text& to, ktime::ns until) noexcept;
    // A datagram socket sends to nobody in particular any more.
    void disconnect() noexcept;
    k::status shut(int how) noexcept; // EINVAL

    // EPIPE (the caller sends SIGPIPE), ENOTCONN, EISCONN, ECONNREFUSED, EMSGSIZE, EPERM, ...
    k::result<k::u64> send(xio::source& from, outgoing& how) noexcept;
    // `all`: a stream waits until the sink is full.
    k::result<received> receive(xio::sink& to, receiving& how, bool all = false) noexcept;

    socket_name_ref name() noexcept;                 // empty: none
    k::result<socket_name_ref> peer_name() noexcept; // ENOTCONN
    sender peer_credentials() noexcept;              // of who connected or listened; nobody: 0, -1, -1
    bool is_listening() noexcept;
    k::error take_error() noexcept { return static_cast<k::error>(error_.exchange(0)); } // 0: none
    k::u64 waiting_bytes() noexcept { return inbox_->waiting_bytes(); }
    k::u32 ready() noexcept;
    pollable& watch() noexcept { return watch_; }
    // Where its bytes come from and go to, of a stream that is connected; else null.
    piece_queue* stream_in() noexcept { return partner() ? inbox_->stream() : nullptr; }
    piece_queue* stream_out() noexcept { return partner() ? partner()->inbox_->stream() : nullptr; }

    // --- Options.
    std::atomic<bool> pass_credentials = false;
    std::atomic<ktime::ns> receive_timeout = ktime::forever, send_timeout = ktime::forever;
    std::atomic<k::u64> receive_buffer = usual_buffer;
    std::atomic<k::u32> remembered = 0; // those that mean nothing here, a bit each
    k::u64 send_buffer() const noexcept { return send_buffer_.load(std::memory_order_relaxed); }
    void set_send_buffer(k::u64 bytes) noexcept;
    ktime::ns receive_deadline(bool nonblocking) const noexcept { return deadline(nonblocking, receive_timeout); }
    ktime::ns send_deadline(bool nonblocking) const noexcept { return deadline(nonblocking, send_timeout); }

    // --- For its inbox: those who send here and poll can go on.
    void tell_senders_of_room() noexcept;

    // --- For the collector, under its lock.
    file* open_file() const noexcept { return file_; }
    template <class Visit> void for_each_flight(Visit visit) noexcept {
        visit_flights([](void* v, flight& f) { (*static_cast<Visit*>(v))(f); }, &visit);
    }
    void take_flights(flight_list& to) noexcept;
    lwkt::list_hook flight_link;
    collected flying;

    explicit unix_socket(socket_type t) noexcept : type(t) {} // for create()
    ~unix_socket();

  private:
    friend class socket_file;
    enum class state : k::u8 { idle, connecting, connected, listening, closed };

    static ktime::ns deadline(bool nonblocking, const std::atomic<ktime::ns>& timeout) noexcept {
        if (nonblocking) return at_once;
        const ktime::ns most = timeout.load(std::memory_order_relaxed);
        return most == ktime::forever ? most : ktime::after(most);
    }
    unix_socket* partner() const noexcept { return partner_.load(std::memory_order_acquire); }
    // Makes `peer` the partner for good.
    void join(unix_socket& peer) noexcept;
    k::status bind_if_needed() noexcept;
    static k::result<k::ref<unix_socket>> find(const socket_text& name) noexcept;

    // Connecting.
    k::result<bool> enqueue(k::ref<unix_socket>& server, unix_socket& client, ktime::ns until) noexcept;
    k::status wait_for_backlog(ktime::ns until) noexcept;
    k::status call(const socket_text& to, ktime::ns until) noexcept;
    k::status connect_datagrams(const socket_text& to) noexcept;
    void set_peer(k::ref<unix_socket> to) noexcept;
    k::ref<unix_socket> peer() noexcept;
    bool takes_from(const unix_socket& other) noexcept;
    bool is_closed() noexcept;
    void refuse_pending() noexcept;

    k::result<k::ref<unix_socket>> receiver(const outgoing& how) noexcept;
    k::result<k::u64> put(unix_socket& into, xio::source& from, outgoing& how) noexcept;
    k::result<k::u64> send_message(xio::source& from, outgoing& how) noexcept;
    void visit_flights(void (*visit)(void*, flight&), void* with) noexcept;

    pollable watch_;
    mem::box<unix_inbox> inbox_;
    std::atomic<unix_socket*> partner_ = nullptr; // the same as peer_, of a connection
    std::atomic<int> error_ = 0;                  // SO_ERROR
    std::atomic<k::u64> send_buffer_ = usual_buffer;
    std::atomic<bool> shut_for_sending_ = false; // a datagram socket
    file* file_ = nullptr;                       // null: not accepted yet, or closed

    lwkt::spinlock lock_;
    state state_ GUARDED_BY(lock_) = state::idle;
    bool binding_ GUARDED_BY(lock_) = false;
    bool owns_name_ GUARDED_BY(lock_) = false; // or it is that of the socket that listened
    socket_name_ref name_ GUARDED_BY(lock_);
    k::ref<unix_socket> peer_ GUARDED_BY(lock_);
    bool partner_left_ GUARDED_BY(lock_) = false;
    sender credentials_ GUARDED_BY(lock_){0, ~0u, ~0u}; // of who made it listen
    sender peer_credentials_ GUARDED_BY(lock_){0, ~0u, ~0u};

    // Of a path: the node, and what is attached to it.
    friend class path_names;
    vfs::found node_;
    k::ref<vfs::attachment> attached_;

    // Listening.
    lwkt::list_hook pending_link_;
    boost::intrusive::list<unix_socket,
                           boost::intrusive::member_hook<unix_socket, lwkt::list_hook, &unix_socket::pending_link_>>
        pending_ GUARDED_BY(lock_); // each held
    k::u32 backlog_ GUARDED_BY(lock_) = 0;
    k::u32 callers_waiting_ GUARDED_BY(lock_) = 0;
    lwkt::wait_queue arrivals_, backlog_queue_;

    lwkt::sleep_lock changing_peer_; // a datagram socket
    // Datagram sockets whose peer this is. ready() does not take this lock.
    lwkt::spinlock senders_lock_;
    lwkt::list_hook sender_link_; // in the peer's list
    boost::intrusive::list<unix_socket,
                           boost::intrusive::member_hook<unix_socket, lwkt::list_hook, &unix_socket::sender_link_>,
                           boost::intrusive::constant_time_size<false>>
        senders_ GUARDED_BY(senders_lock_);
};

// Who runs, by its effective ids / by its real ones. The kernel itself is process 0 of root.
sender effective_sender() noexcept;
sender real_sender() noexcept;

// Boot, once. ENOMEM.
k::status start_sockets() noexcept;

// The open file of a socket. ENOMEM: the socket is closed.
k::result<file_ref> make_socket_file(k::ref<unix_socket> s, k::u32 flags) noexcept;
// The socket behind a file, if it is one.
unix_socket* unix_socket_of(file& f) noexcept;

} // namespace files
