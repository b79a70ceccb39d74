#include "sys/vfs/fuse_server.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/access.h"
#include "sys/vfs/userfs_nodes.h"

#include <boost/intrusive/set.hpp>
#include <cstring>

namespace vfs::userfs {

namespace {

using fuse::connection_ref, fuse::opcode, fuse::request_ref, fuse::taking;

// open(2)'s flags, as they go over the line.
enum open_flag : k::u32 {
    write_only = 1,
    read_write = 2,
    access_mode = 3,
    create = 0100,
    exclusive = 0200,
    // The kernel's own business: places are settled here, and files are cut by a question of its own.
    not_sent = 0100 | 0200 | 0400 | 01000 | 02000 | 02000000,
};

template <class T> std::span<const std::byte> bytes_of(const T& value) noexcept {
    return std::as_bytes(std::span(&value, 1));
}

// --- Times and numbers

k::u64 nanoseconds(k::u64 s, k::u32 ns) noexcept {
    if (static_cast<k::i64>(s) < 0) return 0; // before 1970
    if (s >= most_nanoseconds / ktime::second) return most_nanoseconds;
    return s * ktime::second + std::min<k::u32>(ns, ktime::second - 1);
}

// Until when something holds that is valid for so long from now on.
k::u64 until(k::u64 s, k::u32 ns) noexcept {
    if (s >= most_nanoseconds / ktime::second) return ~k::u64{0};
    return ktime::after(s * ktime::second + std::min<k::u32>(ns, ktime::second - 1));
}

// Linux's 32 bits of a device's number: 12 of the major one within 20 of the minor one.
k::u64 device_from(k::u32 d) noexcept {
    return k::u64{d >> 8 & 0xfff} << 8 | (d & 0xff);
}
k::u32 device_to(k::u64 d) noexcept {
    return static_cast<k::u32>((d >> 8 & 0xfff) << 8 | (d & 0xff));
}

node_told told_of(k::u64 node, const fuse::attributes& a, k::u64 until_ns) noexcept {
    return {.of = {.node = node,
                   .mode = a.mode,
                   .links = a.links,
                   .uid = a.uid,
                   .gid = a.gid,
                   .size = a.size,
                   .accessed_ns = nanoseconds(a.accessed_s, a.accessed_ns),
                   .modified_ns = nanoseconds(a.modified_s, a.modified_ns),
                   .changed_ns = nanoseconds(a.changed_s, a.changed_ns),
                   .device = device_from(a.device)},
            .shown = a.inode,
            .until_ns = until_ns};
}

node_told told_of(const fuse::entry_answer& e) noexcept {
    return told_of(e.node, e.said, until(e.valid_s, e.valid_ns));
}

// --- Open files

class fuse_server;

// What an open file or directory is called there.
class handle final : public file_system::opened {
  public:
    handle(server_ref server, k::u64 node, k::u32 flags, bool is_directory, const fuse::open_answer& said) noexcept
        : server_(std::move(server)), node_(node), flags_(flags), said_(said), is_directory_(is_directory) {}
    void last_holder_left() noexcept override;
    k::status flush() noexcept override;
    bool bypasses_cache() const noexcept override { return said_.flags & fuse::bypasses_cache; }
    k::result<k::u64> read(k::u64 offset, xio::sink& to) noexcept override;
    k::result<k::u64> write(k::u64 offset, const xio::source& from) noexcept override;

    k::u64 node() const noexcept { return node_; }
    k::u64 number() const noexcept { return said_.handle; }
    k::u32 flags() const noexcept { return flags_; }
    bool keeps_cache() const noexcept { return said_.flags & fuse::keeps_cache; }
    bool is_directory() const noexcept { return is_directory_; }
    bool reads() const noexcept { return (flags_ & access_mode) != write_only; }
    bool writes() const noexcept { return flags_ & access_mode; }

    boost::intrusive::set_member_hook<> by_node;

  private:
    fuse_server& server() const noexcept;

    const server_ref server_; // a fuse_server
    const k::u64 node_;
    const k::u32 flags_;
    const fuse::open_answer said_;
    const bool is_directory_;
};
using handle_ref = k::ref<file_system::opened>; // of none but handles

handle& of(file_system::opened& o) noexcept {
    return static_cast<handle&>(o);
}

// What a program has said it does not do; it is not asked again.
enum class skill : k::u8 { open, open_directory, create, flush, sync, sync_directory, rename_with };

class fuse_server final : public server {
  public:
    fuse_server(connection_ref on, const fuse_options& o) noexcept : line_(std::move(on)), options_(o) {}
    k::status begin() noexcept {
        TRY(line_->begin(options_.who, options_.most_read));
        begun_ = true;
        return {};
    }
    void last_holder_left() noexcept override {
        // Else it is another's; and what was said last may still be read.
        if (begun_ && !line_->has_ended()) line_->end({}, false);
        mem::destroy(this);
    }

