#include "sys/vfs/userfs.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/userfs_nodes.h"

#include <cstring>

namespace vfs {

namespace {

using userfs::attributes, userfs::operation, userfs::question;

// A server's names begin behind "." and "..", whose places are 1 and 2.
constexpr k::u64 before_names = 2;

class userfs_instance final : public file_system {
  public:
    userfs_instance(userfs::server_ref from, k::u64 most) noexcept
        : file_system(keeping::program), server_(std::move(from)), nodes_(*this, server_.share(), most) {}

    k::status begin() noexcept {
        question q{.head = {.operation = operation::mount}};
        const attributes said = TRY(server_->ask_attributes(q));
        set_root(TRY(nodes_.node_for(said, true, {})));
        return {};
    }

    std::string_view type() const noexcept override { return "user"; }
    k::u32 magic() const noexcept override { return 0x6573'5546; } // Linux's of FUSE, whose ends are the same
    file_system_state state() noexcept override;
    k::result<vnode_ref> make_node(const node_attributes&, std::string_view) noexcept override {
        return k::error::opnotsupp; // without a name
    }
    k::result<vnode_ref> look_up(directory& in, std::string_view text, bool& cache) noexcept override;
    k::status list(directory& in, k::u64 place, lister& to) noexcept override;
    void node_gone(vnode& n) noexcept override { nodes_.gone(n); }

    k::status sync(vnode* node) noexcept override {
        if (!node || !node->is(node_type::regular)) return {};
        return tell({.head = {.operation = operation::sync, .node = node->inode}});
    }
    k::status resized(vnode& node, k::u64 bytes) noexcept override {
        node.pages()->extend_paged(k::align_up<k::u64>(bytes, arch::page_size) >>
                                   arch::page_shift); // the new ones, too
        return {};
    }
    k::result<vnode_ref> make_there(directory& in, std::string_view text, const node_attributes& a,
                                    std::string_view link_text) noexcept override;
    k::status link_there(vnode& what, directory& in, std::string_view text) noexcept override {
        return tell({.head = {.operation = operation::link, .node = in.inode, .other = what.inode}, .texts = {text}});
    }
    k::status remove_there(directory& in, std::string_view text, vnode& what) noexcept override {
        return tell({.head = {.operation = operation::remove,
                              .node = in.inode,
                              .other = what.inode,
                              .what = what.is(node_type::directory)},
                     .texts = {text}});
    }
    k::status rename_there(directory& from, std::string_view from_text, directory& to, std::string_view to_text,
                           unsigned flags) noexcept override {
        return tell({.head = {.operation = operation::rename, .node = from.inode, .other = to.inode, .what = flags},
                     .texts = {from_text, to_text}});
    }
    k::status change_there(vnode& of, const new_attributes& to) noexcept override;
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
        TRY(server_->ask(q));
        return {};
    }
    k::status put_entries(std::span<const std::byte> from, k::u64 place, lister& to, bool& full) noexcept;

    const userfs::server_ref server_;
    userfs::node_table nodes_;
};

file_system_state userfs_instance::state() noexcept {
    question q{.head = {.operation = operation::state, .node = root().inode}};
    auto answer = server_->ask(q);
    auto said = answer ? (*answer)->value<userfs::state>() : k::result<userfs::state>(k::error::io);
    if (!said) return {arch::page_size, 0, 0, 0, 0};
    const k::u64 block_bytes = said->block_bytes ? said->block_bytes : k::u64{arch::page_size};
    return {block_bytes, said->blocks, said->free_blocks, said->nodes, said->free_nodes};
}

k::result<vnode_ref> userfs_instance::look_up(directory& in, std::string_view text, bool& cache) noexcept {
    cache = true;
    nodes_.tell_gone();
    nodes_.trim();
    question q{.head = {.operation = operation::look_up, .node = in.inode}, .texts = {text}};
    const attributes said = TRY(server_->ask_attributes(q));
    return nodes_.node_for(said, false, {});
}

k::result<vnode_ref> userfs_instance::make_there(directory& in, std::string_view text, const node_attributes& a,
                                                 std::string_view link_text) noexcept {
    if (link_text.size() > userfs::most_link_text) return k::error::nametoolong;
    nodes_.tell_gone();
    question q{.head = {.operation = operation::make,
                        .node = in.inode,
                        .device = a.device,
                        .mode = static_cast<k::u32>(a.type) | a.mode,
                        .uid = a.uid,
                        .gid = a.gid},
               .texts = {text, link_text}};
    if (nodes_.is_full()) return k::error::nfile;
    auto said = server_->ask_attributes(q);
    // It said before that there is none. As EEXIST it would have the caller look again, for ever.
    if (!said) return said.error() == k::error::exist ? k::error::io : said.error();
    auto made = nodes_.node_for(*said, false, link_text);
    if (made && (*made)->type == a.type) return made;
    (void)tell({.head = {.operation = operation::remove,
                         .node = in.inode,
                         .other = said->node,
                         .what = a.type == node_type::directory},
                .texts = {text}});
    return made ? k::error::io : made.error();
}

k::status userfs_instance::change_there(vnode& of, const new_attributes& to) noexcept {
    question q{.head = {.operation = operation::change, .node = of.inode}};
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
k::status userfs_instance::put_entries(std::span<const std::byte> from, k::u64 place, lister& to, bool& full) noexcept {
    constexpr k::u64 most_place = ~k::u64{0} >> 2;
    while (!from.empty()) {
        userfs::entry e;
        if (from.size() < sizeof(e)) return k::error::io;
        std::memcpy(&e, from.data(), sizeof(e));
        if (e.text_bytes > longest_name || sizeof(e) + e.text_bytes > from.size()) return k::error::io;
        const std::string_view text(reinterpret_cast<const char*>(from.data()) + sizeof(e), e.text_bytes);
        if (!is_good_entry(text) || e.next <= place || e.next > most_place) return k::error::io;
        place = e.next;
        const bool is_dots = text == "." || text == "..";
        const auto type = static_cast<node_type>(e.mode & 0170000);
        if (!is_dots && !to.put(place + before_names, text, type, e.node)) {
            full = true;
            return {};
        }
        from = from.subspan(std::min(k::align_up(sizeof(e) + e.text_bytes, std::size_t{8}), from.size()));
    }
    return {};
}

k::status userfs_instance::list(directory& in, k::u64 place, lister& to) noexcept {
    place = place > before_names ? place - before_names : 0;
    auto* room = static_cast<std::byte*>(mem::allocate(userfs::most_listed));
    if (!room) return k::error::nomem;
    k::status outcome;
    question q{.head = {.operation = operation::list, .node = in.inode, .offset = place, .bytes = userfs::most_listed}};
    auto answer = server_->ask(q);
    auto bytes = answer ? userfs::server::take_text(**answer, {room, userfs::most_listed})
                        : k::result<std::size_t>(answer.error());
    bool full = false;
    outcome = bytes ? put_entries({room, *bytes}, place, to, full) : k::status(bytes.error());
    mem::free(room);
    return outcome;
}

} // namespace

k::result<file_system_ref> make_userfs(const userfs_options& options) noexcept {
    const k::u64 most = options.nodes ? options.nodes : std::max<k::u64>(vm::promise_limit() / 4, 4096);
    auto made = mem::make_box<userfs_instance>(TRY(userfs::server::connect(options)), most);
    if (!made) return k::error::nomem;
    TRY(made->begin());
    return file_system_ref(made.release());
}

} // namespace vfs
