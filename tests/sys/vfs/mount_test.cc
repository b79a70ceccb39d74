// Mounts come and go while they are used.
#include "kernel/lwkt/grace.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/sys/vfs/world.h"

using namespace vfs_test;

SELFTEST(vfs_mount, one_that_is_used_stays) {
    world w;
    REQUIRE(w && w.mkdir("m") == fine && w.mount_fresh("m") == fine && w.mkdir("m/in") == fine);
    {
        vfs::found user = w.find("m/in").value();
        EXPECT_EQ(w.unmount("m"), k::error::busy);
        EXPECT(w.has("m/in"));
        EXPECT_EQ(w.rmdir("m"), k::error::busy);
    }
    EXPECT_EQ(w.unmount("m"), fine);
    EXPECT(!w.has("m/in"));
    EXPECT_EQ(w.rmdir("m"), fine);
}

SELFTEST(vfs_mount, one_that_was_taken_away_lives_on_for_its_users) {
    world w;
    REQUIRE(w && w.mkdir("m") == fine && w.mount_fresh("m") == fine && w.mkdir("m/in") == fine);
    vfs::found user = w.find("m/in").value();
    const vfs::place inside{user.in.share(), user.node.share()};
    const vfs::view v{root, w.top(), inside};
    EXPECT_EQ(w.unmount("m", vfs::unmount_how::detach), fine);
    EXPECT(!w.has("m/in"));
    EXPECT_EQ(error_of(vfs::make(v, vfs::find_spot(v, "new").value(), {.type = node_type::regular})), fine);
    EXPECT_EQ(error_of(vfs::find(v, "new")), fine);
    EXPECT_EQ(vfs::find(v, "../../..").value().node.get(), &user.in->root()); // up leads no further
    EXPECT_EQ(error_of(vfs::unmount(user.in.share(), vfs::unmount_how::detach)), k::error::inval);
    auto more = vfs::make_tmpfs({.pages = 10, .nodes = 10});
    REQUIRE(more);
    auto more_root = vfs::vnode_ref::to((*more)->root());
    EXPECT_EQ(error_of(vfs::mount_on(inside, *std::move(more), std::move(more_root), 0, "x")), k::error::inval);
    EXPECT_EQ(w.rmdir("m"), fine);
}

SELFTEST(vfs_mount, nothing_is_mounted_on_what_was_removed) {
    world w;
    REQUIRE(w && w.mkdir("m") == fine);
    vfs::found m = w.find("m").value();
    EXPECT_EQ(w.rmdir("m"), fine);
    auto fs = vfs::make_tmpfs({.pages = 10, .nodes = 10});
    REQUIRE(fs);
    auto root_of = vfs::vnode_ref::to((*fs)->root());
    EXPECT_EQ(error_of(vfs::mount_on({m.in.share(), m.node.share()}, *std::move(fs), std::move(root_of), 0, "x")),
              k::error::noent);
}

SELFTEST(vfs_mount, users_of_every_cpu_are_counted) {
    world w;
    REQUIRE(w && w.mkdir("m") == fine && w.mount_fresh("m") == fine && w.mkdir("m/in") == fine);
    std::atomic<bool> stop = false;
    std::atomic<unsigned> wrong = 0, kept = 0;
    // Each keeps the mount for a while, and hands it on to be let go elsewhere.
    auto use = [&](unsigned number) {
        for (unsigned i = number; !stop.load(); i++) {
            auto there = w.find("m/in");
            if (!there) {
                wrong += there.error() != k::error::noent;
                lwkt::yield();
                continue;
            }
            kept++;
            if (i % 8 == 0) (void)lwkt::hand_over(i / 8 % arch::cpu::count());
            wrong += there->in->root().is_dead();
        }
    };
    unsigned refused = 0, done = 0;
    {
        lwkt_test::crew c;
        for (unsigned cpu = 1; cpu < arch::cpu::count(); cpu++)
            REQUIRE(c.start(cpu, use));
        for (unsigned i = 0; i < 30; i++) {
            const k::error e = w.unmount("m", i % 5 == 4 ? vfs::unmount_how::detach : vfs::unmount_how::when_unused);
            if (e == fine) {
                done++;
                EXPECT_EQ(w.mount_fresh("m"), fine);
                EXPECT_EQ(w.mkdir("m/in"), fine);
            } else {
                refused++;
                EXPECT_EQ(e, k::error::busy);
            }
        }
        stop.store(true);
    }
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT(done >= 6);
    EXPECT_EQ(w.unmount("m"), fine);
}

