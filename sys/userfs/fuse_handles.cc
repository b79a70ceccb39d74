// Files and directories that are open in a program that speaks FUSE.
#include "sys/userfs/fuse_server_priv.h"
#include "sys/vfs/data.h"

namespace vfs::userfs {

fuse_server& handle::server() const noexcept {
    return static_cast<fuse_server&>(*server_);
}

void handle::last_holder_left() noexcept {
    server().closed(*this);
    mem::destroy(this);
}

k::status handle::flush() noexcept {
    return is_directory_ ? k::status() : server().flush(*this);
}

k::result<k::u64> handle::read(k::u64 offset, xio::sink& to) noexcept {
    k::u64 done = 0;
    while (done < to.size()) {
        k::u64 got = 0;
        const k::u64 wanted = to.size() - done;
        auto bytes = server().read_once(node_, number(), flags_, offset + done, wanted, got);
        if (!bytes) return done ? k::result<k::u64>(done) : bytes.error();
        if (!got) break;
        const xio::source part = TRY(bytes->slice(0, got));
        xio::sink rest = TRY(to.slice(done, wanted));
        const xio::moved m = xio::copy_some(part, rest, xio::reason::file_read);
        done += m.bytes;
        if (m.bytes != got) return done ? k::result<k::u64>(done) : m.status.error();
        if (got < std::min(wanted, server().most_read())) break;
    }
    return done;
}

k::result<k::u64> handle::write(k::u64 offset, const xio::source& from) noexcept {
    TRY(server().wait_for_left(node_, true));
    k::u64 done = 0;
    while (done < from.size()) {
        const k::u64 part = std::min(from.size() - done, server().most_write());
        xio::sink copy = TRY(xio::sink::fresh(part));
        const xio::source piece = TRY(from.slice(done, part));
        const xio::moved m = xio::copy_some(piece, copy, xio::reason::file_write);
        if (m.bytes != part) return done ? k::result<k::u64>(done) : m.status.error();
        auto wrote = server().write_once(node_, *this, 0, offset + done, TRY(copy.into_source()));
        if (!wrote) return done ? k::result<k::u64>(done) : wrote.error();
        done += *wrote;
        if (*wrote < part) break;
    }
    return done;
}

k::result<request_ref> fuse_server::make_release(bool is_directory) noexcept {
    constexpr fuse::release_question unknown{};
    return fuse::request::make(
        {.opcode = is_directory ? opcode::release_directory : opcode::release, .arguments = bytes_of(unknown)});
}

k::result<handle_ref> fuse_server::note_open(k::u64 node, k::u32 flags, bool is_directory,
                                             const fuse::open_answer& said, request_ref release) noexcept {
    const fuse::release_question how{said.handle, flags, 0, 0};
    release->set_node(node);
    release->set_arguments(bytes_of(how));
    auto* made = mem::make<handle>(server_ref::to(*this), node, flags, is_directory, said, release.share());
    if (!made) {
        line_->post_regardless(std::move(release));
        return k::error::nomem;
    }
    lwkt::spin_guard guard(lock_);
    handles_.insert(*made);
    return handle_ref(made);
}

k::result<handle_ref> fuse_server::open_there(k::u64 node, k::u32 flags, bool is_directory,
                                              ktime::ns deadline) noexcept {
    if (line_->is_full()) return k::error::nfile; // who opens must be able to close
    const skill needed = is_directory ? skill::open_directory : skill::open;
    request_ref release = TRY(make_release(is_directory));
    fuse::open_answer said{.handle = 0, .flags = fuse::keeps_cache, .unused = 0};
    if (has(needed)) {
        const fuse::open_question how{flags, 0};
        auto answer = ask_for<fuse::open_answer>(
            {.opcode = is_directory ? opcode::open_directory : opcode::open, .node = node, .arguments = bytes_of(how)},
            deadline);
        if (answer)
            said = *answer;
        else if (answer.error() == k::error::nosys)
            lacks(needed);
        else
            return answer.error();
    }
    return note_open(node, flags, is_directory, said, std::move(release));
}

void fuse_server::closed(handle& h) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        handles_.erase(handles_.iterator_to(h));
    }
    if (has(h.is_directory() ? skill::open_directory : skill::open)) line_->post_regardless(h.take_release());
}

handle_ref fuse_server::find(k::u64 node, bool (handle::*fits)() const noexcept) noexcept {
    lwkt::spin_guard guard(lock_);
    for (auto at = handles_.lower_bound(node); at != handles_.end() && at->node() == node; ++at)
        if (((*at).*fits)())
            if (auto held = handle_ref::to_living(*at)) return held;
    return {};
}

k::result<handle_ref> fuse_server::any_handle(k::u64 node, bool to_write, ktime::ns deadline) noexcept {
    if (handle_ref there = find(node, to_write ? &handle::writes : &handle::reads)) return there;
    return open_there(node, to_write ? k::u32{write_only} : 0, false, deadline);
}

handle_ref fuse_server::take_fresh(k::u64 node) noexcept {
    const fuse::request_head me = caller();
    lwkt::spin_guard guard(lock_);
    handle_ref out;
    if (fresh_ && of(*fresh_).node() == node && fresh_of_.pid == me.pid && fresh_of_.uid == me.uid)
        std::swap(out, fresh_);
    return out;
}

// What was cached of a file may be old by now, unless its program says otherwise.
k::result<file_system::opened_ref> fuse_server::open(vnode& node, k::u32 flags) noexcept {
    const bool is_directory = node.is(node_type::directory);
    if (!is_directory && !node.is(node_type::regular)) return file_system::opened_ref();
    handle_ref opened = is_directory ? handle_ref() : take_fresh(node.number_there);
    if (!opened) {
        opened = TRY(open_there(node.number_there, flags & ~k::u32{not_sent}, is_directory));
        if (!is_directory && !of(*opened).keeps_cache()) {
            const writers_hold hold(node);
            static_cast<file_node&>(node).forget_pages();
            node.told_until_ns.store(0, std::memory_order_relaxed);
        }
    }
    return opened;
}

k::status fuse_server::flush(const handle& h) noexcept {
    if (!has(skill::flush)) return {};
    const fuse::flush_question how{.handle = h.number(), .pad0 = 0, .pad1 = 0, .lock_owner = 0};
    if (options_.who.killed && options_.who.killed()) { // who ends does not wait, but it is said
        auto r = fuse::request::make({.opcode = opcode::flush, .node = h.node(), .arguments = bytes_of(how)});
        if (r) (void)line_->post(*std::move(r));
        return {};
    }
    auto said = ask({.opcode = opcode::flush, .node = h.node(), .arguments = bytes_of(how)});
    if (said) return {};
    if (said.error() != k::error::nosys) return said.error();
    lacks(skill::flush);
    return {};
}

k::status fuse_server::sync(question& q) noexcept {
    if (handle_ref directory = find(q.head.node, &handle::is_directory))
        return sync_by(std::move(directory), skill::sync_directory, opcode::sync_directory);
    handle_ref by = find(q.head.node, &handle::writes);
    if (!by) by = find(q.head.node, &handle::reads);
    return sync_by(std::move(by), skill::sync, opcode::sync);
}

k::status fuse_server::sync_by(handle_ref by, skill needed, opcode how) noexcept {
    if (!by || !has(needed)) return {}; // nobody has it open
    const fuse::sync_question asked{of(*by).number(), 0, 0};
    auto said = ask({.opcode = how, .node = of(*by).node(), .arguments = bytes_of(asked)});
    if (said) return {};
    if (said.error() != k::error::nosys) return said.error();
    lacks(needed);
    return {};
}

} // namespace vfs::userfs
