// The service that a file system asks, and what may be believed of its answers. Any thread context; all of it blocks
// until the answer is there, the mount's time is over, or the server is given up.
#pragma once

#include "sys/caps/caps.h"
#include "sys/vfs/userfs.h"
#include "sys/vfs/userfs_protocol.h"

namespace vfs::userfs {

// What is asked, beside the request itself.
struct question {
    request head{};
    std::string_view texts[2] = {};
    xio::source bytes = {}; // of a write
};

class server : public k::counted<server> {
  public:
    static k::result<k::ref<server>> connect(const userfs_options& options) noexcept;
    void last_holder_left() noexcept;
    server(caps::client_ref to, const userfs_options& o) noexcept
        : client_(std::move(to)), timeout_(o.timeout), interrupted_(o.interrupted) {}

    // Asks, and waits. The answer is the caller's alone. Errors of the server's as they may be passed on, EIO for those
    // that mean something else here; ETIMEDOUT, ENOTCONN, ENOMEM; EINTR: the running thread ends, and the answer will
    // go nowhere.
    k::result<caps::message_ref> ask(question& q) noexcept;
    k::result<attributes> ask_attributes(question& q) noexcept;
    // Bytes of a node, from a place on: at most as many as asked for, fewer at the end.
    k::result<xio::source> read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept;
    // What came as text, in the message or as its item, copied into `to`: what is looked at does not change. EIO: it is
    // longer.
    static k::result<std::size_t> take_text(caps::message& m, std::span<std::byte> to) noexcept;

    // Says something whose answer does not matter. False: it could not be put. Does not block.
    bool say(question& q) noexcept;
    // Says something without waiting for an answer; nothing is asked any more after that. Does not block.
    void say_last(question& q) noexcept;
    // Nothing is asked any more; who waits hears ENOTCONN. Once or more often.
    void give_up() noexcept;
    bool is_given_up() const noexcept { return given_up_.load(std::memory_order_relaxed); }

  private:
    k::result<caps::message_ref> write_down(question& q) noexcept;

    const caps::client_ref client_;
    const ktime::ns timeout_;
    bool (*const interrupted_)();
    std::atomic<bool> given_up_ = false;
};

using server_ref = k::ref<server>;

} // namespace vfs::userfs