    k::status tell(question& q) noexcept override;
    k::result<node_told> ask_node(question& q) noexcept override;
    k::result<userfs::state> ask_state(question& q) noexcept override;
    k::result<std::size_t> ask_text(question& q, std::span<std::byte> to) noexcept override;
    bool may_go_on(k::u64, k::u64) const noexcept override { return true; } // places are the program's business
    k::result<xio::source> read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept override;
    bool say(question& q) noexcept override;
    void say_last(question& q) noexcept override;
    void give_up() noexcept override { line_->end({}, false); }
    k::result<file_system::opened_ref> open(vnode& node, k::u32 flags) noexcept override;
    k::result<node_told> ask_again(vnode& node) noexcept override;
    bool names_share_nodes() const noexcept override { return false; }
    access_rule rule(const subject& who) const noexcept override {
        if (!options_.allow_other && (who.uid != options_.uid || who.gid != options_.gid)) return access_rule::nobody;
        return options_.default_permissions ? access_rule::usual : access_rule::programs;
    }

    // --- Of handles.
    void closed(handle& h) noexcept;
    k::status flush(const handle& h) noexcept;
    // One request's worth of bytes; `got`: how many of the pages' bytes came.
    k::result<xio::source> read_once(k::u64 node, k::u64 handle, k::u32 flags, k::u64 offset, k::u64 bytes,
                                     k::u64& got) noexcept;
    // How many were written, perhaps fewer.
    k::result<k::u64> write_once(k::u64 node, k::u64 handle, k::u32 flags, k::u64 offset, xio::source bytes) noexcept;
    k::u64 most_read() const noexcept { return line_->most_read(); }
    k::u64 most_write() const noexcept { return line_->most_write(); }

  private:
    struct node_of {
        using type = k::u64;
        type operator()(const handle& h) const noexcept { return h.node(); }
    };
    using handles = boost::intrusive::multiset<
        handle, boost::intrusive::member_hook<handle, boost::intrusive::set_member_hook<>, &handle::by_node>,
        boost::intrusive::key_of_value<node_of>, boost::intrusive::constant_time_size<false>>;

    k::result<request_ref> ask(const fuse::request::form& f, xio::source payload = {}) noexcept {
        request_ref r = TRY(fuse::request::make(f));
        r->payload = std::move(payload);
        TRY(line_->ask(*r));
        return r;
    }
    // Asks what is answered with a value.
    template <class T> k::result<T> ask_for(fuse::request::form f) noexcept {
        f.how = taking::exactly;
        f.most = sizeof(T);
        return TRY(ask(f))->template value<T>();
    }
    k::result<node_told> ask_entry(const fuse::request::form& f) noexcept;
    k::result<node_told> make(question& q) noexcept;
    k::result<node_told> make_file(question& q) noexcept;
    k::status change(question& q) noexcept;
    k::status link(question& q) noexcept;
    k::status rename(question& q) noexcept;
    k::status write(question& q) noexcept;
    k::status sync(question& q) noexcept;
    k::result<std::size_t> list(question& q, std::span<std::byte> to) noexcept;
    bool forget(k::u64 node, k::u64 answers) noexcept;

    k::result<handle_ref> open_there(k::u64 node, k::u32 flags, bool is_directory) noexcept;
    k::result<handle_ref> note_open(k::u64 node, k::u32 flags, bool is_directory,
                                    const fuse::open_answer& said) noexcept;
    handle_ref find(k::u64 node, bool (handle::*fits)() const noexcept) noexcept;
    // One that somebody has, or one for as long as it is held.
    k::result<handle_ref> any_handle(k::u64 node, bool to_write) noexcept;
    handle_ref take_fresh(k::u64 node) noexcept;
    // Who asks; threads of the kernel are the mounting user.
    fuse::request_head caller() const noexcept {
        fuse::request_head me{};
        me.uid = options_.uid, me.gid = options_.gid;
        if (options_.who.identify) options_.who.identify(me);
        return me;
    }
    bool serves_caller() const noexcept {
        if (options_.allow_other) return true;
        const fuse::request_head me = caller();
        return me.uid == options_.uid && me.gid == options_.gid;
    }

