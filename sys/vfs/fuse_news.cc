// What a program tells by itself: that something which it has said before holds no longer.
#include "sys/vfs/fuse_connection.h"

namespace vfs::fuse {

namespace {

// A name behind a head of news. EINVAL: it is none, or not so long; ENAMETOOLONG; EFAULT.
k::result<std::string_view> name_behind(const xio::source& from, k::u64 head_bytes, k::u32 bytes,
                                        std::span<char, longest_name + 1> room) noexcept {
    if (!bytes || from.size() != head_bytes + bytes + 1) return k::error::inval;
    if (bytes > longest_name) return k::error::nametoolong;
    TRY(from.read(head_bytes, std::as_writable_bytes(room.first(bytes + 1))));
    const std::string_view name(room.data(), bytes);
    if (room[bytes] || name.find('\0') != name.npos || name.find('/') != name.npos) return k::error::inval;
    return name;
}

// What follows the head of news, which has nothing behind it.
template <class T> k::result<T> only(const xio::source& from) noexcept {
    if (from.size() != sizeof(answer_head) + sizeof(T)) return k::error::inval;
    return from.read_value<T>(sizeof(answer_head));
}
template <class T> k::result<T> first(const xio::source& from) noexcept {
    if (from.size() < sizeof(answer_head) + sizeof(T)) return k::error::inval;
    return from.read_value<T>(sizeof(answer_head));
}

} // namespace

void connection::listen(file_system& in, listener& to) noexcept {
    lwkt::spin_guard guard(lock_);
    listening_ = &in;
    listener_ = &to;
}

void connection::stop_listening() noexcept {
    lwkt::spin_guard guard(lock_);
    listening_ = nullptr;
    listener_ = nullptr;
}

k::status connection::hear(news what, const xio::source& from) noexcept {
    file_system_ref in; // so that it stays
    listener* to = nullptr;
    {
        lwkt::spin_guard guard(lock_);
        if (listening_ && now_in() == phase::running) in = file_system_ref::to_living(*listening_);
        to = listener_;
    }
    char room[longest_name + 1];
    switch (what) {
    case news::bytes_are_old: {
        const auto said = TRY(only<bytes_news>(from));
        return in ? to->bytes_are_old(said.node, said.offset, said.bytes) : k::error::notconn;
    }
    case news::name_is_old: {
        const auto said = TRY(first<name_news>(from));
        const auto name = TRY(name_behind(from, sizeof(answer_head) + sizeof(said), said.name_bytes, room));
        return in ? to->name_is_old(said.directory, name) : k::error::notconn;
    }
    case news::name_is_gone: {
        const auto said = TRY(first<gone_news>(from));
        const auto name = TRY(name_behind(from, sizeof(answer_head) + sizeof(said), said.name_bytes, room));
        return in ? to->name_is_gone(said.directory, name, said.node) : k::error::notconn;
    }
    case news::poll:
    case news::store:
    case news::retrieve: return k::error::opnotsupp; // bytes are asked for, not brought
    default: return k::error::inval;
    }
}

} // namespace vfs::fuse
