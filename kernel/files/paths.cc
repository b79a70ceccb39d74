#include "kernel/files/paths.h"

#include "kernel/files/block_file.h"
#include "kernel/files/caller.h"
#include "kernel/files/devices.h"
#include "kernel/files/fifo.h"
#include "kernel/files/magic_link.h"
#include "kernel/files/stored_file.h"
#include "sys/vfs/events.h"
#include "sys/vfs/vfs.h"

namespace files {

namespace {

constexpr k::u32 kept_flags = open_access_mode | open_append | open_nonblock | open_async | open_direct | open_sync |
                              open_no_access_time | open_path | open_no_terminal;

bool for_writing(k::u32 flags) noexcept {
    return (flags & open_access_mode) != open_read_only;
}

unsigned wishes_of(k::u32 flags) noexcept {
    switch (flags & open_access_mode) {
    case open_read_only: return vfs::may_read;
    case open_write_only: return vfs::may_write;
    default: return vfs::may_read | vfs::may_write;
    }
}

// The file behind a link like /proc/self/fd/1 that has no node of its own: the same open file, if it can do what is
// asked for.
k::result<file_ref> open_magic(vfs::vnode& link, k::u32 flags) noexcept {
    file_ref same = TRY(static_cast<magic_link&>(link).target());
    if (flags & open_directory) return k::error::notdir;
    if (same->kind() == file_kind::socket) return k::error::nxio; // it is reached by connecting
    const unsigned wishes = wishes_of(flags);
    if ((wishes & vfs::may_read) && !same->readable()) return k::error::acces;
    if ((wishes & vfs::may_write) && !same->writable()) return k::error::acces;
    return same;
}

k::result<file_ref> open_node(vfs::found what, k::u32 flags) noexcept {
    using vfs::node_type;
    const k::u32 kept = flags & kept_flags;
    if (flags & open_path) return open_stored(std::move(what), kept & ~k::u32{open_access_mode});
    switch (what.node->type) {
    case node_type::regular: {
        file_ref opened = TRY(open_stored(std::move(what), kept & ~k::u32{open_no_terminal}));
        const vfs::found& of = opened->origin();
        if (flags & open_truncate && of.node->pages()) {
            const vfs::claim writing = TRY(vfs::claim::take(*of.node, vfs::claim_kind::writing));
            TRY(vfs::resize(*of.node, 0));
            vfs::announce_use(*of.node, of.called.get(), vfs::event_modify);
        }
        return opened;
    }
    case node_type::directory: return open_stored(std::move(what), kept & ~k::u32{open_no_terminal});
    case node_type::character: {
        file_ref opened = TRY(open_device(what.node->device, kept));
        opened->set_origin(std::move(what));
        return opened;
    }
    case node_type::block: {
        file_ref opened = TRY(open_block_device(what.node->device, kept & ~k::u32{open_no_terminal}));
        opened->set_origin(std::move(what));
        return opened;
    }
    case node_type::fifo: return open_fifo(std::move(what), kept & ~k::u32{open_no_terminal});
    case node_type::link: return k::error::loop;
    default: return k::error::nxio;
    }
}

// Makes the file that open() wants, or finds that somebody else has.
k::result<vfs::found> find_or_make(eyes& as, const vfs::view& v, std::string_view path, k::u32 flags, k::u32 mode,
                                   bool& made) noexcept {
    const bool follow = !(flags & (open_exclusive | open_no_follow));
    for (;;) {
        const vfs::spot where = TRY(vfs::find_spot(v, path, follow ? vfs::last_link::follow : vfs::last_link::keep));
        if (where.what != vfs::spot::special::none) return flags & open_exclusive ? k::error::exist : k::error::isdir;
        auto there = vfs::look_up(*where.in, where.dir(), where.name());
        if (there) {
            if (flags & open_exclusive) return k::error::exist;
            if (follow && there->node->is_magic()) {
                vfs::found to;
                const k::status jumped = there->node->jump(to);
                if (!jumped && jumped.error() != k::error::opnotsupp) return jumped.error();
                if (jumped && to.node->is(vfs::node_type::directory)) return k::error::isdir;
                if (jumped) return to;
            }
            if (where.wants_directory) return k::error::isdir;
            if (there->node->is(vfs::node_type::directory)) return k::error::isdir;
            return there;
        }
        if (there.error() != k::error::noent) return there.error();
        if (where.wants_directory) return k::error::isdir;
        auto fresh = vfs::make(
            v, where,
            {.type = vfs::node_type::regular, .mode = without_umask(mode), .uid = as.who().uid, .gid = as.who().gid});
        if (!fresh && fresh.error() == k::error::exist && !(flags & open_exclusive)) continue;
        made = static_cast<bool>(fresh);
        return fresh;
    }
}

// O_TMPFILE: a file without a name, in the file system of a directory.
k::result<file_ref> open_nameless(eyes& as, vfs::found in, k::u32 flags, k::u32 mode) noexcept {
    if (!in.node->is(vfs::node_type::directory)) return k::error::notdir;
    if (!for_writing(flags)) return k::error::inval;
    if (in.in->is_read_only()) return k::error::rofs;
    TRY(vfs::check(*in.node, as.who(), vfs::may_write | vfs::may_execute));
    vfs::found made;
    made.node = TRY(in.node->fs.make_node(
        {.type = vfs::node_type::regular, .mode = without_umask(mode), .uid = as.who().uid, .gid = as.who().gid}, {}));
    made.node->links.store(0, std::memory_order_relaxed);
    made.node->awaits_name.store(!(flags & open_exclusive), std::memory_order_relaxed);
    char text[24];
    k::buffer_sink called(text);
    k::format_to(called, "#{}", made.node->inode);
    made.called = TRY(vfs::name::create_removed(in.node->as_directory(), vfs::name_text(called.view())));
    made.in = std::move(in.in);
    return open_stored(std::move(made), flags & kept_flags);
}

} // namespace

k::u32 without_umask(k::u32 mode) noexcept {
    return mode & vfs::permission_bits & ~proc::current_process().umask.load(std::memory_order_relaxed);
}

eyes::eyes(bool real) noexcept {
    proc::process& p = proc::current_process();
    places_ = p.where();
    proc::credentials c = p.who.read();
    groups_ = std::move(c.more_groups);
    who_ = {real ? c.user.real : c.user.for_files, real ? c.group.real : c.group.for_files,
            groups_ ? groups_->groups() : std::span<const k::u32>()};
}

k::result<vfs::view> eyes::from_descriptor(int directory) noexcept {
    file_use f = TRY(callers_file(directory));
    const vfs::found& named = f->origin();
    if (!named || !named.node->is(vfs::node_type::directory)) return k::error::notdir;
    start_ = {named.in.share(), named.node.share()};
    return vfs::view{who_, places_->root, start_};
}

k::result<vfs::found> find_file(eyes& as, int directory, std::string_view path, vfs::last_link last,
                                bool or_empty) noexcept {
    if (!path.empty() || !or_empty) return vfs::find(TRY(as.from(directory, path)), path, last);
    if (directory == at_working_directory) return vfs::find(as.from_here(), ".", last);
    file_use f = TRY(callers_file(directory));
    const vfs::found& named = f->origin();
    if (!named) return k::error::opnotsupp; // a file without a node: the caller knows what to do
    return vfs::found{named.in.share(), named.node.share(), named.called.share()};
}

k::result<file_ref> open_found(const vfs::subject& who, vfs::found what, k::u32 flags) noexcept {
    using vfs::node_type;
    vfs::vnode& n = *what.node;
    if ((flags & open_directory) && !n.is(node_type::directory)) return k::error::notdir;
    if (flags & open_path) return open_node(std::move(what), flags);
    if (n.is(node_type::link)) {
        if (n.is_magic() && !(flags & open_no_follow)) return open_magic(n, flags);
        return k::error::loop;
    }
    if (n.is(node_type::directory) && (for_writing(flags) || (flags & open_create))) return k::error::isdir;
    TRY(vfs::check_afresh(n, who, wishes_of(flags) | (flags & open_truncate ? unsigned{vfs::may_write} : 0)));
    const bool changes = for_writing(flags) || (flags & open_truncate);
    const bool is_special = n.is(node_type::character) || n.is(node_type::block);
    if (changes && !is_special && what.in && what.in->is_read_only()) return k::error::rofs;
    if (is_special && what.in && (what.in->flags() & vfs::mount_no_devices)) return k::error::acces;
    if ((flags & open_no_access_time) && !who.owns(n)) return k::error::perm;
    if (n.has_attached(vfs::attachment_kind::watchers) || what.called)
        vfs::announce_use(n, what.called.get(), vfs::event_open);
    return open_node(std::move(what), flags);
}

k::result<file_ref> open_path_at(int directory, std::string_view path, k::u32 flags, k::u32 mode) noexcept {
    constexpr k::u32 nameless = 020000000;
    eyes as;
    const vfs::view v = TRY(as.from(directory, path));
    if (flags & open_path) flags &= open_path | open_directory | open_no_follow | open_cloexec;
    if (flags & nameless) {
        if (!(flags & open_directory)) return k::error::inval;
        return open_nameless(as, TRY(vfs::find(v, path)), flags, mode);
    }
    if (flags & open_create) {
        if (flags & open_directory) return k::error::inval;
        bool made = false;
        vfs::found what = TRY(find_or_make(as, v, path, flags, mode, made));
        // Who makes a file may write to it, whatever its mode says.
        if (made) {
            vfs::announce_use(*what.node, what.called.get(), vfs::event_open);
            return open_node(std::move(what), flags & ~k::u32{open_truncate});
        }
        return open_found(as.who(), std::move(what), flags);
    }
    return open_found(as.who(),
                      TRY(vfs::find(v, path, flags & open_no_follow ? vfs::last_link::keep : vfs::last_link::follow)),
                      flags);
}

} // namespace files
