// Sending to sockets and receiving from them.
#include "kernel/proc/clock.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/socket_arguments.h"

namespace syscalls {

namespace {

using files::receiving;
using vm::user_pointer;

constexpr k::u64 most_messages = 1024; // of one call

// What a send came to: EPIPE sends SIGPIPE too, unless asked not to.
k::result<k::u64> sent(const socket_use& s, k::result<k::u64> outcome, k::u64 flags) {
    return flags & msg_no_signal ? std::move(outcome) : written(s.as_file(), std::move(outcome));
}

// The name that a message goes to, if one is given.
class target {
  public:
    k::status read(const socket_use& s, xio::user_address at, k::u32 bytes) noexcept {
        if (!at || !bytes || s->type == files::socket_type::sequenced) return {};
        address_ = TRY(read_unix_address(at, bytes));
        given_ = true;
        return {};
    }
    const files::socket_text* get() const noexcept { return given_ ? &address_.text : nullptr; }

  private:
    socket_address address_;
    bool given_ = false;
};

// --- Sending

k::result<k::u64> sys_sendto(fd to, user_buffer from, k::u64 bytes, bits flags, user_buffer address, k::u32 length) {
    socket_use s = TRY(socket_of(to));
    if (flags.value & msg_out_of_band) return k::error::opnotsupp;
    target name;
    TRY(name.read(s, address.at, length));
    const one_range where(from, bytes);
    xio::source source = where.source();
    files::outgoing how{.until = s->send_deadline(s.nonblocking(flags.value)), .to = name.get()};
    return sent(s, s->send(source, how), flags.value);
}

k::result<k::u64> send_one(const socket_use& s, const message_header& h, k::u64 flags) {
    if (flags & msg_out_of_band) return k::error::opnotsupp;
    if (h.range_count > many_ranges::most) return k::error::msgsize;
    target name;
    TRY(name.read(s, h.name, h.name_bytes));
    many_ranges where;
    TRY(where.read(user_pointer<const xio::user_range>(h.ranges), h.range_count));
    xio::source source = where.source();
    files::outgoing how{.until = s->send_deadline(s.nonblocking(flags)), .to = name.get()};
    how.with = TRY(read_control(h));
    return sent(s, s->send(source, how), flags);
}

k::result<k::u64> sys_sendmsg(fd to, user_pointer<const message_header> header, bits flags) {
    socket_use s = TRY(socket_of(to));
    return send_one(s, TRY(header.read(callers_memory())), flags.value);
}

// struct mmsghdr.
struct counted_message {
    message_header header;
    k::u32 bytes, pad;
};
static_assert(sizeof(counted_message) == 64);

user_pointer<k::u32> count_of(user_pointer<counted_message> m) {
    return user_pointer<k::u32>(m.address() + offsetof(counted_message, bytes));
}

k::result<k::u64> sys_sendmmsg(fd to, user_pointer<counted_message> messages, k::u32 count, bits flags) {
    socket_use s = TRY(socket_of(to));
    const k::u64 all = std::min<k::u64>(count, most_messages);
    for (k::u64 done = 0; done < all; done++) {
        const auto one = [&]() -> k::status {
            const auto at = messages + done;
            const counted_message m = TRY(at.read(callers_memory()));
            const k::u64 bytes = TRY(send_one(s, m.header, flags.value));
            return count_of(at).write(callers_memory(), static_cast<k::u32>(bytes));
        };
        if (const k::status good = one(); !good) {
            if (done) return done;
            return good.error();
        }
    }
    return all;
}

// --- Receiving

receiving how_to_receive(const socket_use& s, k::u64 flags) {
    return {.until = s->receive_deadline(s.nonblocking(flags)), .peek = (flags & msg_peek) != 0};
}

// What the call answers.
k::u64 count_of(const files::received& got, k::u64 flags) {
    return flags & msg_truncated ? got.message : got.bytes;
}

// Who sent it, as far as it has a name.
files::socket_name_ref name_of(const socket_use& s, files::received& got) {
    if (!s->is_connection()) return std::move(got.from);
    auto name = s->peer_name();
    return name ? *std::move(name) : files::socket_name_ref();
}

k::result<k::u64> sys_recvfrom(fd from, user_buffer to, k::u64 bytes, bits flags, user_buffer address,
                               user_pointer<int> length) {
    socket_use s = TRY(socket_of(from));
    if (flags.value & msg_out_of_band) return k::error::opnotsupp;
    const one_range where(to, bytes);
    xio::sink sink = where.sink();
    receiving how = how_to_receive(s, flags.value);
    files::received got = TRY(s->receive(sink, how, flags.value & msg_wait_all));
    if (!address.at) return s->type == files::socket_type::stream ? got.bytes : count_of(got, flags.value);
    const files::socket_name_ref name = name_of(s, got);
    if (name)
        TRY(write_address_and_length(address.at, length, name));
    else
        TRY(length.write(callers_memory(), 0));
    return count_of(got, flags.value);
}

// Says in the header what came.
k::result<k::u64> receive_one(const socket_use& s, message_header& h, k::u64 flags) {
    if (flags & msg_out_of_band) return k::error::opnotsupp;
    if (h.range_count > many_ranges::most) return k::error::msgsize;
    many_ranges where;
    TRY(where.read(user_pointer<const xio::user_range>(h.ranges), h.range_count));
    xio::sink sink = where.sink();
    receiving how = how_to_receive(s, flags);
    files::received got = TRY(s->receive(sink, how, flags & msg_wait_all));
    h.flags = flags & msg_close_on_exec;
    if (got.message > got.bytes) h.flags |= msg_truncated;
    if (h.name) {
        const files::socket_name_ref name = name_of(s, got);
        h.name_bytes = name ? TRY(write_address(h.name, h.name_bytes, name)) : 0;
    }
    write_control(h, how, s->pass_credentials.load(std::memory_order_relaxed), flags & msg_close_on_exec);
    return count_of(got, flags);
}

// Those fields of the header that the caller is told of.
k::status tell(user_pointer<message_header> at, const message_header& h) {
    const auto field = [&](std::size_t offset, auto value) {
        return user_pointer<decltype(value)>(at.address() + offset).write(callers_memory(), value);
    };
    if (h.name) TRY(field(offsetof(message_header, name_bytes), h.name_bytes));
    TRY(field(offsetof(message_header, control_bytes), h.control_bytes));
    return field(offsetof(message_header, flags), h.flags);
}

k::result<k::u64> sys_recvmsg(fd from, user_pointer<message_header> header, bits flags) {
    socket_use s = TRY(socket_of(from));
    message_header h = TRY(header.read(callers_memory()));
    const k::u64 bytes = TRY(receive_one(s, h, flags.value));
    TRY(tell(header, h));
    return bytes;
}

k::result<k::u64> sys_recvmmsg(fd from, user_pointer<counted_message> messages, k::u32 count, bits flags,
                               user_pointer<proc::time_spec> timeout) {
    socket_use s = TRY(socket_of(from));
    ktime::ns deadline = ktime::forever;
    if (timeout) deadline = ktime::after(TRY(TRY(timeout.read(callers_memory())).to_ns()));
    const k::u64 all = std::min<k::u64>(count, most_messages);
    k::u64 how = flags.value & ~msg_wait_for_one;
    for (k::u64 done = 0; done < all;) {
        const auto one = [&]() -> k::status {
            const auto at = messages + done;
            counted_message m = TRY(at.read(callers_memory()));
            const k::u64 bytes = TRY(receive_one(s, m.header, how));
            TRY(tell(user_pointer<message_header>(at.address()), m.header));
            return count_of(at).write(callers_memory(), static_cast<k::u32>(bytes));
        };
        if (const k::status good = one(); !good) {
            if (done) return done;
            return good.error();
        }
        done++;
        if (flags.value & msg_wait_for_one) how |= msg_dont_wait;
        if (ktime::now() >= deadline) return done;
    }
    return all;
}

constexpr entry entries[] = {
    call<sys_sendto>(44, "sendto", restarts),
    call<sys_recvfrom>(45, "recvfrom", restarts),
    call<sys_sendmsg>(46, "sendmsg", restarts),
    call<sys_recvmsg>(47, "recvmsg", restarts),
    call<sys_recvmmsg>(299, "recvmmsg", restarts, "looks at its time-out between messages, as in Linux"),
    call<sys_sendmmsg>(307, "sendmmsg", restarts),
};

} // namespace

constinit const std::span<const entry> message_calls = entries;

} // namespace syscalls
