// Making, linking, renaming, removing: the rules and the errors as POSIX and Linux have them.
#include "tests/sys/vfs/world.h"

namespace {

using namespace vfs_test;
using vfs::rename_exchange;
using vfs::rename_no_replace;

constexpr vfs::subject owner{1000, 1000, {}}, other{1001, 1001, {}};

} // namespace

SELFTEST(vfs_edit, what_exists_is_not_made_again) {
    world w;
    REQUIRE(w);
    EXPECT_EQ(w.mkdir("d"), fine);
    EXPECT_EQ(w.mkdir("d"), k::error::exist);
    EXPECT_EQ(w.touch("d"), k::error::exist);
    EXPECT_EQ(w.mkdir("."), k::error::exist);
    EXPECT_EQ(w.mkdir("d/.."), k::error::exist);
    EXPECT_EQ(w.mkdir("/"), k::error::exist);
    EXPECT_EQ(w.mkdir("x/y"), k::error::noent);
    EXPECT_EQ(w.touch("f"), fine);
    EXPECT_EQ(w.mkdir("f/y"), k::error::notdir);
}

SELFTEST(vfs_edit, links_of_directories_count_what_is_in_them) {
    world w;
    REQUIRE(w);
    EXPECT_EQ(w.dir().links.load(), 2u);
    EXPECT_EQ(w.mkdir("a"), fine);
    EXPECT_EQ(w.mkdir("a/x"), fine);
    EXPECT_EQ(w.mkdir("b"), fine);
    EXPECT_EQ(w.touch("a/f"), fine);
    EXPECT_EQ(w.dir().links.load(), 4u);
    EXPECT_EQ(w.links("a"), 3u);
    EXPECT_EQ(w.rename("a/x", "b/x"), fine);
    EXPECT_EQ(w.links("a"), 2u);
    EXPECT_EQ(w.links("b"), 3u);
    EXPECT_EQ(&w.node("b/x/.."), &w.node("b"));
    EXPECT_EQ(w.rename("b/x", "b/y"), fine);
    EXPECT_EQ(w.links("b"), 3u);
    EXPECT_EQ(w.rename("a/f", "b/y", rename_exchange), fine);
    EXPECT_EQ(w.links("a"), 3u);
    EXPECT_EQ(w.links("b"), 2u);
    EXPECT_EQ(&w.node("a/f/.."), &w.node("a"));
    EXPECT_EQ(w.mkdir("b/over"), fine);
    EXPECT_EQ(w.rename("a/f", "b/over"), fine); // onto an empty one
    EXPECT_EQ(w.links("a"), 2u);
    EXPECT_EQ(w.links("b"), 3u);
    EXPECT_EQ(w.rmdir("b/over"), fine);
    EXPECT_EQ(w.links("b"), 2u);
}

SELFTEST(vfs_edit, a_file_has_as_many_names_as_links) {
    world w;
    REQUIRE(w && w.touch("f") == fine && w.mkdir("d") == fine);
    EXPECT_EQ(w.link("f", "g"), fine);
    EXPECT_EQ(w.link("g", "d/h"), fine);
    EXPECT_EQ(w.links("f"), 3u);
    EXPECT_EQ(&w.node("f"), &w.node("d/h"));
    EXPECT_EQ(w.unlink("f"), fine);
    EXPECT_EQ(w.links("g"), 2u);
    EXPECT_EQ(w.rename("g", "d/h"), fine); // the same file: nothing happens
    EXPECT(w.has("g") && w.has("d/h"));
    EXPECT_EQ(w.link("d", "e"), k::error::perm);
    EXPECT_EQ(w.link("g", "d/h"), k::error::exist);
    EXPECT_EQ(w.link("g", "e/"), k::error::noent);
    EXPECT_EQ(w.link("x", "e"), k::error::noent);
    auto held = w.find("g");
    REQUIRE(held);
    EXPECT_EQ(w.unlink("g"), fine);
    EXPECT_EQ(w.unlink("d/h"), fine);
    EXPECT_EQ(held->node->links.load(), 0u);
    auto where = vfs::find_spot(w.as(), "back");
    REQUIRE(where);
    EXPECT_EQ(error_of(vfs::link(w.as(), *held, *where)), k::error::noent);
}

