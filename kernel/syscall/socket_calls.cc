// Making sockets, naming them and connecting them.
#include "kernel/syscall/calls.h"
#include "kernel/syscall/socket_arguments.h"

namespace syscalls {

namespace {

using files::file_ref;
using files::socket_type;
using files::unix_socket;
using vm::user_pointer;
using socket_ref = k::ref<unix_socket>;

constexpr k::u64 socket_flags = files::open_nonblock | files::open_cloexec; // SOCK_NONBLOCK, SOCK_CLOEXEC

k::result<socket_type> type_of(int family, k::u64 type, int protocol) {
    constexpr k::u64 type_mask = 0xf, types = 11, raw = 3;
    if (type & ~(type_mask | socket_flags) || (type & type_mask) >= types) return k::error::inval;
    if (family != files::family_unix) return k::error::afnosupport;
    if (protocol != 0 && protocol != files::family_unix) return k::error::protonosupport;
    switch (type & type_mask) {
    case static_cast<k::u64>(socket_type::stream): return socket_type::stream;
    case static_cast<k::u64>(socket_type::sequenced): return socket_type::sequenced;
    case static_cast<k::u64>(socket_type::datagram):
    case raw: return socket_type::datagram;
    default: return k::error::socktnosupport;
    }
}

k::result<file_ref> file_of(socket_ref s, k::u64 flags) {
    return files::make_socket_file(std::move(s), static_cast<k::u32>(flags) & files::open_nonblock);
}

k::result<k::u64> give(file_ref what, k::u64 flags) {
    return static_cast<k::u64>(TRY(files::give_to_caller(std::move(what), flags & files::open_cloexec)));
}

k::result<k::u64> sys_socket(int family, bits type, int protocol) {
    const socket_type of = TRY(type_of(family, type.value, protocol));
    return give(TRY(file_of(TRY(unix_socket::create(of)), type.value)), type.value);
}

k::result<k::u64> sys_socketpair(int family, bits type, int protocol, user_pointer<std::array<int, 2>> to) {
    const socket_type of = TRY(type_of(family, type.value, protocol));
    socket_ref a = TRY(unix_socket::create(of)), b = TRY(unix_socket::create(of));
    file_ref first = TRY(file_of(a.share(), type.value)), second = TRY(file_of(b.share(), type.value));
    unix_socket::connect_pair(*a, *b);
    const int one = static_cast<int>(TRY(give(std::move(first), type.value)));
    auto two = give(std::move(second), type.value);
    const k::status told = two ? to.write(callers_memory(), {one, static_cast<int>(*two)}) : k::status(two.error());
    if (told) return 0;
    (void)files::callers_table().close(one);
    if (two) (void)files::callers_table().close(static_cast<int>(*two));
    return told.error();
}

k::result<k::u64> sys_bind(fd of, user_buffer address, k::u32 bytes) {
    socket_use s = TRY(socket_of(of));
    const socket_address name = TRY(read_address(address.at, bytes));
    if (name.family != files::family_unix) return k::error::inval;
    TRY(s->bind(name.text));
    return 0;
}

k::result<k::u64> sys_listen(fd of, int backlog) {
    socket_use s = TRY(socket_of(of));
    TRY(s->listen(static_cast<k::u32>(backlog)));
    return 0;
}

k::result<k::u64> sys_accept4(fd of, user_buffer address, user_pointer<int> length, bits flags) {
    if (flags.value & ~socket_flags) return k::error::inval;
    socket_use s = TRY(socket_of(of));
    // Who has no descriptor left does not lose the connection.
    if (files::callers_table().count() >= files::callers_limit()) return k::error::mfile;
    socket_ref got = TRY(s->accept(s->receive_deadline(s.nonblocking())));
    file_ref made = TRY(file_of(got.share(), flags.value));
    if (address.at) {
        auto other = got->peer_name();
        TRY(write_address_and_length(address.at, length, other ? *std::move(other) : files::socket_name_ref()));
    }
    return give(std::move(made), flags.value);
}

k::result<k::u64> sys_accept(fd of, user_buffer address, user_pointer<int> length) {
    return sys_accept4(of, address, length, {0});
}

k::result<k::u64> sys_connect(fd of, user_buffer address, k::u32 bytes) {
    socket_use s = TRY(socket_of(of));
    const socket_address to = TRY(read_address(address.at, bytes));
    if (to.family == files::family_unspecified && !s->is_connection()) {
        s->disconnect();
        return 0;
    }
    if (to.family != files::family_unix || !to.text.length) return k::error::inval;
    TRY(s->connect(to.text, s->send_deadline(s.nonblocking())));
    return 0;
}

k::result<k::u64> sys_shutdown(fd of, int how) {
    socket_use s = TRY(socket_of(of));
    TRY(s->shut(how));
    return 0;
}

k::result<k::u64> sys_getsockname(fd of, user_buffer address, user_pointer<int> length) {
    socket_use s = TRY(socket_of(of));
    TRY(write_address_and_length(address.at, length, s->name()));
    return 0;
}

k::result<k::u64> sys_getpeername(fd of, user_buffer address, user_pointer<int> length) {
    socket_use s = TRY(socket_of(of));
    TRY(write_address_and_length(address.at, length, TRY(s->peer_name())));
    return 0;
}

constexpr entry entries[] = {
    call<sys_socket>(41, "socket", ends, "the family of unix sockets"),
    call<sys_connect>(42, "connect", restarts),
    call<sys_accept>(43, "accept", restarts),
    call<sys_shutdown>(48, "shutdown"),
    call<sys_bind>(49, "bind"),
    call<sys_listen>(50, "listen"),
    call<sys_getsockname>(51, "getsockname"),
    call<sys_getpeername>(52, "getpeername"),
    call<sys_socketpair>(53, "socketpair", ends, "the family of unix sockets"),
    call<sys_accept4>(288, "accept4", restarts),
};

} // namespace

constinit const std::span<const entry> socket_calls = entries;

} // namespace syscalls
