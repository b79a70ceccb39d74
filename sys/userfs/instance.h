// vfs::userfs_instance: a file system in a program (userfs.h), whichever way its program is spoken to. Names and the
// rest are in userfs.cc, lists in list.cc, what a program tells by itself in news.cc and store.cc.
#pragma once

#include "sys/userfs/fuse_connection.h"
#include "sys/userfs/nodes.h"

namespace vfs {

using userfs::node_told, userfs::operation, userfs::question;

class userfs_instance final : public file_system, fuse::listener {
  public:
    static constexpr std::size_t longest_type = 32;

    userfs_instance(userfs::server_ref from, std::string_view type, k::u64 most) noexcept
        : file_system(keeping::program), server_(std::move(from)), nodes_(*this, server_.share(), most),
          type_length_(type.copy(type_, sizeof(type_))) {}

    k::status begin() noexcept {
        question q{.head = {.operation = operation::mount}};
        set_root(TRY(nodes_.node_for(TRY(server_->ask_node(q)), true, {})));
        server_->listen(*this, *this);
        return {};
    }

    std::string_view type() const noexcept override { return {type_, type_length_}; }
    k::u32 magic() const noexcept override { return 0x6573'5546; } // Linux's of FUSE, whose ends are the same
    file_system_state state() noexcept override;
    k::result<vnode_ref> make_node(const node_attributes&, std::string_view) noexcept override {
        return k::error::opnotsupp; // without a name
    }
    k::result<vnode_ref> look_up_there(directory& in, std::string_view text, vnode* known,
                                       belief& how) noexcept override;
    k::u64 news() noexcept override {
        lwkt::spin_guard guard(news_lock_);
        return news_;
    }
    void believe(std::atomic<k::u64>& set, const belief& as) noexcept override {
        lwkt::spin_guard guard(news_lock_);
        set.store(as.news == news_ ? as.until : 0, std::memory_order_relaxed);
    }
    k::status list(directory& in, k::u64 place, lister& to) noexcept override;
    void node_gone(vnode& n) noexcept override { nodes_.gone(n); }

    k::status sync(vnode* node) noexcept override {
        if (!node) return server_->dirty.wait_until_clean();
        TRY(node->write_back());
        const bool is_directory = node->is(node_type::directory);
        if (!(node->is(node_type::regular) || (is_directory && server_->syncs_directories()))) return {};
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
                                    std::string_view link_text, belief& how) noexcept override;
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
    k::status may_there(vnode& of, const subject& who, unsigned wishes) noexcept override {
        (void)nodes_.tell_gone();
        return server_->may_there(of.number_there, who, wishes);
    }
    k::result<k::u64> find_there(vnode& of, k::u64 from, bool kept) noexcept override {
        TRY(of.write_back());
        return server_->find_there(of.number_there, from, kept);
    }
    k::result<opened_ref> open(vnode& what, k::u32 flags) noexcept override;
    k::u64 sectors(const vnode& of) const noexcept override {
        return of.is(node_type::regular) ? static_cast<const userfs::file_node&>(of).sectors() : 0;
    }
    bool names_grow_old() const noexcept override { return server_->names_grow_old(); }
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

    // --- News (news.cc)
    k::status bytes_are_old(k::u64 node, k::i64 offset, k::i64 bytes) noexcept override;
    k::status name_is_old(k::u64 directory, std::string_view name) noexcept override;
    k::status name_is_gone(k::u64 directory, std::string_view name, k::u64 node) noexcept override;
    // (store.cc)
    k::status store(k::u64 node, k::u64 offset, const xio::source& bytes) noexcept override;
    k::result<xio::source> retrieve(k::u64 node, k::u64 offset, k::u64 bytes) noexcept override;

  private:
    class hearer;
    k::status tell(question q) noexcept {
        (void)nodes_.tell_gone();
        return server_->tell(q);
    }
    struct progress {
        k::u64 place;
        bool full = false, some = false; // the reader has no room; it got something
    };
    void note_listed(directory& in, std::string_view name, const node_told& told, k::u64 news) noexcept;
    void note_once_more(vnode& n, const node_told& told, k::u64 news) noexcept;
    // What was told of a node before, which is known by now, is believed no more if there was news since.
    void doubt(vnode& n, k::u64 news) noexcept {
        lwkt::spin_guard guard(news_lock_);
        if (news != news_) n.told_until_ns.store(0, std::memory_order_relaxed);
    }
    void has_news() noexcept {
        lwkt::spin_guard guard(news_lock_);
        news_++;
    }
    k::status put_entries(std::span<const std::byte> from, progress& at, lister& to) noexcept;

    const userfs::server_ref server_;
    userfs::node_table nodes_;
    // Told so far: what was asked before may be answered with what is old by now. Who is told counts first and then
    // looks for what is known of that, all under the lock; who keeps an answer does so first, and then believes it.
    lwkt::spinlock news_lock_;
    k::u64 news_ GUARDED_BY(news_lock_) = 0;
    char type_[longest_type];
    const std::size_t type_length_;
};

} // namespace vfs