SELFTEST(vfs_edit, a_file_without_a_name_may_get_its_first) {
    world w;
    REQUIRE(w);
    auto made = w.fs().make_node({.type = node_type::regular, .mode = 0600}, {});
    REQUIRE(made);
    vfs::found what{w.top().in.share(), *std::move(made), {}};
    what.node->links.store(0);
    what.node->awaits_name.store(true);
    auto where = vfs::find_spot(w.as(), "named");
    REQUIRE(where);
    EXPECT_EQ(error_of(vfs::link(w.as(), what, *where)), fine);
    EXPECT_EQ(w.links("named"), 1u);
    EXPECT_EQ(w.unlink("named"), fine);
    EXPECT_EQ(error_of(vfs::link(w.as(), what, *where)), k::error::noent);
}

SELFTEST(vfs_edit, remove_takes_what_it_is_asked_for) {
    world w;
    REQUIRE(w && w.touch("f") == fine && w.mkdir("d") == fine && w.touch("d/in") == fine);
    EXPECT_EQ(w.unlink("d"), k::error::isdir);
    EXPECT_EQ(w.rmdir("f"), k::error::notdir);
    EXPECT_EQ(w.rmdir("d"), k::error::notempty);
    EXPECT_EQ(w.unlink("x"), k::error::noent);
    EXPECT_EQ(w.rmdir("d/."), k::error::inval);
    EXPECT_EQ(w.rmdir("d/.."), k::error::notempty);
    EXPECT_EQ(w.rmdir("/"), k::error::busy);
    EXPECT_EQ(w.unlink("d/."), k::error::isdir);
    EXPECT_EQ(w.unlink("/"), k::error::isdir);
    EXPECT_EQ(w.unlink("d/in"), fine);
    EXPECT_EQ(w.rmdir("d"), fine);
    EXPECT_EQ(w.unlink("f"), fine);
    EXPECT_EQ(w.dir().count(), 0u);
}

SELFTEST(vfs_edit, rename_replaces_like_by_like) {
    world w;
    REQUIRE(w && w.touch("f") == fine && w.touch("g") == fine && w.mkdir("d") == fine && w.mkdir("e") == fine);
    REQUIRE(w.mkdir("d/sub") == fine && w.touch("d/file") == fine);
    EXPECT_EQ(w.rename("x", "y"), k::error::noent);
    EXPECT_EQ(w.rename("f", "f"), fine);
    EXPECT_EQ(w.rename("d", "d"), fine);
    EXPECT_EQ(w.rename("f", "e"), k::error::isdir);
    EXPECT_EQ(w.rename("e", "f"), k::error::notdir);
    EXPECT_EQ(w.rename("e", "d"), k::error::notempty);
    EXPECT_EQ(w.rename("d", "d/sub/d"), k::error::inval);
    EXPECT_EQ(w.rename("d", "d/d"), k::error::inval);
    EXPECT_EQ(w.rename("d/sub", "d"), k::error::notempty);
    EXPECT_EQ(w.rename("d/file", "d"), k::error::notempty);
    EXPECT_EQ(w.rename("d/.", "z"), k::error::busy);
    EXPECT_EQ(w.rename("f", "d/.."), k::error::busy);
    const k::u64 g = w.node("g").inode;
    EXPECT_EQ(w.rename("f", "g", rename_no_replace), k::error::exist);
    EXPECT_EQ(w.rename("f", ".", rename_no_replace), k::error::exist);
    EXPECT_EQ(w.node("g").inode, g);
    EXPECT_EQ(w.rename("f", "h", rename_no_replace), fine);
    auto held = w.find("g");
    EXPECT_EQ(w.rename("h", "g"), fine);
    REQUIRE(held);
    EXPECT_EQ(held->node->links.load(), 0u);
    EXPECT(!w.has("h") && w.node("g").inode != g);
    EXPECT_EQ(w.rename("d", "e"), fine);
    EXPECT(w.has("e/sub") && !w.has("d"));
}

