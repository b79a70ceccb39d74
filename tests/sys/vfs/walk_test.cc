// Paths: dots, links, slashes, mounts, permissions.
#include "kernel/lib/format.h"
#include "tests/sys/vfs/world.h"

#include <cstring>

namespace {

using namespace vfs_test;

// w/a/b/c is a directory, w/a/f a file.
bool furnish(const world& w) {
    return w.mkdir("a") == fine && w.mkdir("a/b") == fine && w.mkdir("a/b/c") == fine && w.touch("a/f") == fine;
}

} // namespace

SELFTEST(vfs_walk, dots_lead_here_and_up_but_not_out) {
    world w;
    REQUIRE(w && furnish(w));
    const vfs::vnode& a = w.node("a");
    EXPECT_EQ(&w.node("./a/."), &a);
    EXPECT_EQ(&w.node("a/b/.."), &a);
    EXPECT_EQ(&w.node("a/b/c/../.."), &a);
    EXPECT_EQ(&w.node("../../a"), &a);
    EXPECT_EQ(&w.node("/../a/../a"), &a);
    EXPECT_EQ(&w.node(".."), &w.dir());
    EXPECT_EQ(&w.node("/"), &w.dir());
    EXPECT_EQ(&w.node("///"), &w.dir());
    EXPECT_EQ(error_of(w.find("")), k::error::noent);
    EXPECT_EQ(error_of(w.find("a/f/.")), k::error::notdir);
    EXPECT_EQ(error_of(w.find("a/f/..")), k::error::notdir);
    EXPECT_EQ(error_of(w.find("a/x/..")), k::error::noent);
    EXPECT(w.path_is("a//b/./c/", "/a/b/c"));
    EXPECT(w.path_is("a/f", "/a/f"));
    EXPECT(w.path_is(".", "/"));
}

SELFTEST(vfs_walk, a_slash_behind_wants_a_directory) {
    world w;
    REQUIRE(w && furnish(w));
    EXPECT_EQ(error_of(w.find("a/")), fine);
    EXPECT_EQ(error_of(w.find("a/f/")), k::error::notdir);
    EXPECT_EQ(w.mkdir("d/"), fine);
    EXPECT_EQ(w.touch("t/"), k::error::noent);
    EXPECT_EQ(w.unlink("a/f/"), k::error::notdir);
    EXPECT_EQ(w.rmdir("d/"), fine);
    EXPECT_EQ(w.rename("a/f/", "g"), k::error::notdir);
    EXPECT_EQ(w.rename("a/f", "g/"), k::error::notdir);
    EXPECT_EQ(w.rename("a/b/", "d/"), fine);
    EXPECT_EQ(w.symlink("d", "to_d"), fine);
    EXPECT_EQ(&w.node("to_d/"), &w.node("d"));
    EXPECT_EQ(w.rmdir("to_d/"), k::error::notdir);
}

SELFTEST(vfs_walk, links_lead_where_their_texts_say) {
    world w;
    REQUIRE(w && furnish(w));
    EXPECT_EQ(w.symlink("b", "a/relative"), fine);
    EXPECT_EQ(w.symlink("/a/b", "absolute"), fine);
    EXPECT_EQ(w.symlink("../a/f", "a/up"), fine);
    EXPECT_EQ(w.symlink("nowhere", "dangling"), fine);
    EXPECT_EQ(w.symlink("self", "self"), fine);
    EXPECT_EQ(&w.node("a/relative/c"), &w.node("a/b/c"));
    EXPECT_EQ(&w.node("absolute/c"), &w.node("a/b/c"));
    EXPECT_EQ(&w.node("absolute/.."), &w.node("a"));
    EXPECT_EQ(w.find("a/up").value().node.get(), &w.node("a/f"));
    EXPECT(w.node("a/up").is(node_type::link));
    EXPECT_EQ(w.node("a/up").link_text(), "../a/f");
    EXPECT_EQ(error_of(w.find("dangling")), k::error::noent);
    EXPECT_EQ(error_of(w.find("self")), k::error::loop);
    EXPECT_EQ(error_of(w.find("self/x")), k::error::loop);
    EXPECT_EQ(error_of(w.find("a/up/")), k::error::notdir);
    EXPECT_EQ(w.mkdir("dangling"), k::error::exist);
}

