// What a program has answered to somebody who is gone by then.
#include "sys/vfs/fuse_connection.h"

#include <cstring>

namespace vfs::fuse {

// Nobody is there to use what was answered: the node, the handle are not kept.
void connection::undo(request& r) noexcept {
    request_head asked;
    std::memcpy(&asked, r.head_, sizeof(asked));
    const auto close = [&](k::u64 node, const open_answer& opened, bool is_directory, request_ref then) {
        open_question as{}; // CREATE's question begins alike
        std::memcpy(&as, r.head_ + sizeof(asked), sizeof(as));
        const release_question how{opened.handle, as.flags, 0, 0};
        auto said = request::make({.opcode = is_directory ? opcode::release_directory : opcode::release,
                                   .node = node,
                                   .arguments = std::as_bytes(std::span(&how, 1))});
        if (said) (*said)->next_ = std::move(then);
        say_internally(std::move(said));
    };
    const auto forgetting = [&](const entry_answer& e) {
        const forget_question how{1};
        return request::make(
            {.opcode = opcode::forget, .node = e.node, .arguments = std::as_bytes(std::span(&how, 1))});
    };
    const auto forget = [&](const entry_answer& e) {
        if (e.node) say_internally(forgetting(e));
    };
    switch (asked.opcode) {
    case opcode::look_up:
    case opcode::make_link:
    case opcode::make_node:
    case opcode::make_directory:
    case opcode::link: forget(r.value<entry_answer>()); break;
    case opcode::open:
    case opcode::open_directory:
        close(asked.node, r.value<open_answer>(), asked.opcode == opcode::open_directory, {});
        break;
    case opcode::create: {
        const auto made = r.value<create_answer>();
        auto then = forgetting(made.entry);
        if (made.entry.node) close(made.entry.node, made.opened, false, then ? *std::move(then) : request_ref());
        break;
    }
    default: break;
    }
}

} // namespace vfs::fuse
