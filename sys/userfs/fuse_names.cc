// Names in a program that speaks FUSE: links, renaming, lists.
#include "sys/userfs/fuse_server_priv.h"

namespace vfs::userfs {

// Those that go together are told together.
std::size_t fuse_server::say_forgotten(std::span<const forgotten> which) noexcept {
    static_assert(sizeof(forgotten) == sizeof(fuse::forgotten));
    constexpr std::size_t most = 16;
    if (which.size() > 1 && which.size() <= most && line_->knows_forget_many()) {
        struct {
            fuse::forget_many_question head;
            forgotten which[most];
        } how{.head = {static_cast<k::u32>(which.size()), 0}, .which = {}};
        std::ranges::copy(which, how.which);
        auto r = fuse::request::make(
            {.opcode = opcode::forget_many, .arguments = bytes_of(how).first(sizeof(how.head) + which.size_bytes())});
        return r && line_->post(*std::move(r)) ? which.size() : 0;
    }
    std::size_t told = 0;
    for (; told < which.size(); told++) {
        const fuse::forget_question how{which[told].answers};
        auto r = fuse::request::make({.opcode = opcode::forget, .node = which[told].node, .arguments = bytes_of(how)});
        if (!r || !line_->post(*std::move(r))) break;
    }
    return told;
}

// The new name may have a number of its own: whoever looks it up will know.
k::status fuse_server::link(question& q) noexcept {
    const fuse::link_question how{q.head.other};
    const auto made = TRY(ask_entry({.opcode = opcode::link,
                                     .node = q.head.node,
                                     .other = q.head.other,
                                     .arguments = bytes_of(how),
                                     .names = {q.texts[0]},
                                     .name_count = 1}));
    (void)say_forgotten({{{made.of.node, 1}}});
    return {};
}

k::status fuse_server::rename(question& q) noexcept {
    if (!q.head.what) {
        const fuse::rename_question how{q.head.other};
        TRY(ask({.opcode = opcode::rename,
                 .node = q.head.node,
                 .other = q.head.other,
                 .arguments = bytes_of(how),
                 .names = {q.texts[0], q.texts[1]},
                 .name_count = 2}));
        return {};
    }
    if (!has(skill::rename_with)) return k::error::inval;
    const fuse::rename_with_question how{q.head.other, q.head.what, 0};
    auto done = ask({.opcode = opcode::rename_with,
                     .node = q.head.node,
                     .other = q.head.other,
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

} // namespace vfs::userfs
