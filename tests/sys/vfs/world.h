// A tmpfs of a test's own, seen through a mount of its own, with calls as short as a shell's. All answer `fine` or what
// went wrong.
#pragma once

#include "kernel/selftest/selftest.h"
#include "sys/vfs/tmpfs.h"
#include "sys/vfs/vfs.h"
#include "sys/vfs/vop.h"

namespace vfs_test {

constexpr k::error fine{};
using vfs::node_type;

template <class T> k::error error_of(const k::result<T>& r) {
    return r ? fine : r.error();
}

constexpr vfs::subject root{0, 0, {}};

class world {
  public:
    explicit world(k::u64 pages = 1000, k::u64 nodes = 10000) {
        auto fs = vfs::make_tmpfs({.pages = pages, .nodes = nodes, .root_mode = 0777});
        auto made = fs ? vfs::mount_apart(*std::move(fs)) : k::result<vfs::place>(fs.error());
        if (made) top_ = *std::move(made);
    }
    ~world() {
        if (top_) EXPECT_EQ(error_of(vfs::unmount(top_.in.share(), vfs::unmount_how::detach)), fine);
    }
    explicit operator bool() const { return static_cast<bool>(top_); }

    const vfs::place& top() const { return top_; }
    vfs::directory& dir() const { return top_.dir(); }
    vfs::file_system& fs() const { return top_.in->fs(); }
    vfs::view as(const vfs::subject& who = root) const { return {who, top_, top_}; }

    k::result<vfs::found> find(std::string_view path, const vfs::subject& who = root,
                               vfs::last_link last = vfs::last_link::follow) const {
        return vfs::find(as(who), path, last);
    }
    // The node at a path; it stays as long as the path does.
    vfs::vnode& node(std::string_view path) const {
        return *std::move(find(path, root, vfs::last_link::keep)).value().node;
    }
    bool has(std::string_view path) const { return static_cast<bool>(find(path, root, vfs::last_link::keep)); }
    k::u32 links(std::string_view path) const { return node(path).links.load(); }

    k::error make(std::string_view path, node_type type, k::u32 mode, const vfs::subject& who = root,
                  std::string_view text = {}) const {
        auto where = vfs::find_spot(as(who), path);
        if (!where) return where.error();
        return error_of(vfs::make(as(who), *where, {.type = type, .mode = mode, .uid = who.uid, .gid = who.gid}, text));
    }
    k::error mkdir(std::string_view path, k::u32 mode = 0755, const vfs::subject& who = root) const {
        return make(path, node_type::directory, mode, who);
    }
    k::error touch(std::string_view path, k::u32 mode = 0644, const vfs::subject& who = root) const {
        return make(path, node_type::regular, mode, who);
    }
    k::error symlink(std::string_view text, std::string_view path) const {
        return make(path, node_type::link, 0777, root, text);
    }
    k::error link(std::string_view old, std::string_view path, const vfs::subject& who = root) const {
        auto what = find(old, who, vfs::last_link::keep);
        if (!what) return what.error();
        auto where = vfs::find_spot(as(who), path);
        if (!where) return where.error();
        return error_of(vfs::link(as(who), *what, *where));
    }
    k::error remove(std::string_view path, bool directory, const vfs::subject& who = root) const {
        auto where = vfs::find_spot(as(who), path);
        if (!where) return where.error();
        return error_of(vfs::remove(as(who), *where, directory));
    }
    k::error unlink(std::string_view path, const vfs::subject& who = root) const { return remove(path, false, who); }
    k::error rmdir(std::string_view path, const vfs::subject& who = root) const { return remove(path, true, who); }
    k::error rename(std::string_view from, std::string_view to, unsigned flags = 0,
                    const vfs::subject& who = root) const {
        auto old = vfs::find_spot(as(who), from);
        if (!old) return old.error();
        auto fresh = vfs::find_spot(as(who), to);
        if (!fresh) return fresh.error();
        return error_of(vfs::rename(as(who), *old, *fresh, flags));
    }
    // Mounts a directory of this world (bind), or another file system's root, on a directory.
    k::error bind(std::string_view from, std::string_view to, bool recursive = false) const {
        auto what = find(from);
        auto at = find(to);
        if (!what || !at) return k::error::noent;
        return error_of(vfs::bind(place_of(*what), place_of(*at), recursive));
    }
    k::error move(std::string_view from, std::string_view to) const {
        auto what = find(from);
        auto at = find(to);
        if (!what || !at) return k::error::noent;
        return error_of(vfs::move(place_of(*what), place_of(*at)));
    }
    k::error propagate(std::string_view path, vfs::propagation how, bool recursive = false) const {
        auto what = find(path);
        if (!what) return what.error();
        return error_of(vfs::propagate(place_of(*what), how, recursive));
    }
    k::error mount_fresh(std::string_view to) const {
        auto made = vfs::make_tmpfs({.pages = 100, .nodes = 100});
        auto at = find(to);
        if (!made || !at) return k::error::noent;
        auto root_of = vfs::vnode_ref::to((*made)->root());
        return error_of(
            vfs::mount_on({at->in.share(), at->node.share()}, *std::move(made), std::move(root_of), 0, "x"));
    }
    k::error unmount(std::string_view at, vfs::unmount_how how = vfs::unmount_how::when_unused) const {
        auto what = find(at);
        if (!what) return what.error();
        vfs::mount_use use = std::move(what->in);
        what->node = {};
        what->called = {};
        return error_of(vfs::unmount(std::move(use), how));
    }
    // What path_of() says of a path.
    bool path_is(std::string_view path, std::string_view expected) const {
        char room[600];
        auto what = find(path);
        if (!what) return false;
        auto text = vfs::path_of(top_, *what->in, *what->node, what->called.get(), room);
        return text && *text == expected;
    }

    static vfs::place place_of(const vfs::found& f) { return {f.in.share(), f.node.share()}; }

  private:
    vfs::place top_;
};

} // namespace vfs_test
