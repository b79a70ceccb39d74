// The options of sockets.
#include "kernel/proc/clock.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/socket_arguments.h"

namespace syscalls {

namespace {

using files::unix_socket;
using proc::time_value;
using vm::user_pointer;

constexpr int level_socket = 1;

enum socket_option : int {
    so_reuse_address = 2,
    so_type = 3,
    so_error = 4,
    so_broadcast = 6,
    so_send_buffer = 7,
    so_receive_buffer = 8,
    so_keep_alive = 9,
    so_pass_credentials = 16,
    so_peer_credentials = 17,
    so_receive_timeout = 20,
    so_send_timeout = 21,
    so_accepts_connections = 30,
    so_protocol = 38,
    so_domain = 39,
};

// A size that is asked for, as it is kept: twice, within limits.
k::u64 buffer_of(int asked) {
    const k::u64 bytes = std::min(static_cast<k::u64>(static_cast<k::u32>(asked)), unix_socket::usual_buffer);
    return std::max(2 * bytes, unix_socket::least_buffer);
}

// --- Setting

k::status set_timeout(std::atomic<ktime::ns>& what, xio::user_address at, k::u32 bytes) {
    if (bytes < sizeof(time_value)) return k::error::inval;
    const ktime::ns length = TRY(TRY(user_pointer<const time_value>(at).read(callers_memory())).to_ns());
    what.store(length ? length : ktime::forever, std::memory_order_relaxed);
    return {};
}

k::status set_number(unix_socket& s, int option, int value) {
    switch (option) {
    case so_pass_credentials: s.pass_credentials.store(value != 0, std::memory_order_relaxed); return {};
    case so_send_buffer: s.set_send_buffer(buffer_of(value)); return {};
    case so_receive_buffer: s.receive_buffer.store(buffer_of(value), std::memory_order_relaxed); return {};
    case so_reuse_address:
    case so_broadcast:
    case so_keep_alive:
        if (value)
            s.remembered.fetch_or(1u << option, std::memory_order_relaxed);
        else
            s.remembered.fetch_and(~(1u << option), std::memory_order_relaxed);
        return {};
    default: return k::error::noprotoopt;
    }
}

k::result<k::u64> sys_setsockopt(fd of, int level, int option, user_buffer value, k::u32 bytes) {
    socket_use s = TRY(socket_of(of));
    if (bytes >> 31) return k::error::inval;
    if (level != level_socket) return k::error::opnotsupp;
    if (option == so_receive_timeout) {
        TRY(set_timeout(s->receive_timeout, value.at, bytes));
        return 0;
    }
    if (option == so_send_timeout) {
        TRY(set_timeout(s->send_timeout, value.at, bytes));
        return 0;
    }
    if (bytes < sizeof(int)) return k::error::inval;
    TRY(set_number(*s, option, TRY(user_pointer<const int>(value.at).read(callers_memory()))));
    return 0;
}

// --- Getting

k::result<int> number(unix_socket& s, int option) {
    switch (option) {
    case so_type: return static_cast<int>(s.type);
    case so_error: return static_cast<int>(s.take_error());
    case so_domain: return static_cast<int>(files::family_unix);
    case so_protocol: return 0;
    case so_accepts_connections: return s.is_listening() ? 1 : 0;
    case so_send_buffer: return static_cast<int>(s.send_buffer());
    case so_receive_buffer: return static_cast<int>(s.receive_buffer.load(std::memory_order_relaxed));
    case so_pass_credentials: return s.pass_credentials.load(std::memory_order_relaxed) ? 1 : 0;
    case so_reuse_address:
    case so_broadcast:
    case so_keep_alive: return static_cast<int>(s.remembered.load(std::memory_order_relaxed) >> option & 1);
    default: return k::error::noprotoopt;
    }
}

time_value timeout(const std::atomic<ktime::ns>& what) {
    const ktime::ns length = what.load(std::memory_order_relaxed);
    return time_value::of(length == ktime::forever ? 0 : length);
}

// As much of a value as there is room for, and how much that was.
template <class T> k::status give(xio::user_address at, user_pointer<int> length, const T& value) {
    const int room = TRY(length.read(callers_memory()));
    if (room < 0) return k::error::inval;
    const auto bytes = std::min<k::u64>(static_cast<k::u64>(room), sizeof(value));
    if (callers_memory().copy_out(at, &value, bytes) != bytes) return k::error::fault;
    return length.write(callers_memory(), static_cast<int>(bytes));
}

k::status get(unix_socket& s, int option, xio::user_address at, user_pointer<int> length) {
    switch (option) {
    case so_peer_credentials: return give(at, length, s.peer_credentials());
    case so_receive_timeout: return give(at, length, timeout(s.receive_timeout));
    case so_send_timeout: return give(at, length, timeout(s.send_timeout));
    default: return give(at, length, TRY(number(s, option)));
    }
}

k::result<k::u64> sys_getsockopt(fd of, int level, int option, user_buffer value, user_pointer<int> length) {
    socket_use s = TRY(socket_of(of));
    if (level != level_socket) return k::error::opnotsupp;
    TRY(get(*s, option, value.at, length));
    return 0;
}

constexpr entry entries[] = {
    call<sys_setsockopt>(54, "setsockopt", ends, "no linger, no filters; a receive buffer is remembered"),
    call<sys_getsockopt>(55, "getsockopt"),
};

} // namespace

constinit const std::span<const entry> socket_option_calls = entries;

} // namespace syscalls