SELFTEST(vfs_edit, exchange_swaps_whatever_they_are) {
    world w;
    REQUIRE(w && w.touch("f") == fine && w.mkdir("d") == fine && w.touch("d/in") == fine && w.mkdir("d/s") == fine);
    EXPECT_EQ(w.rename("f", "x", rename_exchange), k::error::noent);
    EXPECT_EQ(w.rename("f", "d", rename_exchange), fine);
    EXPECT(w.has("f/in") && w.node("d").is(node_type::regular));
    EXPECT_EQ(w.rename("f/s", "f", rename_exchange), k::error::inval);
    EXPECT_EQ(w.rename("f", "f/s", rename_exchange), k::error::inval);
    EXPECT_EQ(w.rename("f/in", "d", rename_exchange), fine);
    EXPECT_EQ(w.rename("d", "d", rename_exchange), fine);
    EXPECT_EQ(w.links("f"), 3u);
    EXPECT_EQ(w.dir().links.load(), 3u);
}

SELFTEST(vfs_edit, a_directory_is_changed_by_who_may_write_to_it) {
    world w;
    REQUIRE(w && w.mkdir("mine", 0755, owner) == fine && w.mkdir("ours", 0777) == fine);
    EXPECT_EQ(w.touch("mine/f", 0644, owner), fine);
    EXPECT_EQ(w.touch("mine/g", 0644, other), k::error::acces);
    EXPECT_EQ(w.unlink("mine/f", other), k::error::acces);
    EXPECT_EQ(w.rename("mine/f", "ours/f", 0, other), k::error::acces);
    EXPECT_EQ(w.rename("mine/f", "ours/f", 0, owner), fine);
    EXPECT_EQ(w.unlink("ours/f", other), fine); // the directory decides
    EXPECT_EQ(w.mkdir("ours/dir", 0555, owner), fine);
    EXPECT_EQ(w.rename("ours/dir", "ours/dir2", 0, other), fine);
    EXPECT_EQ(w.rename("ours/dir2", "dir", 0, other), k::error::acces); // its ".." would change
    EXPECT_EQ(w.touch("mine/here", 0600, owner), fine);
    EXPECT_EQ(w.link("mine/here", "ours/here", other), k::error::perm); // what one may not write
}

SELFTEST(vfs_edit, in_a_sticky_directory_only_owners_remove) {
    world w;
    REQUIRE(w && w.mkdir("tmp", 01777) == fine && w.touch("tmp/f", 0666, owner) == fine);
    REQUIRE(w.touch("tmp/g", 0666, other) == fine);
    EXPECT_EQ(w.unlink("tmp/f", other), k::error::perm);
    EXPECT_EQ(w.rename("tmp/f", "tmp/x", 0, other), k::error::perm);
    EXPECT_EQ(w.rename("tmp/g", "tmp/f", 0, other), k::error::perm);
    EXPECT_EQ(w.rename("tmp/g", "tmp/f", rename_exchange, other), k::error::perm);
    EXPECT_EQ(w.unlink("tmp/f", owner), fine);
    w.node("tmp").uid.store(1000);
    EXPECT_EQ(w.unlink("tmp/g", owner), fine);
}

SELFTEST(vfs_edit, a_set_group_directory_gives_its_group) {
    world w;
    REQUIRE(w && w.mkdir("g", 02777) == fine);
    w.node("g").gid.store(70);
    w.node("g").mode.store(02777);
    EXPECT_EQ(w.mkdir("g/d", 0755, owner), fine);
    EXPECT_EQ(w.node("g/d").gid.load(), 70u);
    EXPECT_EQ(w.node("g/d").mode.load(), 02755u);
    EXPECT_EQ(w.touch("g/f", 02755, owner), fine);
    EXPECT_EQ(w.node("g/f").gid.load(), 70u);
    EXPECT_EQ(w.node("g/f").mode.load(), 0755u);
    EXPECT_EQ(w.touch("g/r", 02755), fine);
    EXPECT_EQ(w.node("g/r").mode.load(), 02755u);
}

