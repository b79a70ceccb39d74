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
