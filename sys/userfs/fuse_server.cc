#include "sys/userfs/fuse_server_priv.h"

namespace vfs::userfs {

k::result<request_ref> fuse_server::ask(const fuse::request::form& f, xio::source payload,
                                        ktime::ns deadline) noexcept {
    const ktime::ns begun = ktime::now();
    request_ref r = TRY(fuse::request::make(f));
    r->payload = std::move(payload);
    const ktime::ns last = ktime::after(options_.timeout);
    const k::status said = line_->ask(*r, std::min(deadline, last));
    if (said) return r;
    // A deadline of the same length may have begun a little earlier.
    const bool is_as_long = options_.timeout <= patience() && ktime::now() - begun >= options_.timeout / 8 * 7;
    if (said.error() == k::error::timedout && (last <= deadline || is_as_long)) give_up();
    return said.error();
}

k::status fuse_server::start() noexcept {
    const k::status said = line_->start(ktime::after(options_.timeout));
    if (!said && said.error() == k::error::timedout) give_up();
    return said;
}

bool fuse_server::may_still_change(k::u64 node) noexcept {
    const ktime::ns since = line_->unanswered_since(node);
    if (since == ktime::forever) return false;
    if (ktime::now() - since < options_.timeout) return true;
    give_up();
    return false;
}

// An answer that names a node has to be forgotten some time; the caller's nodes see to that.
k::result<node_told> fuse_server::ask_entry(const fuse::request::form& f) noexcept {
    const auto e = TRY(ask_for<fuse::entry_answer>(f));
    if (!e.node) return k::error::noent;
    return told_of(e);
}

k::result<node_told> fuse_server::ask_node(question& q) noexcept {
    switch (q.head.operation) {
    case operation::mount: { // it has not begun to answer; what its root is like will be asked when that matters
        const k::u64 now = now_ns();
        return node_told{.of = {.node = fuse::root_node,
                                .mode = options_.root_mode,
                                .links = 2,
                                .uid = options_.uid,
                                .gid = options_.gid,
                                .size = 0,
                                .accessed_ns = now,
                                .modified_ns = now,
                                .changed_ns = now,
                                .device = 0},
                         .until_ns = 0};
    }
    case operation::look_up: return look_up(q);
    default: return make(q);
    }
}

// That there is none may be believed if the answer says how long, and not if it is an error.
k::result<node_told> fuse_server::look_up(question& q) noexcept {
    if (line_->lists_as_is_useful())
        if (const handle_ref list = find(q.head.node, &handle::is_directory))
            of(*list).is_looked_in.store(true, std::memory_order_relaxed);
    auto e = ask_for<fuse::entry_answer>(
        {.opcode = opcode::look_up, .node = q.head.node, .names = {q.texts[0]}, .name_count = 1});
    if (e) return told_of(*e);
    if (e.error() != k::error::noent) return e.error();
    return node_told{.name_until_ns = 0};
}

k::result<node_told> fuse_server::make(question& q) noexcept {
    switch (static_cast<node_type>(q.head.mode & 0170000)) {
    case node_type::directory: {
        const fuse::make_directory_question how{q.head.mode & permission_bits, 0};
        return ask_entry({.opcode = opcode::make_directory,
                          .node = q.head.node,
                          .arguments = bytes_of(how),
                          .names = {q.texts[0]},
                          .name_count = 1});
    }
    case node_type::link:
        return ask_entry(
            {.opcode = opcode::make_link, .node = q.head.node, .names = {q.texts[0], q.texts[1]}, .name_count = 2});
    case node_type::regular:
        if (has(skill::create)) {
            auto made = make_file(q);
            if (made || made.error() != k::error::nosys) return made;
            lacks(skill::create);
        }
        [[fallthrough]];
    default: {
        const fuse::make_node_question how{q.head.mode, device_to(q.head.device), 0, 0};
        return ask_entry({.opcode = opcode::make_node,
                          .node = q.head.node,
                          .arguments = bytes_of(how),
                          .names = {q.texts[0]},
                          .name_count = 1});
    }
    }
}

// Made and opened at once: what may not be written can be, by who made it.
k::result<node_told> fuse_server::make_file(question& q) noexcept {
    constexpr k::u32 flags = create | exclusive | read_write;
    const fuse::create_question how{flags, q.head.mode, 0, 0};
    request_ref release = TRY(make_release(false));
    const auto made = TRY(ask_for<fuse::create_answer>({.opcode = opcode::create,
                                                        .node = q.head.node,
                                                        .arguments = bytes_of(how),
                                                        .names = {q.texts[0]},
                                                        .name_count = 1}));
    if (!made.entry.node) return k::error::io;
    if (auto open = note_open(made.entry.node, read_write, false, made.opened, std::move(release))) {
        const fuse::request_head me = caller();
        lwkt::spin_guard guard(lock_);
        std::swap(fresh_, *open); // the one before goes behind the lock
        fresh_of_ = me;
    }
    return told_of(made.entry);
}

k::status fuse_server::may_there(k::u64 node, const subject& who, unsigned wishes) noexcept {
    if (!has(skill::access)) return {};
    const fuse::access_question how{wishes, 0};
    auto said =
        ask({.opcode = opcode::access, .node = node, .arguments = bytes_of(how), .uid = who.uid, .gid = who.gid});
    if (said) return {};
    if (said.error() != k::error::nosys) return said.error();
    lacks(skill::access);
    return {};
}

k::result<node_told> fuse_server::ask_again(vnode& node) noexcept {
    if (!serves_caller()) return k::error::acces;
    const fuse::get_attributes_question how{};
    const auto said = TRY(ask_for<fuse::attributes_answer>(
        {.opcode = opcode::get_attributes, .node = node.number_there, .arguments = bytes_of(how)}));
    return told_of(node.number_there, said.said, until(said.valid_s, said.valid_ns));
}

k::status fuse_server::change(question& q) noexcept {
    if (!serves_caller()) return k::error::acces;
    fuse::set_attributes_question how{};
    const userfs::request& asked = q.head;
    const auto split = [](k::u64 ns, k::u64& s, k::u32& rest) {
        s = ns / ktime::second;
        rest = static_cast<k::u32>(ns % ktime::second);
    };
    if (asked.what & change_mode) how.which |= fuse::set_mode;
    if (asked.what & change_owner && ~asked.uid) how.which |= fuse::set_uid;
    if (asked.what & change_owner && ~asked.gid) how.which |= fuse::set_gid;
    if (asked.what & change_size) how.which |= fuse::set_size;
    if (asked.what & change_accessed) how.which |= fuse::set_accessed;
    if (asked.what & change_modified) how.which |= fuse::set_modified;
    if (q.accessed_now) how.which |= fuse::set_accessed_now;
    if (q.modified_now) how.which |= fuse::set_modified_now;
    how.mode = asked.mode;
    how.uid = asked.uid;
    how.gid = asked.gid;
    how.size = asked.bytes;
    split(asked.accessed_ns, how.accessed_s, how.accessed_ns);
    split(asked.modified_ns, how.modified_s, how.modified_ns);
    handle_ref by;
    if (asked.what & change_size && (by = find(asked.node, &handle::writes))) {
        how.which |= fuse::set_handle;
        how.handle = of(*by).number();
    }
    TRY(ask_for<fuse::attributes_answer>(
        {.opcode = opcode::set_attributes, .node = asked.node, .arguments = bytes_of(how), .counts = counts(q)}));
    return {};
}

// --- The rest

k::status fuse_server::tell(question& q) noexcept {
    switch (q.head.operation) {
    case operation::change: return change(q);
    case operation::link: return link(q);
    case operation::rename: return rename(q);
    case operation::write: return write(q);
    case operation::sync: return sync(q);
    case operation::remove:
        TRY(ask({.opcode = q.head.what ? opcode::remove_directory : opcode::unlink,
                 .node = q.head.node,
                 .names = {q.texts[0]},
                 .name_count = 1}));
        return {};
    default: return k::error::nosys;
    }
}

k::result<userfs::state> fuse_server::ask_state(question& q) noexcept {
    if (!serves_caller()) return k::error::acces;
    const auto said = TRY(ask_for<fuse::state_answer>({.opcode = opcode::state, .node = q.head.node}));
    const k::u64 unit = said.fragment_bytes ? said.fragment_bytes : said.block_bytes;
    return userfs::state{unit, said.blocks, said.free_blocks, said.nodes, said.free_nodes};
}

bool fuse_server::say(question&) noexcept {
    return true; // there is nothing else
}

// Its RELEASE goes before the FORGET.
void fuse_server::let_go_of_fresh(k::u64 node) noexcept {
    handle_ref unopened; // goes behind the lock
    {
        lwkt::spin_guard guard(lock_);
        if (fresh_ && of(*fresh_).node() == node) std::swap(unopened, fresh_);
    }
}

std::size_t fuse_server::forget(std::span<const forgotten> which) noexcept {
    std::size_t ready = 0;
    for (; ready < which.size(); ready++) {
        let_go_of_fresh(which[ready].node);
        if (line_->is_asked_about(which[ready].node)) break;
    }
    if (line_->has_ended()) return which.size();
    return say_forgotten(which.first(ready));
}

void fuse_server::say_last(question&) noexcept {
    line_->stop_listening();
    request_ref last;
    if (options_.says_last)
        if (auto made = fuse::request::make({.opcode = opcode::destroy})) last = *std::move(made);
    handle_ref fresh;
    {
        lwkt::spin_guard guard(lock_);
        std::swap(fresh, fresh_);
    }
    fresh.reset();
    line_->end(std::move(last), true);
}

k::result<server_ref> connect(connection_ref on, const fuse_options& options) noexcept {
    auto* made = mem::make<fuse_server>(std::move(on), options);
    if (!made) return k::error::nomem;
    server_ref server(made);
    TRY(made->begin());
    return server;
}

} // namespace vfs::userfs