    bool has(skill s) const noexcept { return !(missing_.load(std::memory_order_relaxed) >> static_cast<int>(s) & 1); }
    void lacks(skill s) noexcept { missing_.fetch_or(1u << static_cast<int>(s), std::memory_order_relaxed); }

    const connection_ref line_;
    const fuse_options options_; // but for its type, whose text is gone
    bool begun_ = false;
    std::atomic<unsigned> missing_ = 0;
    lwkt::spinlock lock_;
    handles handles_ GUARDED_BY(lock_);
    // Of the file that was made last: who made it is about to open it.
    handle_ref fresh_ GUARDED_BY(lock_); // what CREATE has opened, until who made it opens it
    fuse::request_head fresh_of_ GUARDED_BY(lock_){};
};

// --- Nodes

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
    case operation::look_up:
        return ask_entry({.opcode = opcode::look_up, .node = q.head.node, .names = {q.texts[0]}, .name_count = 1});
    default: return make(q);
    }
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
    const auto made = TRY(ask_for<fuse::create_answer>({.opcode = opcode::create,
                                                        .node = q.head.node,
                                                        .arguments = bytes_of(how),
                                                        .names = {q.texts[0]},
                                                        .name_count = 1}));
    if (!made.entry.node) return k::error::io;
    if (auto open = note_open(made.entry.node, read_write, false, made.opened)) {
        const fuse::request_head me = caller();
        lwkt::spin_guard guard(lock_);
        std::swap(fresh_, *open); // the one before goes behind the lock
        fresh_of_ = me;
    }
    return told_of(made.entry);
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
        {.opcode = opcode::set_attributes, .node = asked.node, .arguments = bytes_of(how)}));
    return {};
}

// --- Names

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

// --- Open files

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
    k::u64 done = 0;
    while (done < from.size()) {
        const k::u64 part = std::min(from.size() - done, server().most_write());
        xio::sink copy = TRY(xio::sink::fresh(part));
        const xio::source piece = TRY(from.slice(done, part));
        const xio::moved m = xio::copy_some(piece, copy, xio::reason::file_write);
        if (m.bytes != part) return done ? k::result<k::u64>(done) : m.status.error();
        auto wrote = server().write_once(node_, number(), flags_, offset + done, TRY(copy.into_source()));
        if (!wrote) return done ? k::result<k::u64>(done) : wrote.error();
        done += *wrote;
        if (*wrote < part) break;
    }
    return done;
}

k::result<handle_ref> fuse_server::note_open(k::u64 node, k::u32 flags, bool is_directory,
                                             const fuse::open_answer& said) noexcept {
    auto* made = mem::make<handle>(server_ref::to(*this), node, flags, is_directory, said);
    if (!made) return k::error::nomem;
    lwkt::spin_guard guard(lock_);
    handles_.insert(*made);
    return handle_ref(made);
}

k::result<handle_ref> fuse_server::open_there(k::u64 node, k::u32 flags, bool is_directory) noexcept {
    if (line_->is_full()) return k::error::nfile; // who opens must be able to close
    const skill needed = is_directory ? skill::open_directory : skill::open;
    fuse::open_answer said{.handle = 0, .flags = fuse::keeps_cache, .unused = 0};
    if (has(needed)) {
        const fuse::open_question how{flags, 0};
        auto answer = ask_for<fuse::open_answer>(
            {.opcode = is_directory ? opcode::open_directory : opcode::open, .node = node, .arguments = bytes_of(how)});
        if (answer)
            said = *answer;
        else if (answer.error() == k::error::nosys)
            lacks(needed);
        else
            return answer.error();
    }
    return note_open(node, flags, is_directory, said);
}

void fuse_server::closed(handle& h) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        handles_.erase(handles_.iterator_to(h));
    }
    if (!has(h.is_directory() ? skill::open_directory : skill::open)) return;
    const fuse::release_question how{h.number(), h.flags(), 0, 0};
    auto r = fuse::request::make({.opcode = h.is_directory() ? opcode::release_directory : opcode::release,
                                  .node = h.node(),
                                  .arguments = bytes_of(how)});
    if (r) (void)line_->post(*std::move(r));
}

handle_ref fuse_server::find(k::u64 node, bool (handle::*fits)() const noexcept) noexcept {
    lwkt::spin_guard guard(lock_);
    for (auto at = handles_.lower_bound(node); at != handles_.end() && at->node() == node; ++at)
        if (((*at).*fits)() && !at->is_directory())
            if (auto held = handle_ref::to_living(*at)) return held;
    return {};
}

