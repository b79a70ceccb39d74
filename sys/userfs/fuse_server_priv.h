// What the parts of fuse_server share: open files (fuse_handles.cc), names (fuse_names.cc), lists (fuse_lists.cc),
// bytes (fuse_bytes.cc), extended attributes (fuse_extended.cc), and, in fuse_server.cc, nodes and the rest.
#pragma once

#include "kernel/mem/slab.h"
#include "sys/userfs/fuse_server.h"
#include "sys/userfs/nodes.h"
#include "sys/vfs/access.h"

#include <boost/intrusive/set.hpp>
#include <cstring>

namespace vfs::userfs {

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

inline k::u64 nanoseconds(k::u64 s, k::u32 ns) noexcept {
    if (static_cast<k::i64>(s) < 0) return 0; // before 1970
    if (s >= most_nanoseconds / ktime::second) return most_nanoseconds;
    return s * ktime::second + std::min<k::u32>(ns, ktime::second - 1);
}

// Until when something holds that is valid for so long from now on.
inline k::u64 until(k::u64 s, k::u32 ns) noexcept {
    if (s >= most_nanoseconds / ktime::second) return ~k::u64{0};
    return ktime::after(s * ktime::second + std::min<k::u32>(ns, ktime::second - 1));
}

// Linux's 32 bits of a device's number: 12 of the major one within 20 of the minor one.
inline k::u64 device_from(k::u32 d) noexcept {
    return k::u64{d >> 8 & 0xfff} << 8 | (d & 0xff);
}
inline k::u32 device_to(k::u64 d) noexcept {
    return static_cast<k::u32>((d >> 8 & 0xfff) << 8 | (d & 0xff));
}

inline node_told told_of(k::u64 node, const fuse::attributes& a, k::u64 until_ns,
                         k::u64 name_until_ns = ~k::u64{0}) noexcept {
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
            .sectors = a.sectors,
            .until_ns = until_ns,
            .name_until_ns = name_until_ns};
}

inline node_told told_of(const fuse::entry_answer& e) noexcept {
    return told_of(e.node, e.said, until(e.valid_s, e.valid_ns), until(e.name_valid_s, e.name_valid_ns));
}

// --- Open files

class fuse_server;

// What an open file or directory is called there.
class handle final : public file_system::opened {
  public:
    handle(server_ref server, k::u64 node, k::u32 flags, bool is_directory, const fuse::open_answer& said,
           request_ref release) noexcept
        : server_(std::move(server)), node_(node), flags_(flags), said_(said), is_directory_(is_directory),
          release_(std::move(release)) {}
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
    // Of a directory: what has its names is looked up while it is read.
    std::atomic<bool> is_looked_in = false;
    bool reads() const noexcept { return !is_directory_ && (flags_ & access_mode) != write_only; }
    bool writes() const noexcept { return !is_directory_ && flags_ & access_mode; }
    request_ref take_release() noexcept { return std::move(release_); } // once

    boost::intrusive::set_member_hook<> by_node;

  private:
    fuse_server& server() const noexcept;

    const server_ref server_; // a fuse_server
    const k::u64 node_;
    const k::u32 flags_;
    const fuse::open_answer said_;
    const bool is_directory_;
    request_ref release_; // what is said at the end, made before it was opened: there must be memory for it
};
using handle_ref = k::ref<file_system::opened>; // of none but handles

inline handle& of(file_system::opened& o) noexcept {
    return static_cast<handle&>(o);
}