// The mount is the last to hold its file system, and goes in the thread that frees what was retired.
SELFTEST(vfs_mount, the_last_user_ends_the_file_system) {
    world w;
    REQUIRE(w && w.mkdir("m") == fine);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(w.mount_fresh("m"), fine);
        EXPECT_EQ(w.mkdir("m/a"), fine);
        EXPECT_EQ(w.mkdir("m/a/b"), fine);
        EXPECT_EQ(w.touch("m/a/b/c"), fine);
        EXPECT_EQ(w.unmount("m"), fine);
        lwkt::wait_for_readers();
    }
}

// --- Moving and passing on

SELFTEST(vfs_mount, one_is_moved_with_what_it_carries) {
    world w;
    REQUIRE(w && w.mkdir("a") == fine && w.mkdir("b") == fine && w.mount_fresh("a") == fine && w.mkdir("a/in") == fine);
    EXPECT_EQ(w.mount_fresh("a/in"), fine);
    EXPECT_EQ(w.touch("a/in/deep"), fine);
    EXPECT_EQ(w.move("a", "a/in"), k::error::loop);
    EXPECT_EQ(w.move("b", "a"), k::error::inval);
    const vfs::found user = w.find("a/in/deep").value();
    EXPECT_EQ(w.move("a", "b"), fine);
    EXPECT(!w.has("a/in") && w.has("b/in/deep"));
    char room[64];
    EXPECT(vfs::path_of(w.top(), user, room).value() == "/b/in/deep");
    EXPECT_EQ(w.rmdir("a"), fine);
    EXPECT_EQ(w.rmdir("b"), k::error::busy);
}

SELFTEST(vfs_mount, whoever_looks_finds_a_moving_one_in_one_of_two_places) {
    world w;
    REQUIRE(w && w.mkdir("a") == fine && w.mkdir("b") == fine && w.mount_fresh("a") == fine && w.mkdir("a/in") == fine);
    const vfs::found in = w.find("a/in").value();
    const vfs::place inside{in.in.share(), in.node.share()};
    std::atomic<bool> stop = false;
    std::atomic<unsigned> wrong = 0;
    auto look = [&](unsigned) {
        while (!stop.load()) {
            auto up = vfs::find({root, w.top(), inside}, "../..");
            wrong += !up || up->node.get() != &w.dir();
            char room[64];
            auto path = vfs::path_of(w.top(), in, room);
            wrong += !path || (*path != "/a/in" && *path != "/b/in");
            lwkt::yield();
        }
    };
    {
        lwkt_test::crew c;
        for (unsigned cpu = 1; cpu < arch::cpu::count(); cpu++)
            REQUIRE(c.start(cpu, look));
        for (unsigned i = 0; i < 60; i++)
            EXPECT_EQ(w.move(i % 2 ? "b" : "a", i % 2 ? "a" : "b"), fine);
        stop.store(true);
    }
    EXPECT_EQ(wrong.load(), 0u);
}

SELFTEST(vfs_mount, a_lazy_unmount_takes_what_is_below_along) {
    world w;
    REQUIRE(w && w.mkdir("a") == fine && w.mount_fresh("a") == fine && w.mkdir("a/in") == fine);
    EXPECT_EQ(w.mount_fresh("a/in"), fine);
    EXPECT_EQ(w.mkdir("a/in/d"), fine);
    EXPECT_EQ(w.mount_fresh("a/in/d"), fine);
    vfs::found user = w.find("a/in/d").value();
    EXPECT_EQ(w.unmount("a"), k::error::busy);
    EXPECT_EQ(w.unmount("a", vfs::unmount_how::detach), fine);
    EXPECT(!w.has("a/in"));
    EXPECT_EQ(w.rmdir("a"), fine);
    const vfs::place inside{user.in.share(), user.node.share()};
    EXPECT_EQ(vfs::find({root, w.top(), inside}, "../..").value().node.get(), user.node.get());
}

