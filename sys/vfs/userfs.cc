#include "sys/vfs/userfs.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/extended.h"
#include "sys/vfs/fuse_server.h"
#include "sys/vfs/userfs_nodes.h"

#include <cstring>
#include <optional>

namespace vfs {

namespace {

using userfs::node_told, userfs::operation, userfs::question;

// A program's names begin behind "." and "..", whose places are 1 and 2.
constexpr k::u64 before_names = 2;
constexpr k::u64 last_place = (~k::u64{0} >> 1) - before_names; // what a reader is told
constexpr std::size_t longest_type = 32;

class userfs_instance final : public file_system {
  public:
    userfs_instance(userfs::server_ref from, std::string_view type, k::u64 most) noexcept
        : file_system(keeping::program), server_(std::move(from)), nodes_(*this, server_.share(), most),
          type_length_(type.copy(type_, sizeof(type_))) {}

    k::status begin() noexcept {
        question q{.head = {.operation = operation::mount}};
        set_root(TRY(nodes_.node_for(TRY(server_->ask_node(q)), true, {})));
        return {};
    }

    std::string_view type() const noexcept override { return {type_, type_length_}; }
    k::u32 magic() const noexcept override { return 0x6573'5546; } // Linux's of FUSE, whose ends are the same
    file_system_state state() noexcept override;
    k::result<vnode_ref> make_node(const node_attributes&, std::string_view) noexcept override {
        return k::error::opnotsupp; // without a name
    }
    k::result<vnode_ref> look_up(directory& in, std::string_view text, bool& cache) noexcept override;
    k::status list(directory& in, k::u64 place, lister& to) noexcept override;
    void node_gone(vnode& n) noexcept override { nodes_.gone(n); }

    k::status sync(vnode* node) noexcept override {
        const bool is_directory = node && node->is(node_type::directory);
        if (!node || !(node->is(node_type::regular) || (is_directory && server_->syncs_directories()))) return {};
        return tell({.head = {.operation = operation::sync, .node = node->number_there}});
    }
    k::result<k::u64> get_extended(vnode& of, std::string_view name, std::span<std::byte> to) noexcept override {
        return server_->get_extended(of.number_there, name, to);
    }
    k::status set_extended(vnode& of, std::string_view name, std::optional<std::span<const std::byte>> value,
                           unsigned flags) noexcept override {
        return server_->set_extended(of.number_there, name, value, flags);
    }
    k::status list_extended(vnode& of, extended_names& to) noexcept override;
    k::status resized(vnode& node, k::u64 bytes) noexcept override {
        node.pages()->extend_paged(k::align_up<k::u64>(bytes, arch::page_size) >>
                                   arch::page_shift); // the new ones, too
        return {};
    }
    k::result<vnode_ref> make_there(directory& in, std::string_view text, const node_attributes& a,
                                    std::string_view link_text) noexcept override;
    k::status link_there(vnode& what, directory& in, std::string_view text) noexcept override {
        return tell({.head = {.operation = operation::link, .node = in.number_there, .other = what.number_there},
                     .texts = {text}});
    }
    k::status remove_there(directory& in, std::string_view text, vnode& what) noexcept override {
        return tell({.head = {.operation = operation::remove,
                              .node = in.number_there,
                              .other = what.number_there,
                              .what = what.is(node_type::directory)},
                     .texts = {text}});
    }
    k::status rename_there(directory& from, std::string_view from_text, directory& to, std::string_view to_text,
                           unsigned flags) noexcept override {
        return tell({.head = {.operation = operation::rename,
                              .node = from.number_there,
                              .other = to.number_there,
                              .what = flags},
                     .texts = {from_text, to_text}});
    }
    k::status change_there(vnode& of, const new_attributes& to) noexcept override;
    k::status ask_again(vnode& of) noexcept override;
    k::result<opened_ref> open(vnode& what, k::u32 flags) noexcept override;
    bool names_share_nodes() const noexcept override { return server_->names_share_nodes(); }
    access_rule rule(const subject& who) const noexcept override { return server_->rule(who); }
    bool give_up() noexcept override {
        server_->give_up();
        return true;
    }
    void ending() noexcept override {
        question q{.head = {.operation = operation::unmount}}; // what is known is forgotten with that
        server_->say_last(q);
    }

  private:
    k::status tell(question q) noexcept {
        nodes_.tell_gone();
        return server_->tell(q);
    }
    struct progress {
        k::u64 place;
        bool full = false, some = false; // the reader has no room; it got something
    };
    k::status put_entries(std::span<const std::byte> from, progress& at, lister& to) noexcept;

    const userfs::server_ref server_;
    userfs::node_table nodes_;
    char type_[longest_type];
    const std::size_t type_length_;
};

file_system_state userfs_instance::state() noexcept {
    question q{.head = {.operation = operation::state, .node = root().number_there}};
    auto said = server_->ask_state(q);
    if (!said) return {arch::page_size, 0, 0, 0, 0};
    const k::u64 block_bytes = said->block_bytes ? said->block_bytes : k::u64{arch::page_size};
    return {block_bytes, said->blocks, said->free_blocks, said->nodes, said->free_nodes};
}

k::result<vnode_ref> userfs_instance::look_up(directory& in, std::string_view text, bool& cache) noexcept {
    cache = true;
    nodes_.tell_gone();
    nodes_.trim();
    question q{.head = {.operation = operation::look_up, .node = in.number_there}, .texts = {text}};
    return nodes_.node_for(TRY(server_->ask_node(q)), false, {});
}

k::result<vnode_ref> userfs_instance::make_there(directory& in, std::string_view text, const node_attributes& a,
                                                 std::string_view link_text) noexcept {
    if (link_text.size() > userfs::most_link_text) return k::error::nametoolong;
    nodes_.tell_gone();
    question q{.head = {.operation = operation::make,
                        .node = in.number_there,
                        .device = a.device,
                        .mode = static_cast<k::u32>(a.type) | a.mode,
                        .uid = a.uid,
                        .gid = a.gid},
               .texts = {text, link_text}};
    if (nodes_.is_full()) return k::error::nfile;
    auto said = server_->ask_node(q);
    // It said before that there is none. As EEXIST it would have the caller look again, for ever.
    if (!said) return said.error() == k::error::exist ? k::error::io : said.error();
    auto made = nodes_.node_for(*said, false, link_text);
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
    return tell(std::move(q));
}

// Is it one that a directory may have?
bool is_good_entry(std::string_view text) noexcept {
    for (char c : text)
        if (c == '/' || c == 0) return false;
    return !text.empty() && text.size() <= longest_name;
}

// EIO: it is no list, or one that does not go on.
k::status userfs_instance::put_entries(std::span<const std::byte> from, progress& at, lister& to) noexcept {
    while (!from.empty()) {
        userfs::entry e;
        if (from.size() < sizeof(e)) return k::error::io;
        std::memcpy(&e, from.data(), sizeof(e));
        if (e.text_bytes > longest_name || sizeof(e) + e.text_bytes > from.size()) return k::error::io;
        const std::string_view text(reinterpret_cast<const char*>(from.data()) + sizeof(e), e.text_bytes);
        if (!is_good_entry(text) || !server_->may_go_on(at.place, e.next)) return k::error::io;
        const bool is_dots = text == "." || text == "..";
        const auto type = static_cast<node_type>(e.mode & 0170000);
        if (!is_dots && !to.put(std::min(e.next, last_place) + before_names, text, type, e.node)) {
            at.full = true;
            return {};
        }
        at.place = e.next;
        at.some = at.some || !is_dots;
        from = from.subspan(std::min(k::align_up(sizeof(e) + e.text_bytes, std::size_t{8}), from.size()));
    }
    return {};
}

// An answer may have nothing in it that is shown, and not be the last.
k::status userfs_instance::list(directory& in, k::u64 place, lister& to) noexcept {
    auto* room = static_cast<std::byte*>(mem::allocate(userfs::most_listed));
    if (!room) return k::error::nomem;
    progress at{place > before_names ? place - before_names : 0};
    k::status outcome;
    while (outcome && !at.full && !at.some) {
        question q{.head = {.operation = operation::list,
                            .node = in.number_there,
                            .offset = at.place,
                            .bytes = userfs::most_listed},
                   .with = to.with()};
        auto bytes = server_->ask_text(q, {room, userfs::most_listed});
        if (bytes && !*bytes) break;
        outcome = bytes ? put_entries({room, *bytes}, at, to) : k::status(bytes.error());
    }
    mem::free(room);
    return outcome;
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
    std::optional<lwkt::sleep_hold> hold; // what is being written is not told of
    if (of.is(node_type::regular)) hold.emplace(of.writers);
    return nodes_.note_again(of, TRY(server_->ask_again(of)));
}

k::result<file_system::opened_ref> userfs_instance::open(vnode& what, k::u32 flags) noexcept {
    nodes_.tell_gone();
    nodes_.trim();
    opened_ref opened = TRY(server_->open(what, flags));
    if (opened && what.is(node_type::regular)) TRY(ask_again(what));
    return opened;
}

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
