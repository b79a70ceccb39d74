// What a program has answered to somebody who is gone by then.
#include "kernel/mem/slab.h"
#include "sys/userfs/fuse_connection.h"

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
        post_regardless(std::move(said));
    };
    const auto forgetting = [&](const entry_answer& e) {
        const forget_question how{1};
        return request::make(
            {.opcode = opcode::forget, .node = e.node, .arguments = std::as_bytes(std::span(&how, 1))});
    };
    const auto forget = [&](const entry_answer& e) {
        if (e.node) post_regardless(forgetting(e));
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
    case opcode::read_directory_with: forget_listed(r); break;
    default: break;
    }
}

// Each entry of a list that has a node is an answer to a look-up.
void connection::forget_listed(request& r) noexcept {
    const k::u64 most = r.answered() / sizeof(directory_entry_with);
    auto* const asked = static_cast<std::byte*>(mem::allocate(sizeof(forget_many_question) + most * sizeof(forgotten)));
    if (!asked) return; // the program keeps them until the end
    k::u32 count = 0;
    for (k::u64 at = 0; at + sizeof(directory_entry_with) <= r.answered();) {
        directory_entry_with e;
        std::memcpy(&e, r.room() + at, sizeof(e));
        const k::u64 bytes = sizeof(e) + k::align_up<k::u64>(e.there.name_bytes, 8);
        if (bytes > r.answered() - at) break;
        const std::string_view name(reinterpret_cast<const char*>(r.room()) + at + sizeof(e), e.there.name_bytes);
        at += bytes;
        if (!e.looked_up.node || name == "." || name == "..") continue;
        const forgotten one{e.looked_up.node, 1};
        std::memcpy(asked + sizeof(forget_many_question) + count++ * sizeof(one), &one, sizeof(one));
    }
    const forget_many_question how{count, 0};
    std::memcpy(asked, &how, sizeof(how));
    if (count)
        post_regardless(request::make(
            {.opcode = opcode::forget_many, .arguments = {asked, sizeof(how) + count * sizeof(forgotten)}}));
    mem::free(asked);
}

} // namespace vfs::fuse