SELFTEST(vfs_edit, attributes_change_by_their_owner_only) {
    world w;
    REQUIRE(w && w.touch("f", 06755, owner) == fine);
    vfs::found f = w.find("f").value();
    vfs::vnode& n = *f.node;
    EXPECT_EQ(error_of(vfs::change_mode(f, other, 0777)), k::error::perm);
    EXPECT_EQ(error_of(vfs::change_owner(f, owner, 1001, vfs::no_change)), k::error::perm);
    EXPECT_EQ(error_of(vfs::change_owner(f, owner, 1000, 7)), k::error::perm); // not in that group
    EXPECT_EQ(n.mode.load(), 06755u);
    vfs::drop_set_id(n, root);
    EXPECT_EQ(n.mode.load(), 06755u);
    vfs::drop_set_id(n, other);
    EXPECT_EQ(n.mode.load(), 0755u);
    n.mode.store(06745); // set-group without group execution means something else, and stays
    EXPECT_EQ(error_of(vfs::change_owner(f, root, 1001, vfs::no_change)), fine);
    EXPECT_EQ(n.mode.load(), 02745u);
    EXPECT_EQ(error_of(vfs::change_mode(f, other, 07644)), fine);
    EXPECT_EQ(n.mode.load(), 05644u); // the group is foreign
    using kind = vfs::new_time::kind;
    EXPECT_EQ(error_of(vfs::change_times(f, owner, {kind::given, 5}, {kind::now})), k::error::perm);
    EXPECT_EQ(error_of(vfs::change_times(f, owner, {kind::now}, {kind::now})), k::error::acces);
    EXPECT_EQ(error_of(vfs::change_times(f, other, {kind::given, 5}, {kind::keep})), fine);
    EXPECT_EQ(n.accessed_ns.load(), 5u);
}

SELFTEST(vfs_edit, a_read_only_mount_changes_nothing) {
    world w;
    REQUIRE(w && w.touch("f") == fine && w.mkdir("d") == fine);
    EXPECT_EQ(error_of(vfs::change_flags(w.top(), vfs::mount_read_only, false)), fine);
    EXPECT_EQ(w.touch("g"), k::error::rofs);
    EXPECT_EQ(w.touch("f"), k::error::exist);
    EXPECT_EQ(w.unlink("f"), k::error::rofs);
    EXPECT_EQ(w.rename("f", "g"), k::error::rofs);
    EXPECT_EQ(w.link("f", "g"), k::error::rofs);
    vfs::found f = w.find("f").value();
    EXPECT_EQ(error_of(vfs::change_mode(f, root, 0)), k::error::rofs);
    EXPECT_EQ(error_of(vfs::truncate(f, root, 5)), k::error::rofs);
    EXPECT_EQ(error_of(vfs::change_flags(w.top(), 0, false)), fine);
    EXPECT_EQ(w.unlink("f"), fine);
}

SELFTEST(vfs_edit, a_full_file_system_makes_no_more_nodes) {
    world w(10, 5); // the root is one of them
    REQUIRE(w);
    EXPECT_EQ(w.touch("a"), fine);
    EXPECT_EQ(w.touch("b"), fine);
    EXPECT_EQ(w.mkdir("c"), fine);
    EXPECT_EQ(w.symlink("x", "d"), fine);
    EXPECT_EQ(w.touch("e"), k::error::nospc);
    EXPECT_EQ(w.touch("a"), k::error::exist);
    EXPECT_EQ(w.fs().state().free_nodes, 0u);
    EXPECT_EQ(w.unlink("a"), fine);
    EXPECT_EQ(w.touch("e"), fine);
}
