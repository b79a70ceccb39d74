// What a program tells by itself: that something which it has said before holds no longer.
#include "sys/userfs/fuse_connection.h"

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
    case news::store: {
        constexpr k::u64 in_front = sizeof(answer_head) + sizeof(store_news);
        const auto said = TRY(first<store_news>(from));
        if (from.size() - in_front != said.bytes) return k::error::inval;
        if (!in) return k::error::notconn;
        return to->store(said.node, said.offset, TRY(from.slice(in_front, said.bytes)));
    }
    case news::retrieve: {
        const auto said = TRY(only<retrieve_news>(from));
        return in ? give_back(*to, said) : k::error::notconn;
    }
    case news::poll: return k::error::opnotsupp; // nobody is waited for
    default: return k::error::inval;
    }
}

// As a request without an answer, whose number is the program's.
k::status connection::give_back(listener& of, const retrieve_news& what) noexcept {
    xio::source bytes = TRY(of.retrieve(what.node, what.offset, std::min<k::u64>(what.bytes, most_write_)));
    const retrieved_question how{
        .unused0 = 0, .offset = what.offset, .bytes = static_cast<k::u32>(bytes.size()), .unused1 = 0, .unused2 = {}};
    request_ref r = TRY(request::make(
        {.opcode = opcode::retrieved, .node = what.node, .arguments = std::as_bytes(std::span(&how, 1))}));
    r->payload = std::move(bytes);
    r->unique_ = what.unique;
    r->has_number_ = true;
    if (post(std::move(r))) return {};
    return now_in() == phase::running ? k::error::again : k::error::notconn;
}

} // namespace vfs::fuse
