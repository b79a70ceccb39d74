// kernel/files/fd_table: against a model that is an array, and what closing, cloning and sharing promise.
#include "kernel/files/fd_table.h"

#include "kernel/lib/random.h"
#include "tests/kernel/files/io.h"
#include "tests/kernel/lwkt/crew.h"

#include <array>

using files::fd_table;
using files::file_ref;
using k::error;
using tests::error_of;

namespace {

std::atomic<int> open_files;

// Counts how many there are.
class counted_file final : public files::file {
  public:
    explicit counted_file(int n) noexcept : file(files::open_read_write), number(n) { open_files.fetch_add(1); }
    ~counted_file() override { open_files.fetch_sub(1); }
    k::status describe(files::stat_record& out) noexcept override {
        out = files::simple_stat(0600, static_cast<k::u64>(number));
        return {};
    }
    const int number;
};

file_ref fresh(int number = 0) {
    return file_ref(mem::make<counted_file>(number));
}

int number_of(const files::file* f) {
    return f ? static_cast<const counted_file*>(f)->number : -1;
}

constexpr k::u32 limit = 300;

// The same as the table, too simple to be wrong.
struct model {
    struct slot {
        int number = -1; // -1: free
        bool close_on_exec = false;
    };
    std::array<slot, limit> slots{};

    int install(int number, bool cloexec, k::u32 least) {
        for (k::u32 fd = least; fd < limit; fd++)
            if (slots[fd].number < 0) {
                slots[fd] = {number, cloexec};
                return static_cast<int>(fd);
            }
        return -1;
    }
    bool equals(fd_table& t) {
        k::u32 open = 0;
        for (k::u32 fd = 0; fd < limit; fd++) {
            const auto f = t.look_up(static_cast<int>(fd));
            if (number_of(f.get()) != slots[fd].number) return false;
            if (!f) continue;
            open++;
            auto cloexec = t.closes_on_exec(static_cast<int>(fd));
            if (!cloexec || *cloexec != slots[fd].close_on_exec) return false;
        }
        return t.count() == open && open_files.load() == static_cast<int>(open);
    }
};

struct pair {
    k::ref<fd_table> table;
    model expected;
    k::random random;
    int next = 0;

    int below(k::u64 n) { return static_cast<int>(random.below(n)); }

    void install() {
        const bool cloexec = below(2);
        const int least = below(3) ? 0 : below(limit);
        const int want = expected.install(next, cloexec, static_cast<k::u32>(least));
        auto got = table->install(fresh(next++), cloexec, limit, least);
        EXPECT_EQ(got ? *got : -1, want);
        if (want < 0) EXPECT_EQ(error_of(got), error::mfile);
    }
    void install_at() {
        const int at = below(limit);
        const bool cloexec = below(2);
        expected.slots[static_cast<unsigned>(at)] = {next, cloexec};
        EXPECT(table->install_at(at, fresh(next++), cloexec, limit));
    }
    void close() {
        const int at = below(limit);
        auto& slot = expected.slots[static_cast<unsigned>(at)];
        EXPECT_EQ(error_of(table->close(at)), slot.number < 0 ? error::badf : error{});
        slot.number = -1;
    }
    void close_range() {
        const auto first = static_cast<k::u32>(below(limit));
        const k::u32 last = below(8) ? first + static_cast<k::u32>(below(10)) : ~0u;
        for (k::u32 fd = first; fd < limit && fd <= last; fd++)
            expected.slots[fd].number = -1;
        table->close_range(first, last);
    }
    void set_range() {
        const auto first = static_cast<k::u32>(below(limit));
        const k::u32 last = first + static_cast<k::u32>(below(150));
        for (k::u32 fd = first; fd < limit && fd <= last; fd++)
            expected.slots[fd].close_on_exec = true;
        table->set_close_on_exec_range(first, last);
    }
    void set_bit() {
        const int at = below(limit);
        const bool on = below(2);
        auto& slot = expected.slots[static_cast<unsigned>(at)];
        EXPECT_EQ(error_of(table->set_close_on_exec(at, on)), slot.number < 0 ? error::badf : error{});
        slot.close_on_exec = on;
    }
    void exec() {
        for (auto& slot : expected.slots)
            if (slot.close_on_exec) slot.number = -1;
        table->close_on_exec();
    }
    void step() {
        switch (below(40)) {
        case 0: return exec();
        case 1: return close_range();
        case 2: return set_range();
        case 3 ... 6: return set_bit();
        case 7 ... 9: return install_at();
        case 10 ... 18: return close();
        default: return install();
        }
    }
};

k::ref<fd_table> make_table() {
    auto made = fd_table::create();
    return made ? *std::move(made) : k::ref<fd_table>();
}

} // namespace

