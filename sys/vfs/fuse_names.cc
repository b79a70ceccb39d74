// Names in a program that speaks FUSE: links, renaming, lists.
#include "sys/vfs/fuse_server_priv.h"

namespace vfs::userfs {

bool fuse_server::forget(k::u64 node, k::u64 answers) noexcept {
    const fuse::forget_question how{answers};
    auto r = fuse::request::make({.opcode = opcode::forget, .node = node, .arguments = bytes_of(how)});
    return r && line_->post(*std::move(r));
}

// The new name may have a number of its own: whoever looks it up will know.
k::status fuse_server::link(question& q) noexcept {
    const fuse::link_question how{q.head.other};
    const auto made = TRY(ask_entry({.opcode = opcode::link,
                                     .node = q.head.node,
                                     .arguments = bytes_of(how),
                                     .names = {q.texts[0]},
                                     .name_count = 1}));
    (void)forget(made.of.node, 1);
    return {};
}

k::status fuse_server::rename(question& q) noexcept {
    if (!q.head.what) {
        const fuse::rename_question how{q.head.other};
        TRY(ask({.opcode = opcode::rename,
                 .node = q.head.node,
                 .arguments = bytes_of(how),
                 .names = {q.texts[0], q.texts[1]},
                 .name_count = 2}));
        return {};
    }
    if (!has(skill::rename_with)) return k::error::inval;
    const fuse::rename_with_question how{q.head.other, q.head.what, 0};
    auto done = ask({.opcode = opcode::rename_with,
                     .node = q.head.node,
                     .arguments = bytes_of(how),
                     .names = {q.texts[0], q.texts[1]},
                     .name_count = 2});
    if (done) return {};
    if (done.error() != k::error::nosys) return done.error();
    lacks(skill::rename_with);
    return k::error::inval;
}

k::result<std::size_t> fuse_server::ask_text(question& q, std::span<std::byte> to) noexcept {
    if (q.head.operation == operation::list) return list(q, to);
    const request_ref r =
        TRY(ask({.opcode = opcode::read_link, .node = q.head.node, .how = taking::at_most, .most = to.size()}));
    std::memcpy(to.data(), r->room(), r->answered());
    return static_cast<std::size_t>(r->answered());
}

// Entries have the same shape here and there.
k::result<std::size_t> fuse_server::list(question& q, std::span<std::byte> to) noexcept {
    static_assert(sizeof(entry) == sizeof(fuse::directory_entry));
    handle_ref own;
    if (!q.with) {
        own = TRY(open_there(q.head.node, 0, true));
        q.with = own.get();
    }
    const fuse::read_question how{.handle = of(*q.with).number(),
                                  .offset = q.head.offset,
                                  .bytes = static_cast<k::u32>(to.size()),
                                  .read_flags = 0,
                                  .lock_owner = 0,
                                  .flags = of(*q.with).flags(),
                                  .unused = 0};
    const request_ref r = TRY(ask({.opcode = opcode::read_directory,
                                   .node = q.head.node,
                                   .arguments = bytes_of(how),
                                   .how = taking::at_most,
                                   .most = to.size()}));
    std::memcpy(to.data(), r->room(), r->answered());
    std::size_t at = 0;
    while (at + sizeof(entry) <= r->answered()) {
        fuse::directory_entry there;
        std::memcpy(&there, to.data() + at, sizeof(there));
        if (there.name_bytes > longest_name || there.type > 15) return k::error::io;
        if (at + sizeof(there) + k::align_up(there.name_bytes, k::u32{8}) > r->answered()) break;
        const entry here{
            .next = there.next, .node = there.inode, .mode = there.type << 12, .text_bytes = there.name_bytes};
        std::memcpy(to.data() + at, &here, sizeof(here));
        at += k::align_up(sizeof(here) + here.text_bytes, std::size_t{8});
    }
    // Old versions of libfuse cut their list where the room ends; the rest of an entry comes with the next answer.
    if (!at && r->answered()) return k::error::io;
    return at;
}

} // namespace vfs::userfs
