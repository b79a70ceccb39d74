// What the calls that concern sockets share: the socket of a descriptor, addresses, and struct msghdr with what it
// points to.
#pragma once

#include "kernel/files/unix_socket.h"
#include "kernel/syscall/file_arguments.h"

namespace syscalls {

// Linux's flags of sending and receiving.
enum message_flag : k::u64 {
    msg_out_of_band = 1,
    msg_peek = 2,
    msg_control_truncated = 8,
    msg_truncated = 0x20,
    msg_dont_wait = 0x40,
    msg_wait_all = 0x100,
    msg_no_signal = 0x4000,
    msg_wait_for_one = 0x10000,
    msg_close_on_exec = 0x4000'0000,
};

// The socket of a descriptor for the length of a call.
class socket_use {
  public:
    explicit socket_use(file_use f) noexcept : file_(std::move(f)), socket_(files::unix_socket_of(*file_)) {}
    files::unix_socket& operator*() const { return *socket_; }
    files::unix_socket* operator->() const { return socket_; }
    bool exists() const { return socket_ != nullptr; }
    files::file& as_file() const { return *file_; }
    bool nonblocking(k::u64 flags = 0) const { return (flags & msg_dont_wait) || file_->nonblocking(); }

  private:
    file_use file_;
    files::unix_socket* socket_;
};
// EBADF, ENOTSOCK.
k::result<socket_use> socket_of(fd which) noexcept;

// --- Addresses

struct socket_address {
    k::u16 family;
    files::socket_text text;
};
// EINVAL, EFAULT.
k::result<socket_address> read_address(xio::user_address at, k::u32 bytes) noexcept;
// The same, of the family of unix sockets, and with a name. EINVAL.
k::result<socket_address> read_unix_address(xio::user_address at, k::u32 bytes) noexcept;
// Writes as much as there is room for; returns how long it is, or would be. EFAULT.
k::result<k::u32> write_address(xio::user_address at, k::u32 room, const files::socket_name_ref& name) noexcept;
// The same where the room is at an address itself. EINVAL.
k::status write_address_and_length(xio::user_address at, vm::user_pointer<int> length,
                                   const files::socket_name_ref& name) noexcept;

// --- Messages

// struct msghdr.
struct message_header {
    xio::user_address name;
    k::u32 name_bytes, pad0;
    xio::user_address ranges;
    k::u64 range_count;
    xio::user_address control;
    k::u64 control_bytes;
    k::u32 flags, pad1;
};
static_assert(sizeof(message_header) == 56);

// What the control messages of a sender say. EINVAL, EBADF, EPERM: credentials of somebody else; ETOOMANYREFS, ENOBUFS,
// ENOMEM.
k::result<files::cargo> read_control(const message_header& h) noexcept;
// Writes the control messages of a receiver. Sets h.control_bytes to what was written, and says in h.flags if something
// had no room. Descriptors are made here.
void write_control(message_header& h, files::receiving& what, bool with_sender, bool close_on_exec) noexcept;

} // namespace syscalls
