// Extended attributes in a program that speaks FUSE.
#include "sys/userfs/fuse_server_priv.h"
#include "sys/vfs/extended.h"

namespace vfs::userfs {

// A value, or a list, or (nothing to put it in) its length.
k::result<k::u64> fuse_server::ask_extended(fuse::request::form f, skill needed, std::span<std::byte> to) noexcept {
    if (!serves_caller()) return k::error::acces;
    if (!has(needed)) return k::error::opnotsupp;
    const fuse::get_extended_question how{static_cast<k::u32>(to.size()), 0};
    f.arguments = bytes_of(how);
    f.how = to.empty() ? taking::exactly : taking::at_most;
    f.most = to.empty() ? sizeof(fuse::extended_length_answer) : to.size();
    auto said = ask(f);
    if (!said && said.error() == k::error::nosys) lacks(needed);
    if (!said) return said.error() == k::error::nosys ? k::error::opnotsupp : said.error();
    if (to.empty()) {
        const k::u64 bytes = (*said)->value<fuse::extended_length_answer>().bytes;
        if (bytes > longest_extended_value) return k::error::io;
        return bytes;
    }
    std::memcpy(to.data(), (*said)->room(), (*said)->answered());
    return (*said)->answered();
}

k::result<k::u64> fuse_server::get_extended(k::u64 node, std::string_view name, std::span<std::byte> to) noexcept {
    return ask_extended({.opcode = opcode::get_extended, .node = node, .names = {name}, .name_count = 1},
                        skill::get_extended, to);
}

k::result<k::u64> fuse_server::list_extended(k::u64 node, std::span<std::byte> to) noexcept {
    auto got = ask_extended({.opcode = opcode::list_extended, .node = node}, skill::list_extended, to);
    if (!got && got.error() == k::error::opnotsupp) return 0;
    return got;
}

k::status fuse_server::set_extended(k::u64 node, std::string_view name, std::optional<std::span<const std::byte>> value,
                                    unsigned flags) noexcept {
    if (!serves_caller()) return k::error::acces;
    if (!has(skill::set_extended)) return k::error::opnotsupp;
    k::result<request_ref> said = request_ref();
    if (value) {
        const fuse::set_extended_question how{static_cast<k::u32>(value->size()), flags};
        xio::source bytes = value->empty() ? xio::source() : TRY(xio::source::copy_of(*value));
        said = ask({.opcode = opcode::set_extended,
                    .node = node,
                    .arguments = bytes_of(how),
                    .names = {name},
                    .name_count = 1},
                   std::move(bytes));
    } else {
        said = ask({.opcode = opcode::remove_extended, .node = node, .names = {name}, .name_count = 1});
    }
    if (said) return {};
    if (said.error() != k::error::nosys) return said.error();
    lacks(skill::set_extended);
    return k::error::opnotsupp;
}

} // namespace vfs::userfs
