// Lists of names in a program that speaks FUSE: alone, or each as if it had been looked up, too.
#include "sys/userfs/fuse_server_priv.h"

namespace vfs::userfs {

namespace {

// An entry as it is here. EIO: it is none.
k::result<entry> entry_of(const fuse::directory_entry& there) noexcept {
    if (there.name_bytes > longest_told_name || there.type > 15) return k::error::io;
    return entry{.next = there.next, .node = there.inode, .mode = there.type << 12, .text_bytes = there.name_bytes};
}

constexpr std::size_t padded(std::size_t bytes) noexcept {
    return k::align_up(bytes, std::size_t{8});
}

} // namespace

// As Linux does it: the beginning of a list, and more while somebody looks at what it leads to.
bool fuse_server::may_hear(file_system::opened* with, k::u64 place) const noexcept {
    if (!line_->lists_with_nodes() || !has(skill::list_with_nodes)) return false;
    if (!line_->lists_as_is_useful() || !place) return true;
    return with && of(*with).is_looked_in.exchange(false, std::memory_order_relaxed);
}

// Entries have the same shape here and there.
k::result<std::size_t> fuse_server::list(question& q, std::span<std::byte> to) noexcept {
    static_assert(sizeof(entry) == sizeof(fuse::directory_entry));
    handle_ref own;
    if (!q.with) {
        own = TRY(open_there(q.head.node, 0, true));
        q.with = own.get();
    }
    if (q.hearer) {
        auto done = list_with_nodes(q, to);
        if (done || done.error() != k::error::nosys) return done;
        lacks(skill::list_with_nodes);
    }
    const request_ref r = TRY(ask_list(q, opcode::read_directory, to.size()));
    std::memcpy(to.data(), r->room(), r->answered());
    std::size_t at = 0;
    while (at + sizeof(entry) <= r->answered()) {
        fuse::directory_entry there;
        std::memcpy(&there, to.data() + at, sizeof(there));
        const entry here = TRY(entry_of(there));
        if (at + padded(sizeof(there) + there.name_bytes) > r->answered()) break;
        std::memcpy(to.data() + at, &here, sizeof(here));
        at += padded(sizeof(here) + here.text_bytes);
    }
    // Old versions of libfuse cut their list where the room ends; the rest of an entry comes with the next answer.
    if (!at && r->answered()) return k::error::io;
    return at;
}

k::result<request_ref> fuse_server::ask_list(const question& q, opcode how, k::u64 room) noexcept {
    const fuse::read_question wanted{.handle = of(*q.with).number(),
                                     .offset = q.head.offset,
                                     .bytes = static_cast<k::u32>(room),
                                     .read_flags = 0,
                                     .lock_owner = 0,
                                     .flags = of(*q.with).flags(),
                                     .unused = 0};
    return ask(
        {.opcode = how, .node = q.head.node, .arguments = bytes_of(wanted), .how = taking::at_most, .most = room});
}

// What is heard of comes before what is listed: of an answer that makes no sense at its end, too, what is in front of
// that is known and will be forgotten like the rest.
k::result<std::size_t> fuse_server::list_with_nodes(question& q, std::span<std::byte> to) noexcept {
    const request_ref r = TRY(ask_list(q, opcode::read_directory_with, to.size()));
    const std::span from(r->room(), r->answered());
    std::size_t at = 0, done = 0;
    while (at + sizeof(fuse::directory_entry_with) <= from.size()) {
        fuse::directory_entry_with there;
        std::memcpy(&there, from.data() + at, sizeof(there));
        const entry here = TRY(entry_of(there.there));
        const std::size_t bytes = padded(sizeof(there) + here.text_bytes);
        if (bytes > from.size() - at) break;
        const std::string_view name(reinterpret_cast<const char*>(from.data()) + at + sizeof(there), here.text_bytes);
        if (there.looked_up.node && name != "." && name != "..") q.hearer->heard(name, told_of(there.looked_up));
        std::memcpy(to.data() + done, &here, sizeof(here));
        std::memset(to.data() + done + sizeof(here), 0, padded(here.text_bytes));
        std::memcpy(to.data() + done + sizeof(here), name.data(), name.size());
        done += padded(sizeof(here) + name.size());
        at += bytes;
    }
    if (!at && r->answered()) return k::error::io;
    return done;
}

} // namespace vfs::userfs