// What a program has said it does not do; it is not asked again.
enum class skill : k::u8 {
    open,
    open_directory,
    create,
    flush,
    sync,
    sync_directory,
    rename_with,
    set_extended,
    get_extended,
    list_extended,
    allocate,
    seek,
    access,
    list_with_nodes
};

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
    bool may_hear(file_system::opened* with, k::u64 place) const noexcept override;
    k::result<xio::source> read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept override;
    bool say(question& q) noexcept override;
    std::size_t forget(std::span<const forgotten> which) noexcept override;
    void listen(file_system& in, fuse::listener& to) noexcept override { line_->listen(in, to); }
    void say_last(question& q) noexcept override;
    void give_up() noexcept override {
        line_->end({}, false);
        dirty.over();
    }
    bool is_over() const noexcept override { return line_->has_ended(); }
    ktime::ns patience() const noexcept override { return std::min(options_.timeout, server::patience()); }
    bool caller_is_killed() const noexcept override { return options_.who.killed && options_.who.killed(); }
    file_system::opened_ref writer_of(k::u64 node) noexcept override { return find(node, &handle::writes); }
    k::result<file_system::opened_ref> open(vnode& node, k::u32 flags) noexcept override;
    k::result<node_told> ask_again(vnode& node) noexcept override;
    k::status may_there(k::u64 node, const subject& who, unsigned wishes) noexcept override;
    k::result<k::u64> find_there(k::u64 node, k::u64 from, bool kept) noexcept override;
    k::status allocate(k::u64 node, k::u32 mode, k::u64 offset, k::u64 bytes) noexcept override;
    bool names_share_nodes() const noexcept override { return false; }
    bool names_grow_old() const noexcept override { return true; }
    bool syncs_directories() const noexcept override { return true; }
    k::result<k::u64> get_extended(k::u64 node, std::string_view name, std::span<std::byte> to) noexcept override;
    k::status set_extended(k::u64 node, std::string_view name, std::optional<std::span<const std::byte>> value,
                           unsigned flags) noexcept override;
    k::result<k::u64> list_extended(k::u64 node, std::span<std::byte> to) noexcept override;
    bool may_still_change(k::u64 node) noexcept override;
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
    // How many were written, perhaps fewer. `write_flags`: fuse::write_flag.
    k::result<k::u64> write_once(k::u64 node, const handle& by, k::u32 write_flags, k::u64 offset, xio::source bytes,
                                 ktime::ns deadline = ktime::forever) noexcept;
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

    // ETIMEDOUT: not by the deadline, or in the mount's time; in that case the program is given up.
    k::result<request_ref> ask(const fuse::request::form& f, xio::source payload = {},
                               ktime::ns deadline = ktime::forever) noexcept;
    // Asks what is answered with a value.
    template <class T> k::result<T> ask_for(fuse::request::form f, ktime::ns deadline = ktime::forever) noexcept {
        f.how = taking::exactly;
        f.most = sizeof(T);
        return TRY(ask(f, {}, deadline))->template value<T>();
    }
    // Until the program has said how much it takes and gives at once.
    k::status start() noexcept;
    k::result<node_told> ask_entry(const fuse::request::form& f) noexcept;
    k::result<node_told> look_up(question& q) noexcept;
    k::result<node_told> make(question& q) noexcept;
    k::result<node_told> make_file(question& q) noexcept;
    k::status change(question& q) noexcept;
    k::status link(question& q) noexcept;
    k::status rename(question& q) noexcept;
    k::status write(question& q) noexcept;
    k::status sync(question& q) noexcept;
    k::status sync_by(handle_ref by, skill needed, opcode how) noexcept;
    k::result<k::u64> ask_extended(fuse::request::form f, skill needed, std::span<std::byte> to) noexcept;
    k::result<std::size_t> list(question& q, std::span<std::byte> to) noexcept;
    // How many it has told, from the first on.
    std::size_t say_forgotten(std::span<const forgotten> which) noexcept;
    k::result<request_ref> ask_list(const question& q, opcode how, k::u64 room) noexcept;
    k::result<std::size_t> list_with_nodes(question& q, std::span<std::byte> to) noexcept;
    void let_go_of_fresh(k::u64 node) noexcept;

    k::result<handle_ref> open_there(k::u64 node, k::u32 flags, bool is_directory,
                                     ktime::ns deadline = ktime::forever) noexcept;
    // ENOMEM; and the program has been told that it is closed.
    k::result<handle_ref> note_open(k::u64 node, k::u32 flags, bool is_directory, const fuse::open_answer& said,
                                    request_ref release) noexcept;
    static k::result<request_ref> make_release(bool is_directory) noexcept;
    handle_ref find(k::u64 node, bool (handle::*fits)() const noexcept) noexcept; // writes, reads, is_directory
    // One that somebody has, or one for as long as it is held.
    k::result<handle_ref> any_handle(k::u64 node, bool to_write, ktime::ns deadline = ktime::forever) noexcept;
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

} // namespace vfs::userfs
