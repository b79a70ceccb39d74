// The name cache: what lookups on other CPUs see while names come and go.
#include "kernel/lib/format.h"
#include "kernel/lib/random.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/sys/vfs/world.h"

namespace {

using namespace vfs_test;

struct short_text {
    char room[16];
    std::size_t length;
    short_text(char kind, unsigned number) {
        k::buffer_sink to(room);
        k::format_to(to, "{}{}", std::string_view(&kind, 1), number);
        length = to.view().size();
    }
    operator std::string_view() const { return {room, length}; }
};

} // namespace

SELFTEST(vfs_names, a_directory_is_what_a_model_says) {
    constexpr unsigned names = 200;
    world w;
    REQUIRE(w);
    k::u64 inodes[names] = {};
    k::random random(selftest::seed());
    for (unsigned step = 0; step < 4000; step++) {
        const auto a = static_cast<unsigned>(random.below(names)), b = static_cast<unsigned>(random.below(names));
        switch (random.below(4)) {
        case 0:
            EXPECT_EQ(w.touch(short_text('n', a)), inodes[a] ? k::error::exist : fine);
            inodes[a] = w.node(short_text('n', a)).inode;
            break;
        case 1:
            EXPECT_EQ(w.unlink(short_text('n', a)), inodes[a] ? fine : k::error::noent);
            inodes[a] = 0;
            break;
        case 2:
            EXPECT_EQ(w.rename(short_text('n', a), short_text('n', b)), inodes[a] ? fine : k::error::noent);
            if (inodes[a] && a != b) inodes[b] = std::exchange(inodes[a], 0);
            break;
        default: {
            auto found = w.find(short_text('n', a));
            EXPECT_EQ(found ? found->node->inode : 0, inodes[a]);
        }
        }
    }
    unsigned live = 0;
    for (unsigned i = 0; i < names; i++) {
        live += inodes[i] != 0;
        auto found = w.find(short_text('n', i));
        EXPECT_EQ(found ? found->node->inode : 0, inodes[i]);
    }
    EXPECT_EQ(w.dir().count(), live);
}

SELFTEST(vfs_names, another_of_the_same_text_is_not_forgotten) {
    world w;
    REQUIRE(w && w.touch("name") == fine);
    const vfs::name_ref before = w.find("name").value().called.share();
    REQUIRE(w.unlink("name") == fine && w.touch("name") == fine);
    const vfs::name_text text("name");
    vfs::vop_forget late(w.dir(), text, before.get());
    EXPECT(w.fs().call(late) && !late.forgotten);
    EXPECT(w.has("name"));
    vfs::vop_forget whichever(w.dir(), text, nullptr);
    EXPECT(w.fs().call(whichever) && whichever.forgotten);
    EXPECT(!w.has("name"));
}

// Fillers grow and shrink the table, so that it is replaced and marks pile up while the others look.
SELFTEST(vfs_names, what_is_there_all_the_time_is_never_missed) {
    constexpr unsigned stay = 16, come_and_go = 40, rounds = 60;
    world w;
    REQUIRE(w);
    for (unsigned i = 0; i < stay; i++)
        REQUIRE(w.touch(short_text('s', i)) == fine);
    REQUIRE(w.touch("moving") == fine && w.touch("stay") == fine);
    std::atomic<unsigned> changing = 1, missed = 0;
    auto look = [&](unsigned number) {
        for (unsigned i = number; changing.load(); i++) {
            missed += !w.has(short_text('s', i % stay));
            missed += !w.has("stay"); // replaced by others all the time
            if (i % 64 == 0) lwkt::yield();
        }
    };
    auto change = [&](unsigned) {
        for (unsigned round = 0; round < rounds; round++) {
            for (unsigned i = 0; i < come_and_go; i++)
                EXPECT_EQ(w.touch(short_text('f', i)), fine);
            EXPECT_EQ(w.touch("other"), fine);
            EXPECT_EQ(w.rename("other", "stay"), fine);
            EXPECT_EQ(w.rename("moving", "moved"), fine);
            EXPECT_EQ(w.rename("moved", "moving"), fine);
            EXPECT_EQ(w.rename("moving", "stay", vfs::rename_exchange), fine);
            for (unsigned i = 0; i < come_and_go; i++)
                EXPECT_EQ(w.unlink(short_text('f', i)), fine);
        }
        changing.store(0);
    };
    {
        lwkt_test::crew c;
        REQUIRE(c.start(0, change));
        for (unsigned cpu = 1; cpu < arch::cpu::count(); cpu++)
            REQUIRE(c.start(cpu, look));
    }
    EXPECT_EQ(missed.load(), 0u);
}

SELFTEST(vfs_names, a_listing_gives_each_name_that_stays_exactly_once) {
    constexpr unsigned names = 100;
    world w;
    REQUIRE(w);
    for (unsigned i = 0; i < names; i++)
        REQUIRE(w.touch(short_text('n', i)) == fine);
    unsigned seen[names] = {};
    k::u64 place = 0;
    for (unsigned part = 0;; part++) {
        vfs::vop_list::entry some[7];
        vfs::vop_list list(w.dir(), place, some);
        REQUIRE(w.fs().call(list));
        for (unsigned i = 0; i < list.count; i++) {
            unsigned number = 0;
            for (char c : some[i].what->text().substr(1))
                number = number * 10 + static_cast<unsigned>(c - '0');
            if (some[i].what->text().front() == 'n') seen[number % names]++;
        }
        if (list.count < 7) break;
        place = list.place;
        (void)w.touch(short_text('x', part));
        (void)w.unlink(short_text('n', part * 7 % names / 2 * 2)); // even ones go
    }
    for (unsigned i = 1; i < names; i += 2)
        EXPECT_EQ(seen[i], 1u);
}