k::result<handle_ref> fuse_server::any_handle(k::u64 node, bool to_write) noexcept {
    if (handle_ref there = find(node, to_write ? &handle::writes : &handle::reads)) return there;
    return open_there(node, to_write ? k::u32{write_only} : 0, false);
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
            lwkt::sleep_hold hold(node.writers);
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
    if (!has(skill::sync)) return {};
    handle_ref by = find(q.head.node, &handle::writes);
    if (!by) by = find(q.head.node, &handle::reads);
    if (!by) return {}; // nobody has it open
    const fuse::sync_question how{of(*by).number(), 0, 0};
    auto said = ask({.opcode = opcode::sync, .node = q.head.node, .arguments = bytes_of(how)});
    if (said) return {};
    if (said.error() != k::error::nosys) return said.error();
    lacks(skill::sync);
    return {};
}

// --- Bytes

k::result<xio::source> fuse_server::read_once(k::u64 node, k::u64 handle, k::u32 flags, k::u64 offset, k::u64 bytes,
                                              k::u64& got) noexcept {
    TRY(line_->start());
    const k::u64 most = std::min(bytes, most_read());
    const fuse::read_question how{.handle = handle,
                                  .offset = offset,
                                  .bytes = static_cast<k::u32>(most),
                                  .read_flags = 0,
                                  .lock_owner = 0,
                                  .flags = flags,
                                  .unused = 0};
    const request_ref r = TRY(
        ask({.opcode = opcode::read, .node = node, .arguments = bytes_of(how), .how = taking::pages, .most = most}));
    got = r->answered();
    return std::move(r->pages());
}

k::result<xio::source> fuse_server::read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept {
    const handle_ref by = TRY(any_handle(node, false));
    xio::source all;
    for (k::u64 done = 0; done < bytes;) {
        k::u64 got = 0;
        xio::source part = TRY(read_once(node, of(*by).number(), of(*by).flags(), offset + done, bytes - done, got));
        all = all.empty() ? std::move(part) : TRY(xio::source::append(all, part));
        if (got < std::min(bytes - done, most_read())) break;
        done += got;
    }
    return all;
}

k::result<k::u64> fuse_server::write_once(k::u64 node, k::u64 handle, k::u32 flags, k::u64 offset,
                                          xio::source bytes) noexcept {
    const k::u64 count = bytes.size();
    const fuse::write_question how{.handle = handle,
                                   .offset = offset,
                                   .bytes = static_cast<k::u32>(count),
                                   .read_flags = 0,
                                   .lock_owner = 0,
                                   .flags = flags,
                                   .unused = 0};
    const request_ref r = TRY(ask({.opcode = opcode::write,
                                   .node = node,
                                   .arguments = bytes_of(how),
                                   .how = taking::exactly,
                                   .most = sizeof(fuse::write_answer)},
                                  std::move(bytes)));
    const k::u64 wrote = r->value<fuse::write_answer>().bytes;
    if (wrote > count) return k::error::io;
    return wrote;
}

k::status fuse_server::write(question& q) noexcept {
    const handle_ref by = TRY(any_handle(q.head.node, true));
    TRY(line_->start());
    for (k::u64 done = 0; done < q.bytes.size();) {
        const k::u64 part = std::min(q.bytes.size() - done, most_write());
        const k::u64 wrote = TRY(write_once(q.head.node, of(*by).number(), of(*by).flags(), q.head.offset + done,
                                            TRY(q.bytes.slice(done, part))));
        if (!wrote) return k::error::io;
        done += wrote;
    }
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

bool fuse_server::say(question& q) noexcept {
    if (q.head.operation != operation::forget) return true;
    handle_ref unopened; // its RELEASE goes before the FORGET
    {
        lwkt::spin_guard guard(lock_);
        if (fresh_ && of(*fresh_).node() == q.head.node) std::swap(unopened, fresh_);
    }
    unopened = {};
    return line_->has_ended() || forget(q.head.node, q.head.bytes);
}

void fuse_server::say_last(question&) noexcept {
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

} // namespace

k::result<server_ref> connect(connection_ref on, const fuse_options& options) noexcept {
    auto* made = mem::make<fuse_server>(std::move(on), options);
    if (!made) return k::error::nomem;
    server_ref server(made);
    TRY(made->begin());
    return server;
}

} // namespace vfs::userfs