SELFTEST(vfs_walk, forty_links_are_followed_but_not_one_more) {
    world w;
    REQUIRE(w && w.touch("l0") == fine);
    for (unsigned i = 1; i <= 41; i++) {
        char from[8], to[8];
        k::buffer_sink f(from), t(to);
        k::format_to(f, "l{}", i);
        k::format_to(t, "l{}", i - 1);
        REQUIRE(w.symlink(t.view(), f.view()) == fine);
    }
    EXPECT_EQ(error_of(w.find("l40")), fine);
    EXPECT_EQ(error_of(w.find("l41")), k::error::loop);
    EXPECT_EQ(error_of(w.find("l41", root, vfs::last_link::keep)), fine);
    // Forty that are piled on each other: each has something behind it.
    REQUIRE(w.mkdir("d") == fine && w.symlink(".", "d/m0") == fine);
    for (unsigned i = 1; i <= 40; i++) {
        char from[8], to[16];
        k::buffer_sink f(from), t(to);
        k::format_to(f, "d/m{}", i);
        k::format_to(t, "m{}/.", i - 1);
        REQUIRE(w.symlink(t.view(), f.view()) == fine);
    }
    EXPECT_EQ(&w.node("d/m39/"), &w.node("d"));
    EXPECT_EQ(error_of(w.find("d/m40/")), k::error::loop);
}

SELFTEST(vfs_walk, a_name_has_at_most_255_bytes) {
    world w;
    REQUIRE(w);
    char text[256];
    std::memset(text, 'x', sizeof(text));
    EXPECT_EQ(w.touch({text, 255}), fine);
    EXPECT_EQ(error_of(w.find({text, 255})), fine);
    EXPECT_EQ(error_of(w.find({text, 254})), k::error::noent);
    EXPECT_EQ(error_of(w.find({text, 256})), k::error::nametoolong);
    EXPECT_EQ(w.touch({text, 256}), k::error::nametoolong);
    EXPECT_EQ(w.unlink({text, 255}), fine);
}

SELFTEST(vfs_walk, each_directory_on_the_way_must_be_searchable) {
    constexpr vfs::subject somebody{1000, 1000, {}};
    static constexpr k::u32 groups[] = {50, 60};
    constexpr vfs::subject member{1001, 1001, groups};
    world w;
    REQUIRE(w && furnish(w));
    vfs::vnode& b = w.node("a/b");
    const auto set = [&](k::u32 mode, k::u32 uid, k::u32 gid) {
        b.mode.store(mode);
        b.uid.store(uid);
        b.gid.store(gid);
    };
    const auto try_as = [&](const vfs::subject& who) { return error_of(w.find("a/b/c", who)); };
    set(0711, 0, 0);
    EXPECT_EQ(try_as(somebody), fine);
    set(0766, 0, 0);
    EXPECT_EQ(try_as(somebody), k::error::acces);
    EXPECT_EQ(try_as(root), fine);
    set(0677, 1000, 0); // the owner's bits count for the owner, and no others
    EXPECT_EQ(try_as(somebody), k::error::acces);
    EXPECT_EQ(try_as(member), fine);
    set(0707, 0, 60);
    EXPECT_EQ(try_as(member), k::error::acces);
    set(0010, 0, 60);
    EXPECT_EQ(try_as(member), fine);
    EXPECT_EQ(error_of(w.find("a/b/../f", somebody)), k::error::acces);
    EXPECT_EQ(error_of(w.find("a/b", somebody)), fine);
}

SELFTEST(vfs_walk, a_removed_directory_leads_up_to_where_it_was) {
    world w;
    REQUIRE(w && furnish(w));
    vfs::found there = w.find("a/b/c").value();
    const vfs::place inside{there.in.share(), there.node.share()};
    const vfs::view v{root, w.top(), inside};
    EXPECT_EQ(w.rmdir("a/b/c"), fine);
    EXPECT_EQ(error_of(vfs::find(v, ".")), fine);
    EXPECT_EQ(error_of(vfs::find(v, "x")), k::error::noent);
    EXPECT_EQ(error_of(vfs::make(v, vfs::find_spot(v, "x").value(), {.type = node_type::regular})), k::error::noent);
    EXPECT_EQ(there.node->links.load(), 0u);
    char room[64];
    EXPECT(vfs::path_of(w.top(), there, room).value() == "/a/b/c (deleted)");
    EXPECT_EQ(vfs::find(v, "..").value().node.get(), &w.node("a/b"));
    // Another directory of that name is another one, and what is above may be gone as well.
    EXPECT_EQ(w.mkdir("a/b/c"), fine);
    EXPECT(&w.node("a/b/c") != there.node.get());
    EXPECT_EQ(w.rmdir("a/b/c"), fine);
    EXPECT_EQ(w.rmdir("a/b"), fine);
    EXPECT(vfs::find(v, "..").value().node->as_directory().is_dead());
    EXPECT_EQ(vfs::find(v, "../..").value().node.get(), &w.node("a"));
    EXPECT(vfs::path_of(w.top(), there, room).value() == "/a/b/c (deleted)");
}

