#include "sys/userfs/userfs.h"

#include "kernel/mem/slab.h"
#include "sys/userfs/fuse_server.h"
#include "sys/userfs/instance.h"
#include "sys/vfs/data.h"
#include "sys/vfs/extended.h"
#include "sys/vfs/program_names.h"

#include <cstring>
#include <optional>

namespace vfs {

file_system_state userfs_instance::state() noexcept {
    question q{.head = {.operation = operation::state, .node = root().number_there}};
    auto said = server_->ask_state(q);
    if (!said) return {arch::page_size, 0, 0, 0, 0};
    const k::u64 block_bytes = said->block_bytes ? said->block_bytes : k::u64{arch::page_size};
    return {block_bytes, said->blocks, said->free_blocks, said->nodes, said->free_nodes};
}

// A directory that stands somewhere else is moved only if that is not sure any more.
k::result<vnode_ref> userfs_instance::look_up_there(directory& in, std::string_view text, vnode* known,
                                                    belief& how) noexcept {
    (void)nodes_.tell_gone();
    nodes_.trim();
    how.news = news();
    question q{.head = {.operation = operation::look_up, .node = in.number_there}, .texts = {text}};
    auto said = server_->ask_node(q);
    how.until = said ? said->name_until_ns : ~k::u64{0};
    if (!said) return said.error();
    if (!said->of.node) return k::error::noent;
    if (const vnode_ref there = nodes_.find(said->of.node); there && there.get() != known) {
        bool has_moved = false;
        if (there->is(node_type::directory)) {
            lwkt::critical section;
            const name* own = there->as_directory().own_name();
            has_moved = own && own->is_old() && !is_within(in, there->as_directory());
        }
        const k::status lost = has_moved ? lose_directory(there->as_directory()) : k::status();
        if (!lost) {
            nodes_.owe(said->of.node);
            return lost.error();
        }
    }
    vnode_ref found = TRY(nodes_.node_for(*said, false, {}, known));
    doubt(*found, how.news);
    return found;
}

k::result<vnode_ref> userfs_instance::make_there(directory& in, std::string_view text, const node_attributes& a,
                                                 std::string_view link_text, belief& how) noexcept {
    if (link_text.size() > userfs::most_link_text) return k::error::nametoolong;
    (void)nodes_.tell_gone();
    question q{.head = {.operation = operation::make,
                        .node = in.number_there,
                        .device = a.device,
                        .mode = static_cast<k::u32>(a.type) | a.mode,
                        .uid = a.uid,
                        .gid = a.gid},
               .texts = {text, link_text}};
    if (nodes_.is_full()) return k::error::nfile;
    how.news = news();
    auto said = server_->ask_node(q);
    // It said before that there is none. As EEXIST it would have the caller look again, for ever.
    if (!said) return said.error() == k::error::exist ? k::error::io : said.error();
    how.until = said->name_until_ns;
    auto made = nodes_.node_for(*said, false, link_text);
    if (made) doubt(**made, how.news);
    if (made && (*made)->type == a.type) return made;
    (void)tell({.head = {.operation = operation::remove,
                         .node = in.number_there,
                         .other = said->of.node,
                         .what = a.type == node_type::directory},
                .texts = {text}});
    return made ? k::error::io : made.error();
}

k::status userfs_instance::change_there(vnode& of, const new_attributes& to) noexcept {
    question q{.head = {.operation = operation::change, .node = of.number_there}};
    if (to.mode) {
        q.head.what |= userfs::change_mode;
        q.head.mode = *to.mode;
    }
    if (to.uid || to.gid) {
        q.head.what |= userfs::change_owner;
        q.head.uid = to.uid.value_or(~k::u32{0});
        q.head.gid = to.gid.value_or(~k::u32{0});
    }
    if (to.accessed_ns) {
        q.head.what |= userfs::change_accessed;
        q.head.accessed_ns = *to.accessed_ns;
    }
    if (to.modified_ns) {
        q.head.what |= userfs::change_modified;
        q.head.modified_ns = *to.modified_ns;
    }
    q.accessed_now = to.accessed_now;
    q.modified_now = to.modified_now;
    TRY(tell(std::move(q)));
    // What is answered to others just now may be older; a service's answers do not grow old.
    if (~of.told_until_ns.load(std::memory_order_relaxed)) has_news();
    return {};
}

k::status userfs_instance::list_extended(vnode& of, extended_names& to) noexcept {
    auto* room = static_cast<std::byte*>(mem::allocate(longest_extended_list));
    if (!room) return k::error::nomem;
    auto bytes = server_->list_extended(of.number_there, {room, longest_extended_list});
    k::status outcome = bytes ? k::status() : k::status(bytes.error());
    if (bytes && *bytes && room[*bytes - 1] != std::byte{0}) outcome = k::error::io;
    std::string_view left(reinterpret_cast<const char*>(room), outcome ? *bytes : 0);
    while (outcome && !left.empty()) {
        const std::string_view name = left.substr(0, left.find('\0'));
        if (name.empty() || name.size() > longest_extended_name) outcome = k::error::io;
        if (outcome) to.put({}, name);
        left.remove_prefix(name.size() + 1);
    }
    mem::free(room);
    return outcome;
}

k::status userfs_instance::ask_again(vnode& of) noexcept {
    if (!of.is_told_old()) return {};
    std::optional<writers_hold> hold; // what is being written is not told of
    if (of.is(node_type::regular)) hold.emplace(of);
    belief how{.news = news()};
    node_told told = TRY(server_->ask_again(of));
    how.until = std::exchange(told.until_ns, 0);
    const k::status noted = nodes_.note_again(of, told);
    if (noted) believe(of.told_until_ns, how);
    return noted;
}

k::result<file_system::opened_ref> userfs_instance::open(vnode& what, k::u32 flags) noexcept {
    (void)nodes_.tell_gone();
    nodes_.trim();
    opened_ref opened = TRY(server_->open(what, flags));
    if (opened && what.is(node_type::regular)) TRY(ask_again(what));
    return opened;
}

namespace {

k::result<file_system_ref> finish(k::result<userfs::server_ref> server, std::string_view type, k::u64 most) noexcept {
    if (!server) return server.error();
    if (!most) most = std::max<k::u64>(vm::promise_limit() / 4, 4096);
    auto made = mem::make_box<userfs_instance>(*std::move(server), type, most);
    if (!made) return k::error::nomem;
    TRY(made->begin());
    return file_system_ref(made.release());
}

} // namespace

k::result<file_system_ref> make_userfs(const userfs_options& options) noexcept {
    return finish(userfs::connect(options), "user", options.nodes);
}

k::result<file_system_ref> make_fuse(fuse::connection_ref on, const fuse_options& options) noexcept {
    return finish(userfs::connect(std::move(on), options), options.type, options.nodes);
}

} // namespace vfs
