// Threads of all CPUs change and read shared directories whose homes are different CPUs. In the end every name must
// lead to a node with the right number of links, every directory to its parent, and all memory must be back.
#include "kernel/lib/format.h"
#include "kernel/lib/random.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/support/threads.h"
#include "tests/sys/vfs/world.h"

namespace {

using namespace vfs_test;

constexpr unsigned directories = 4, names = 10;

class tree {
  public:
    explicit operator bool() const { return static_cast<bool>(w_); }

    // Directories d0 to d3, each made on another CPU, which is its home then.
    bool make_directories() {
        bool good = true;
        for (unsigned i = 0; i < directories; i++) {
            const auto made = support::run_on(i % arch::cpu::count(), [&] {
                char room[16];
                k::buffer_sink path(room);
                k::format_to(path, "d{}", i);
                good = w_.mkdir(path.view(), 0777) == fine && good;
            });
            good = good && made;
        }
        return good;
    }

    void change_at_random(k::u64 seed, unsigned steps) {
        k::random r(seed);
        for (unsigned i = 0; i < steps; i++) {
            char a_room[40], b_room[40];
            const std::string_view a = some_path(r, a_room), b = some_path(r, b_room);
            switch (r.below(12)) {
            case 0:
            case 1: allow(w_.mkdir(a)); break;
            case 2:
            case 3: allow(w_.touch(a)); break;
            case 4: allow(w_.unlink(a)); break;
            case 5: allow(w_.rmdir(a)); break;
            case 6:
            case 7: allow(w_.rename(a, b)); break;
            case 8: allow(w_.rename(a, b, vfs::rename_exchange)); break;
            case 9: allow(w_.link(a, b)); break;
            case 10: list(a); break;
            default: allow(error_of(w_.find(a))); break;
            }
        }
    }

    void check() {
        // Without recursion: they may lie in each other deeper than a stack goes.
        add(w_.dir(), w_.dir());
        while (waiting_) {
            const to_check next = list_[--waiting_];
            check_directory(*next.what, *next.parent);
            if (selftest::failed()) return;
        }
        EXPECT_EQ(w_.fs().state().nodes - w_.fs().state().free_nodes, found_);
    }

  private:
    // dI/nJ, or one or two levels deeper.
    static std::string_view some_path(k::random& r, std::span<char> room) {
        k::buffer_sink path(room);
        k::format_to(path, "d{}/n{}", r.below(directories), r.below(names));
        for (unsigned depth = static_cast<unsigned>(r.below(3)); depth; depth--)
            k::format_to(path, "/n{}", r.below(names));
        return path.view();
    }
    // What may be answered when others change the same.
    static void allow(k::error e) {
        if (e == fine) return;
        switch (e) {
        case k::error::noent:
        case k::error::exist:
        case k::error::notdir:
        case k::error::isdir:
        case k::error::notempty:
        case k::error::inval:
        case k::error::perm: return;
        default: selftest::fail(k::where::here(), "answered {}", e);
        }
    }
    void list(std::string_view path) {
        auto at = w_.find(path);
        if (!at || !at->node->is(node_type::directory)) return;
        vfs::vop_list::entry some[8];
        vfs::vop_list names_of(at->node->as_directory(), 0, some);
        EXPECT(w_.fs().call(names_of));
    }
    // Nobody changes anything any more.
    void check_directory(vfs::directory& d, vfs::directory& parent) {
        unsigned subdirectories = 0;
        found_++;
        EXPECT_EQ(&d.parent(), &parent);
        EXPECT(!d.is_dead());
        vfs::vop_list::entry some[16];
        vfs::vop_list list(d, 0, some);
        REQUIRE(w_.fs().call(list) && list.count < 16);
        EXPECT_EQ(d.count(), list.count);
        for (unsigned i = 0; i < list.count; i++) {
            vfs::name& n = *some[i].what;
            vfs::vnode& node = *n.node();
            EXPECT(!n.removed());
            EXPECT_EQ(&n.in(), &d);
            {
                lwkt::critical section;
                EXPECT_EQ(d.find(vfs::name_text(n.text())), &n);
            }
            if (!node.is(node_type::directory)) {
                check_file(node);
                continue;
            }
            subdirectories++;
            EXPECT_EQ(node.as_directory().own_name(), &n);
            add(node.as_directory(), d);
        }
        EXPECT_EQ(d.links.load(), 2 + subdirectories);
    }
    void add(vfs::directory& d, vfs::directory& parent) {
        REQUIRE(waiting_ < std::size(list_));
        list_[waiting_++] = {&d, &parent};
    }
    // Counts the names of a file in its (otherwise unused) size; the last one finds as many as it has links.
    void check_file(vfs::vnode& f) {
        if (f.size.fetch_add(1) == 0) found_++;
        EXPECT(f.size.load() <= f.links.load());
        if (f.size.load() == f.links.load()) complete_++;
        if (f.size.load() == 1) files_++;
    }

    struct to_check {
        vfs::directory *what, *parent;
    };

    world w_;
    k::u64 found_ = 0;
    to_check list_[128];
    unsigned waiting_ = 0;

  public:
    unsigned files_ = 0, complete_ = 0; // at the end the same
};

} // namespace

SELFTEST(vfs_stress, shared_directories_stay_whole) {
    tree t;
    REQUIRE(t && t.make_directories());
    const k::u64 seed = selftest::seed();
    auto body = [&](unsigned number) { t.change_at_random(seed * 31 + number, 1500); };
    {
        lwkt_test::crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    t.check();
    EXPECT_EQ(t.files_, t.complete_);
}

// Two threads keep taking each other's directory to their own CPU.
SELFTEST(vfs_stress, homes_move_back_and_forth) {
    world w;
    REQUIRE(w);
    const unsigned cpus = arch::cpu::count();
    REQUIRE(support::run_on(0, [&] { EXPECT(w.mkdir("a") == fine && w.touch("a/x") == fine); }));
    REQUIRE(support::run_on(cpus - 1, [&] { EXPECT(w.mkdir("b") == fine && w.touch("b/y") == fine); }));
    auto body = [&](unsigned number) {
        const std::string_view there = number ? "b/y" : "a/x", elsewhere = number ? "a/y" : "b/x";
        for (unsigned i = 0; i < 100; i++) {
            EXPECT_EQ(w.rename(there, elsewhere), fine);
            EXPECT_EQ(w.rename(elsewhere, there), fine);
        }
    };
    {
        lwkt_test::crew c;
        REQUIRE(c.start(0, body) && c.start(cpus - 1, body));
    }
    EXPECT(w.has("a/x") && w.has("b/y"));
    EXPECT_EQ(w.node("a").as_directory().count() + w.node("b").as_directory().count(), 2u);
}