SELFTEST(files, descriptors_are_those_of_a_model) {
    pair p{make_table(), {}, k::random(selftest::seed())};
    REQUIRE(p.table);
    for (unsigned i = 0; i < 3000; i++) {
        p.step();
        if (i % 10 == 0) REQUIRE(p.expected.equals(*p.table));
    }
    p.table.reset();
    EXPECT_EQ(open_files.load(), 0);
}

SELFTEST(files, absurd_descriptors_are_refused) {
    auto t = make_table();
    REQUIRE(t);
    for (int fd : {-1, 0, 63, 64, 65535, 65536, 0x7fffffff, static_cast<int>(0x80000000)}) {
        EXPECT(!t->look_up(fd));
        EXPECT_EQ(error_of(t->close(fd)), error::badf);
        EXPECT_EQ(error_of(t->set_close_on_exec(fd, true)), error::badf);
        EXPECT_EQ(error_of(t->closes_on_exec(fd)), error::badf);
    }
    EXPECT_EQ(error_of(t->install_at(-1, fresh(), false, limit)), error::badf);
    EXPECT_EQ(error_of(t->install_at(limit, fresh(), false, limit)), error::badf);
    EXPECT_EQ(error_of(t->install(fresh(), false, limit, limit)), error::inval);
    EXPECT_EQ(error_of(t->install(fresh(), false, limit, -5)), error::inval);
    EXPECT_EQ(error_of(t->install(fresh(), false, 0)), error::mfile);
    EXPECT_EQ(open_files.load(), 0);
    // The highest of all, and the lowest then.
    EXPECT(t->install_at(fd_table::most - 1, fresh(7), false, ~0u));
    EXPECT_EQ(number_of(t->look_up(fd_table::most - 1).get()), 7);
    auto low = t->install(fresh(), false, ~0u);
    EXPECT_EQ(low ? *low : -1, 0);
}

SELFTEST(files, a_cloned_table_goes_its_own_way) {
    auto parent = make_table();
    REQUIRE(parent);
    for (int i = 0; i < 100; i++)
        REQUIRE(parent->install(fresh(i), i % 2, limit));
    auto cloned = parent->clone(true);
    REQUIRE(cloned);
    k::ref<fd_table> child = *std::move(cloned);
    EXPECT_EQ(open_files.load(), 100);
    child->close_on_exec();
    EXPECT_EQ(child->count(), 50u);
    EXPECT_EQ(parent->count(), 100u);
    EXPECT_EQ(open_files.load(), 100); // the parent still holds them
    parent.reset();
    EXPECT_EQ(open_files.load(), 50);
    EXPECT_EQ(number_of(child->look_up(98).get()), 98);
    auto next = child->install(fresh(200), false, limit);
    EXPECT_EQ(next ? *next : -1, 1);
}

SELFTEST(files, a_shared_table_keeps_a_file_while_it_is_used) {
    auto mine = make_table();
    REQUIRE(mine);
    k::ref<fd_table> another = mine.share();
    REQUIRE(mine->install(fresh(5), false, limit));
    {
        auto use = mine->look_up(0);
        EXPECT(mine->close(0));
        EXPECT_EQ(open_files.load(), 1);
        EXPECT_EQ(number_of(use.get()), 5);
    }
    EXPECT_EQ(open_files.load(), 0);
}

SELFTEST(files, threads_that_share_a_table_lose_no_file) {
    auto table = make_table();
    REQUIRE(table);
    auto body = [&](unsigned number) {
        k::ref<fd_table> mine = table.share();
        k::random random(selftest::seed() + number);
        for (unsigned i = 0; i < 500; i++) {
            auto fd = mine->install(fresh(1), false, limit);
            if (!fd) continue;
            const int other = static_cast<int>(random.below(8));
            if (auto use = mine->look_up(other)) EXPECT_EQ(number_of(use.get()), 1);
            (void)mine->install_at(other, fresh(1), true, limit);
            (void)mine->close(*fd);
        }
    };
    {
        lwkt_test::crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    EXPECT_EQ(static_cast<int>(table->count()), open_files.load());
    table.reset();
    EXPECT_EQ(open_files.load(), 0);
}