SELFTEST(vfs_mount, an_unused_one_expires) {
    using enum vfs::unmount_how;
    world w;
    REQUIRE(w && w.mkdir("m") == fine && w.mount_fresh("m") == fine && w.touch("m/f") == fine);
    {
        vfs::found user = w.find("m/f").value();
        EXPECT_EQ(w.unmount("m", expire), k::error::busy);
    }
    // The world's own way to the mount is no use of it: what it finds there it hands over.
    EXPECT_EQ(w.unmount("m", expire), k::error::again);
    (void)w.find("m/f");
    EXPECT_EQ(w.unmount("m", expire), k::error::again);
    EXPECT_EQ(w.unmount("m", expire), fine);
    EXPECT(!w.has("m/f"));
}

SELFTEST(vfs_mount, nobody_writes_to_one_that_becomes_read_only) {
    world w;
    REQUIRE(w && w.mkdir("m") == fine && w.mount_fresh("m") == fine);
    const vfs::found m = w.find("m").value();
    const vfs::place at{m.in.share(), m.node.share()};
    {
        const vfs::mount_writing writer = vfs::mount_writing::take(*m.in).value();
        EXPECT_EQ(error_of(vfs::change_flags(at, vfs::mount_read_only, false)), k::error::busy);
        EXPECT_EQ(error_of(vfs::change_flags(at, vfs::mount_read_only, true)), k::error::busy);
        EXPECT_EQ(w.touch("m/f"), fine);
    }
    EXPECT_EQ(error_of(vfs::change_flags(at, vfs::mount_read_only, true)), fine);
    EXPECT_EQ(error_of(vfs::mount_writing::take(*m.in)), k::error::rofs);
    EXPECT_EQ(w.touch("m/g"), k::error::rofs);
    EXPECT_EQ(error_of(vfs::change_flags(at, 0, true)), fine);
    EXPECT_EQ(w.touch("m/g"), fine);
}

SELFTEST(vfs_mount, shared_ones_pass_on_what_is_mounted) {
    using enum vfs::propagation;
    world w;
    REQUIRE(w && w.mkdir("a") == fine && w.mkdir("a/on") == fine && w.mkdir("b") == fine && w.mkdir("c") == fine &&
            w.mkdir("d") == fine);
    EXPECT(w.bind("a", "a") == fine && w.propagate("a", shared) == fine);
    EXPECT(w.bind("a", "b") == fine);                                    // a peer
    EXPECT(w.bind("a", "c") == fine && w.propagate("c", slave) == fine); // a slave
    EXPECT(w.propagate("c", shared) == fine);                            // that is shared itself
    EXPECT(w.bind("c", "d") == fine && w.propagate("d", slave) == fine); // its slave
    EXPECT_EQ(w.mount_fresh("b/on"), fine);
    EXPECT_EQ(w.touch("b/on/f"), fine);
    EXPECT(w.has("a/on/f") && w.has("c/on/f") && w.has("d/on/f"));
    EXPECT_EQ(w.unmount("a/on"), fine);
    EXPECT(!w.has("b/on/f") && !w.has("c/on/f") && !w.has("d/on/f"));
    EXPECT_EQ(w.mount_fresh("c/on"), fine);
    EXPECT_EQ(w.touch("c/on/f"), fine);
    EXPECT(!w.has("a/on/f") && !w.has("b/on/f") && w.has("d/on/f"));
    EXPECT_EQ(w.propagate("d", unbindable), fine);
    EXPECT_EQ(w.bind("d", "b"), k::error::inval);
    EXPECT_EQ(w.unmount("c/on"), fine);
    EXPECT(w.has("d/on/f")); // it hears no more
}

SELFTEST(vfs_mount, a_tree_is_passed_on_whole) {
    world w;
    REQUIRE(w && w.mkdir("a") == fine && w.mkdir("a/on") == fine && w.mkdir("b") == fine && w.mkdir("t") == fine);
    EXPECT(w.bind("a", "a") == fine && w.propagate("a", vfs::propagation::shared) == fine && w.bind("a", "b") == fine);
    EXPECT(w.mount_fresh("t") == fine && w.mkdir("t/in") == fine && w.mount_fresh("t/in") == fine);
    EXPECT_EQ(w.touch("t/in/f"), fine);
    EXPECT_EQ(w.bind("t", "a/on", true), fine);
    EXPECT(w.has("a/on/in/f") && w.has("b/on/in/f"));
    EXPECT_EQ(w.unmount("b/on", vfs::unmount_how::detach), fine);
    EXPECT(!w.has("a/on/in") && !w.has("b/on/in") && w.has("t/in/f"));
}
