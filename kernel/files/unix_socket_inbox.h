// What was sent to a socket and not yet received: a stream of bytes or a queue of messages. It belongs to the socket
// that receives; others put into it.
#pragma once

#include "kernel/files/piece_queue.h"
#include "kernel/files/unix_socket_name.h"

namespace files {

// How something is sent, and with what.
struct sending {
    ktime::ns until;                       // a deadline
    cargo* with = nullptr;                 // moved away once it is in the inbox
    const socket_name_ref* from = nullptr; // who says so, if the receiver of a message wants to know
    k::u64 limit = 0;                      // a message is not taken in while so many bytes wait
};

// What came of receiving a message, besides what `receiving` says.
struct received {
    k::u64 bytes = 0;   // that were moved
    k::u64 message = 0; // that it had
    socket_name_ref from = {};
};

class unix_inbox {
  public:
    virtual ~unix_inbox() = default;

    // EPIPE: shut, or the reader has left; EAGAIN, EINTR, EFAULT, ENOMEM. All of a message, or nothing.
    virtual k::result<k::u64> send(xio::source& from, sending& how) noexcept = 0;
    // No message, no bytes: EAGAIN, EINTR; of one that is shut 0. A stream gives what there is.
    virtual k::result<received> receive(xio::sink& to, receiving& how) noexcept = 0;

    virtual void shut() noexcept = 0;        // no more goes in; what is in it can be received
    virtual void writer_left() noexcept = 0; // nobody will send any more
    virtual void reader_left() noexcept = 0; // what is in it goes

    virtual k::u32 ready_to_read() noexcept = 0;  // poll_can_read; poll_hangup: nothing more will come
    virtual k::u32 ready_to_write() noexcept = 0; // poll_can_write; poll_error: nothing more goes in
    virtual k::u64 waiting_bytes() noexcept = 0;  // as FIONREAD tells: all, or those of the first datagram
    virtual bool is_empty() noexcept = 0;
    virtual void set_limit(k::u64 bytes) noexcept = 0;
    virtual void set_write_watch(pollable& to) noexcept = 0;

    // The bytes themselves of a stream; null of others.
    virtual piece_queue* stream() noexcept { return nullptr; }

    // For the collector.
    virtual void visit_flights(void (*visit)(void*, flight&), void* with) noexcept = 0;
    virtual void take_flights(flight_list& to) noexcept = 0;
};

// Null without memory. Watchers of both ends stand at `watch` until set_write_watch().
mem::box<unix_inbox> make_stream_inbox(pollable& watch) noexcept;
// `told_of_room` is called when senders that poll can go on.
class unix_socket;
mem::box<unix_inbox> make_message_inbox(unix_socket& owner, pollable& watch) noexcept;

} // namespace files
