// Work on files of one's own meets nobody: each CPU has a directory in one file system, works in it at the same time as
// all others, and counts what it sends and what it waits for. Other things run on a CPU now and then (memory comes
// home, an alarm is due): a stretch in which that happened says nothing, but there must be many in which nothing did.
#include "kernel/lib/format.h"
#include "kernel/lwkt/contention.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/mem/slab.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/support/threads.h"
#include "tests/sys/vfs/world.h"

namespace {

using namespace vfs_test;

constexpr unsigned stretches = 40, rounds = 100;

// What this CPU has done so far that concerns others. Asking for it sends nothing.
struct account {
    k::u64 sent, waits;

    static account now() {
        const unsigned here = arch::cpu::id();
        return {lwkt::ipi_statistics(here).sent, lwkt::contention_statistics(here).all()};
    }
    account operator-(const account& other) const { return {sent - other.sent, waits - other.waits}; }
};

struct path_of_mine {
    char room[32];
    k::buffer_sink text{room};
    path_of_mine(unsigned number, std::string_view end) { k::format_to(text, "d{}{}", number, end); }
    std::string_view view() const { return text.view(); }
};

// What the stretches of all CPUs were like.
struct outcome {
    std::atomic<unsigned> quiet = 0, without_waiting = 0, all = 0;
    std::atomic<k::u64> sent = 0, waits = 0, done = 0;

    void add(const account& a) {
        all++;
        quiet += a.sent == 0 && a.waits == 0;
        without_waiting += a.waits == 0;
        sent += a.sent;
        waits += a.waits;
        done += rounds;
    }
};

// Every CPU calls work(number) `rounds` times a stretch, all at once.
template <class Prepare, class Work> void run_everywhere(Prepare prepare, Work work, outcome& of) {
    std::atomic<unsigned> missing = arch::cpu::count();
    auto body = [&](unsigned number) {
        prepare(number);
        for (unsigned i = 0; i < rounds; i++)
            work(number); // the caches fill, the file system learns who works where
        missing--;
        lwkt_test::yield_until([&] { return missing.load() == 0; }); // others may still need this CPU's service
        for (unsigned s = 0; s < stretches; s++) {
            const account before = account::now();
            for (unsigned i = 0; i < rounds; i++)
                work(number);
            of.add(account::now() - before);
            if (s % 8 == 7) lwkt::sleep_for(ktime::millisecond); // the end of what the preparation left to be done
        }
    };
    lwkt_test::crew all;
    all.start_everywhere(body);
}

} // namespace

SELFTEST(vfs_scaling, reading_and_writing_own_files_meets_nobody) {
    if constexpr (k::debug_build) return; // there all lending meets at the lock of sys/xio/guard
    world w;
    REQUIRE(w);
    struct bytes {
        void* memory = mem::allocate(512);
        ~bytes() { mem::free(memory); }
    } mine[arch::max_cpus];
    for (const bytes& b : mine)
        REQUIRE(b.memory);
    outcome seen;
    run_everywhere(
        [&](unsigned n) {
            EXPECT_EQ(w.mkdir(path_of_mine(n, "").view(), 0777), fine);
            EXPECT_EQ(w.touch(path_of_mine(n, "/file").view()), fine);
        },
        [&](unsigned n) {
            const path_of_mine path(n, "/file");
            auto file = w.find(path.view());
            auto from = xio::source::over_kernel({static_cast<std::byte*>(mine[n].memory), 512});
            auto to = xio::sink::over_kernel({static_cast<std::byte*>(mine[n].memory), 512});
            if (!file || !from || !to) return selftest::fail(k::where::here(), "not found, or no memory");
            k::u64 at;
            EXPECT(vfs::write(*file->node, {.offset = n * 512ul}, *from, at));
            EXPECT(vfs::read(*file->node, n * 512ul, *to));
            EXPECT_EQ(file->node->links.load(), 1u);
            EXPECT(!w.has(path_of_mine(n, "/none").view()));
        },
        seen);
    if (seen.quiet.load() * 4 < seen.all.load() * 3)
        selftest::fail(k::where::here(), "{} of {} stretches were quiet; {} sent, {} waits", seen.quiet.load(),
                       seen.all.load(), seen.sent.load(), seen.waits.load());
}

// What is removed is freed once all CPUs were asked (kernel/lwkt/grace.h): in batches, so that it is little a name.
SELFTEST(vfs_scaling, making_and_removing_own_names_waits_for_nobody) {
    world w;
    REQUIRE(w);
    outcome seen;
    run_everywhere([&](unsigned n) { EXPECT_EQ(w.mkdir(path_of_mine(n, "").view(), 0777), fine); },
                   [&](unsigned n) {
                       const path_of_mine path(n, "/file");
                       EXPECT_EQ(w.touch(path.view()), fine);
                       EXPECT_EQ(w.unlink(path.view()), fine);
                   },
                   seen);
    if (seen.without_waiting.load() * 4 < seen.all.load() * 3 || seen.sent.load() * 4 > seen.done.load())
        selftest::fail(k::where::here(), "{} of {} stretches were without waiting; {} sent and {} waits in {} rounds",
                       seen.without_waiting.load(), seen.all.load(), seen.sent.load(), seen.waits.load(),
                       seen.done.load());
}

// That the counters count: who works in another CPU's directory must send, for it has one home.
SELFTEST(vfs_scaling, a_name_in_anothers_directory_is_made_by_message) {
    const unsigned here = arch::cpu::id(), other = (here + 1) % arch::cpu::count();
    if (other == here) return;
    world w;
    REQUIRE(w);
    EXPECT_EQ(w.mkdir("d"), fine);
    REQUIRE(support::run_on(other, [&] {
        const account before = account::now();
        EXPECT_EQ(w.touch("d/file"), fine);
        EXPECT((account::now() - before).sent >= 1);
    }));
}