// Each is held by nothing but the one below it; when the last goes they all go, and no stack is deep enough for that.
SELFTEST(vfs_walk, a_chain_of_removed_directories_goes_without_recursion) {
    constexpr unsigned depth = 4000;
    world w(1000, 2 * depth);
    REQUIRE(w);
    vfs::place at = w.top().share();
    const auto spot_at = [&](const vfs::place& p) { return vfs::find_spot({root, w.top(), p}, "d"); };
    for (unsigned i = 0; i < depth; i++) {
        auto made = vfs::make({root, w.top(), at}, spot_at(at).value(), {.type = node_type::directory, .mode = 0755});
        REQUIRE(made);
        at = {made->in.share(), made->node.share()};
    }
    for (vfs::place below = at.share(); &below.dir() != &w.dir();) {
        auto above = vfs::find({root, w.top(), below}, "..");
        REQUIRE(above);
        below = {above->in.share(), above->node.share()};
        REQUIRE(vfs::remove({root, w.top(), below}, spot_at(below).value(), true));
    }
    EXPECT_EQ(w.fs().state().nodes - w.fs().state().free_nodes, depth + 1u);
    at = {};
    EXPECT_EQ(w.fs().state().nodes - w.fs().state().free_nodes, 1u);
}

SELFTEST(vfs_walk, mounts_are_walked_into_and_out_of) {
    world w;
    REQUIRE(w && furnish(w) && w.mkdir("m") == fine && w.touch("m/below") == fine);
    EXPECT_EQ(w.mount_fresh("m"), fine);
    EXPECT(!w.has("m/below"));
    EXPECT_EQ(w.mkdir("m/n"), fine);
    EXPECT_EQ(w.mount_fresh("m/n"), fine);
    EXPECT_EQ(w.touch("m/n/deep"), fine);
    EXPECT(w.path_is("m/n/deep", "/m/n/deep"));
    EXPECT_EQ(&w.node("m/n/.."), &w.node("m"));
    EXPECT_EQ(&w.node("m/n/../.."), &w.dir());
    EXPECT_EQ(&w.node("m/n/../../a/f"), &w.node("a/f"));
    EXPECT_EQ(w.link("a/f", "m/f"), k::error::xdev);
    EXPECT_EQ(w.rename("a/f", "m/f"), k::error::xdev);
    EXPECT_EQ(w.rmdir("m"), k::error::busy);
    EXPECT_EQ(w.rename("m", "k"), k::error::busy);
    EXPECT_EQ(w.unmount("m"), k::error::busy); // n stands on it
    EXPECT_EQ(w.unmount("m/n"), fine);
    EXPECT_EQ(w.unmount("m"), fine);
    EXPECT(w.has("m/below"));
}

SELFTEST(vfs_walk, a_bind_mount_shows_the_same_directory_elsewhere) {
    world w;
    REQUIRE(w && furnish(w) && w.mkdir("view") == fine);
    EXPECT_EQ(w.bind("a/b", "view"), fine);
    EXPECT_EQ(&w.node("view"), &w.node("a/b"));
    EXPECT_EQ(&w.node("view/.."), &w.dir());
    EXPECT_EQ(&w.node("a/b/.."), &w.node("a"));
    EXPECT_EQ(w.touch("view/new"), fine);
    EXPECT(w.has("a/b/new"));
    EXPECT(w.path_is("view/c", "/view/c"));
    EXPECT(w.path_is("a/b/c", "/a/b/c"));
    EXPECT_EQ(w.rename("view/new", "a/new"), k::error::xdev);
    // The whole world into itself: the mount is not seen in the copy.
    EXPECT_EQ(w.bind("/", "a/b/c"), fine);
    EXPECT_EQ(&w.node("a/b/c/a/f"), &w.node("a/f"));
    EXPECT(!w.has("a/b/c/a/b/c/a"));
    EXPECT_EQ(w.unmount("a/b/c"), fine);
    EXPECT_EQ(w.unmount("view"), fine);
    EXPECT(!w.has("view/c"));
}

SELFTEST(vfs_walk, what_was_mounted_later_is_seen_on_the_way_up) {
    world w;
    REQUIRE(w && furnish(w));
    vfs::found c = w.find("a/b/c").value();
    const vfs::place inside{c.in.share(), c.node.share()};
    EXPECT_EQ(w.mount_fresh("a/b"), fine);
    EXPECT_EQ(vfs::find({root, w.top(), inside}, "..").value().node.get(), &w.node("a/b"));
    EXPECT_EQ(w.unmount("a/b"), fine);
}
